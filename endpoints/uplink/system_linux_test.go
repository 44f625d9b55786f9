package uplink

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var watchHome = WatchOptions{TUN: "bondd0", Named: []string{"eth2"}}

func TestPlanIsKeptAndTakenBack(t *testing.T) {
	for _, role := range []Want{wantGateway, wantExit} {
		k := newKernel(t)
		k.home()
		k.sysctl("net/ipv4/conf/all/rp_filter", "1") // strict for every interface
		k.sysctl("net/ipv4/conf/eth2/rp_filter", "0")
		k.sysctl("net/ipv4/conf/all/accept_redirects", "0")
		k.sysctl("net/ipv4/conf/eth0/forwarding", "1") // one was on already
		before := k.dump()

		s := k.open(Options{})
		k.must(s.Sweep(t.Context()))
		k.wantDump(before)

		plan := MakePlan(k.snapshot(watchHome), role)
		k.must(s.Sync(t.Context(), plan))
		have, err := s.Current(t.Context(), plan)
		k.must(err)
		if ops := Diff(have, plan); len(ops) != 0 {
			t.Errorf("after Sync there is still to do:\n%s", text(ops))
		}
		if first := Diff(have, Plan{})[0].Item; !isForwarding(first) {
			t.Errorf("the first to go is %v, not forwarding", first)
		}
		k.wantSysctl("net/ipv4/ip_forward", "1")
		if role.Role == Gateway {
			k.wantSysctl("net/ipv4/conf/eth1/rp_filter", "2")
			k.wantSysctl("net/ipv4/conf/eth2/rp_filter", "2")
			k.wantSysctl("net/ipv4/conf/eth0/rp_filter", "0")
		}

		// The whole plan again, step by step, changes nothing.
		once := k.dump()
		k.must(s.Apply(t.Context(), Diff(Plan{}, plan)))
		k.must(s.Sync(t.Context(), plan))
		k.wantDump(once)

		k.must(s.Close(t.Context()))
		k.must(s.Close(t.Context()))
		k.wantDump(before)
	}
}

func TestBondDeviceHasNoLinkLocalAddress(t *testing.T) {
	k := newKernel(t)
	if !ipv6Enabled() {
		t.Skip("IPv6 is absent or switched off here")
	}
	k.sysctl("net/ipv6/conf/default/addr_gen_mode", "0")
	k.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	k.tun("bondd0")
	s := k.open(Options{})
	k.must(s.Sync(t.Context(), MakePlan(Snapshot{IPv6: true}, wantExit)))
	addrs, err := k.h.AddrList(k.link("bondd0"), netlink.FAMILY_V6)
	k.must(err)
	if len(addrs) != 1 || toAddr(addrs[0].IP) != wantExit.TUNAddrs[1].Addr() {
		t.Errorf("addresses of the TUN: %v", addrs)
	}
}

func TestRemovalOfEveryStepByItself(t *testing.T) {
	k := newKernel(t)
	k.home()
	before := k.dump()
	s := k.open(Options{})
	plan := MakePlan(k.snapshot(watchHome), wantGateway)
	k.must(s.Sync(t.Context(), plan))
	undo := Diff(plan, Plan{})
	k.must(s.Apply(t.Context(), undo))
	k.wantDump(before)
	k.must(s.Apply(t.Context(), undo)) // nothing there any more is no error
	k.wantDump(before)
}

func TestSweepAfterCrash(t *testing.T) {
	k := newKernel(t)
	k.home()
	k.sysctl("net/ipv4/conf/eth1/rp_filter", "1")
	before := k.dump()
	state := filepath.Join(t.TempDir(), "state.json")

	dead := k.open(Options{State: state})
	k.must(dead.Sync(t.Context(), MakePlan(k.snapshot(watchHome), wantGateway)))
	crash(dead)

	// What others have made in the meantime is not ours to remove.
	rule := func(priority, table int, protocol uint8) *netlink.Rule {
		r := netlink.NewRule()
		r.Priority, r.Table, r.Protocol = priority, table, protocol
		k.must(k.h.RuleAdd(r))
		return r
	}
	foreignRules := []*netlink.Rule{
		rule(17750, 45, 0),                     // our priority, not our table
		rule(17751, 45001, unix.RTPROT_STATIC), // our table, not our protocol
		rule(PriorityLast+1, 45001, Protocol),  // not our priority
		rule(PriorityFirst-1, TableBond, Protocol),
	}
	route := func(table int, protocol netlink.RouteProtocol) *netlink.Route {
		r := &netlink.Route{LinkIndex: k.link("eth1").Attrs().Index, Table: table, Protocol: protocol,
			Dst: toIPNet(netip.MustParsePrefix("198.51.100.0/24")), Scope: netlink.SCOPE_LINK}
		k.must(k.h.RouteAdd(r))
		return r
	}
	foreignRoutes := []*netlink.Route{
		route(45001, unix.RTPROT_STATIC),
		route(TableBase-1, Protocol),
		route(TableBond+1, Protocol),
	}
	k.sysctl("net/ipv4/conf/eth1/rp_filter", "0")

	next := k.open(Options{State: state})
	k.must(next.Sweep(t.Context()))
	left, err := next.Current(t.Context(), Plan{})
	k.must(err)
	if len(left.Items) != 0 {
		t.Errorf("taken for ours after the sweep:\n%s", left)
	}
	for _, r := range foreignRules {
		k.must(k.h.RuleDel(r))
	}
	for _, r := range foreignRoutes {
		k.must(k.h.RouteDel(r))
	}
	k.wantSysctl("net/ipv4/conf/eth1/rp_filter", "0") // changed since by somebody: left
	k.sysctl("net/ipv4/conf/eth1/rp_filter", "1")
	k.wantDump(before)
	k.must(next.Close(t.Context()))
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("state file after Close: %v", err)
	}
}

// crash lets go of what a dead process lets go of, and of nothing else.
func crash(s *System) {
	s.h.close()
	s.file.f.Close()
	if s.routing != nil {
		s.routing.f.Close()
	}
	s.h = nil
}

func TestSweepAfterCrashWithTheDeviceGone(t *testing.T) {
	k := newKernel(t)
	k.home()
	k.tun("other")
	state := filepath.Join(t.TempDir(), "state.json")
	dead := k.open(Options{State: state})
	k.must(dead.Sync(t.Context(), MakePlan(k.snapshot(watchHome), wantGateway)))
	crash(dead)
	k.del("bondd0")

	// The successor's device has the same name and is another one.
	k.tun("bondd0")
	k.addr("bondd0", wantGateway.TUNAddrs[0].String())
	k.up("bondd0")
	next := k.open(Options{State: state})
	k.must(next.Sweep(t.Context()))
	if l := k.link("bondd0"); !isUp(l) || l.Attrs().MTU != 1500 {
		t.Errorf("the new device was touched: %+v", l.Attrs())
	}
	if addrs, err := k.h.AddrList(k.link("bondd0"), netlink.FAMILY_V4); err != nil || len(addrs) != 1 {
		t.Errorf("addresses of the new device: %v %v", addrs, err)
	}
}

func TestLostRouteIsPutBack(t *testing.T) {
	k := newKernel(t)
	k.home()
	s := k.open(Options{})
	plan := MakePlan(k.snapshot(watchHome), wantGateway)
	k.must(s.Sync(t.Context(), plan))
	full := k.dump()
	k.down("eth1") // the kernel drops its routes, ours too
	k.up("eth1")
	k.defaultVia("eth1", "192.168.1.1")
	k.must(s.Sync(t.Context(), plan))
	k.wantDump(full)
}

func TestApplyGoesOnAfterAnErrorAndJoinsThem(t *testing.T) {
	k := newKernel(t)
	k.home()
	s := k.open(Options{})
	bad := Route{Table: 45001, Via: netip.MustParseAddr("203.0.113.1"), Dev: "eth1"} // not on the link
	nodev := Route{Table: 45002, Dev: "nosuch"}
	good := Route{Table: 45003, Unreachable: true, Metric: 5}
	err := s.Apply(t.Context(), []Op{{Add, bad}, {Add, nodev}, {Add, good}})
	if err == nil || !strings.Contains(err.Error(), bad.text(Add)) || !strings.Contains(err.Error(), nodev.text(Add)) || !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("got %v", err)
	}
	have, err := s.Current(t.Context(), Plan{})
	k.must(err)
	if !slices.Contains(have.Items, Item(good)) {
		t.Errorf("the good step was not done; there is\n%s", have)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Apply(ctx, []Op{{Remove, good}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestIPv6UplinkByAdvertisementSurvivesForwarding(t *testing.T) {
	k := newKernel(t)
	if !ipv6Enabled() {
		t.Skip("IPv6 is absent or switched off here")
	}
	k.home()
	for _, dev := range []string{"default", "eth1", "eth2"} {
		k.sysctl("net/ipv6/conf/"+dev+"/accept_ra", "1")
	}
	k.sysctl("net/ipv6/conf/eth2/accept_ra", "0")
	before := k.dump()
	s := k.open(Options{})
	k.must(s.Sync(t.Context(), MakePlan(k.snapshot(watchHome), wantGateway)))
	k.wantSysctl("net/ipv6/conf/all/forwarding", "1")
	k.wantSysctl("net/ipv6/conf/eth1/accept_ra", "2")
	k.wantSysctl("net/ipv6/conf/eth2/accept_ra", "0")
	k.veth("late")
	k.wantSysctl("net/ipv6/conf/late/accept_ra", "2")
	k.del("late")
	// An uplink that is away for a while must be able to come back.
	k.must(s.Sync(t.Context(), MakePlan(Snapshot{IPv6: true}, wantGateway)))
	k.wantSysctl("net/ipv6/conf/eth1/accept_ra", "2")
	k.must(s.Close(t.Context()))
	k.wantDump(before)
}

func TestWithoutIPv6(t *testing.T) {
	k := newKernel(t)
	if !ipv6Enabled() {
		t.Skip("IPv6 is absent already: the other tests show it")
	}
	k.home()
	k.sysctl("net/ipv6/conf/all/disable_ipv6", "1")
	k.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	before := k.dump()
	s := k.open(Options{})
	snap := k.snapshot(watchHome)
	if u, ok := snap.Find("eth2"); snap.IPv6 || !ok || u.Source6.IsValid() || u.Gateway6.IsValid() {
		t.Errorf("snapshot without IPv6: %+v", snap)
	}
	plan := MakePlan(snap, wantGateway)
	if len(plan.Notes) != 1 {
		t.Errorf("notes: %q", plan.Notes)
	}
	k.must(s.Sync(t.Context(), plan))
	have, err := s.Current(t.Context(), plan)
	k.must(err)
	if ops := Diff(have, plan); len(ops) != 0 {
		t.Errorf("still to do:\n%s", text(ops))
	}
	k.must(s.Close(t.Context()))
	k.wantDump(before)
}

func TestSecondInstance(t *testing.T) {
	k := newKernel(t)
	k.home()
	k.tun("bondd1")
	dir := t.TempDir()
	first := k.open(Options{State: filepath.Join(dir, "a.json")})
	plan := MakePlan(k.snapshot(watchHome), wantGateway)
	k.must(first.Sync(t.Context(), plan))
	full := k.dump()

	if _, err := Open(Options{TUN: "bondd0", State: filepath.Join(dir, "a.json")}); !errors.Is(err, ErrBusy) {
		t.Errorf("same state file: %v", err)
	} else {
		t.Log(err)
	}
	// An exit beside a gateway: it neither sweeps the other's rules nor restores its sysctls.
	second := k.open(Options{TUN: "bondd1", State: filepath.Join(dir, "b.json")})
	k.must(second.Sweep(t.Context()))
	k.wantDump(full)
	w := wantExit
	w.TUN, w.TUNAddrs = "bondd1", prefixes("10.99.0.1/24")
	k.must(second.Sync(t.Context(), MakePlan(Snapshot{}, w)))
	// A second gateway would mix the tables up.
	if err := second.Apply(t.Context(), []Op{{Add, Route{Table: TableBond, Dev: "bondd1"}}}); !errors.Is(err, ErrBusy) {
		t.Errorf("second owner of the tables: %v", err)
	}
	k.must(second.Close(t.Context()))
	k.wantDump(full)
	k.must(first.Close(t.Context()))
}

func TestWithoutRights(t *testing.T) {
	k := newKernel(t)
	k.home()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Skipf("capabilities cannot be dropped: %v", err)
	}
	_, openErr := Open(Options{TUN: "bondd0", State: filepath.Join(t.TempDir(), "s.json")})
	for _, err := range []error{Check(), openErr} {
		if !errors.Is(err, ErrRights) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want ErrRights", err)
		}
	}
	t.Log(openErr)
	// Watching needs no rights.
	if s := k.snapshot(watchHome); len(s.Uplinks) != 2 {
		t.Errorf("snapshot %+v", s)
	}
}

func TestClosedSystem(t *testing.T) {
	k := newKernel(t)
	s := k.open(Options{})
	k.must(s.Close(t.Context()))
	if err := s.Sync(t.Context(), Plan{}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := s.Apply(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("a System without a device was opened")
	}
}
