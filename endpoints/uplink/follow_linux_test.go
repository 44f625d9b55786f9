package uplink

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestEveryRouteFormIsReadBack puts each form of uplink in the kernel and
// expects to read the plan back as it was written.
func TestEveryRouteFormIsReadBack(t *testing.T) {
	k := newKernel(t)
	k.tun("bondd0")
	k.veth("onlink")
	k.addr("onlink", "203.0.113.9/32")
	k.veth("mixed")
	k.addr("mixed", "198.51.100.9/32")
	k.tun("ptp")
	k.up("ptp")
	k.addr("ptp", "10.66.0.2/32")
	k.veth("lone")
	k.addr("lone", "10.67.0.2/24")

	all := toIPNet(netip.MustParsePrefix("0.0.0.0/0"))
	k.must(k.h.RouteAdd(&netlink.Route{Dst: all, Priority: 1, LinkIndex: k.link("onlink").Attrs().Index,
		Gw: netip.MustParseAddr("10.0.0.1").AsSlice(), Flags: int(netlink.FLAG_ONLINK)}))
	want := []string{
		"default via 10.0.0.1 dev onlink table 45003 onlink proto 177",
		"10.67.0.0/24 dev lone table 45001 proto 177",
	}
	if ipv6Enabled() {
		k.must(k.h.RouteAdd(&netlink.Route{Dst: all, Priority: 2, LinkIndex: k.link("mixed").Attrs().Index,
			Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: netip.MustParseAddr("fe80::1").AsSlice()}}))
		k.addr("onlink", "2001:db8:9::9/64")
		k.defaultVia("onlink", "fe80::2")
		want = append(want, "default via inet6 fe80::1 dev mixed table 45002 proto 177",
			"default via fe80::2 dev onlink table 45003 metric 1024 proto 177")
	}
	s := k.open(Options{})
	plan := MakePlan(k.snapshot(WatchOptions{TUN: "bondd0", Named: []string{"mixed", "ptp", "lone"}}), wantGateway)
	for _, w := range want {
		if !strings.Contains(plan.String(), " "+w+"\n") {
			t.Errorf("no %q in the plan\n%s", w, plan)
		}
	}
	k.must(s.Sync(t.Context(), plan))
	have, err := s.Current(t.Context(), plan)
	k.must(err)
	if ops := Diff(have, plan); len(ops) != 0 {
		t.Errorf("read back differs; still to do:\n%s", text(ops))
	}
}

// TestChangedUplinkIsFollowed changes an uplink under a running System.
func TestChangedUplinkIsFollowed(t *testing.T) {
	k := newKernel(t)
	k.home()
	before := k.dump()
	s := k.open(Options{})
	m := k.watch(WatchOptions{TUN: "bondd0", Named: []string{"eth1", "eth2"}})
	follow := func(what string, ok func(eth1, eth2 Uplink) bool) {
		t.Helper()
		snap, _ := k.until(m, what, func(s Snapshot) bool {
			one, _ := s.Find("eth1")
			two, _ := s.Find("eth2")
			return ok(one, two)
		})
		plan := MakePlan(snap, wantGateway)
		k.must(s.Sync(t.Context(), plan))
		have, err := s.Current(t.Context(), plan)
		k.must(err)
		if ops := Diff(have, plan); len(ops) != 0 {
			t.Errorf("%s: still to do:\n%s", what, text(ops))
		}
		// Nothing of an earlier plan is left.
		if ops := Diff(plan, have); len(ops) != 0 {
			t.Errorf("%s: too much:\n%s", what, text(ops))
		}
	}
	follow("start", func(one, two Uplink) bool { return one.Up && two.Up })

	first := &netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix("192.168.1.2/24"))}
	k.must(k.h.AddrDel(k.link("eth1"), first))
	k.addr("eth1", "192.168.9.2/24")
	moved := k.defaultVia("eth1", "192.168.9.1")
	follow("another network", func(one, _ Uplink) bool { return one.Gateway4 == netip.MustParseAddr("192.168.9.1") })

	if ipv6Enabled() {
		k.must(k.h.RouteReplace(&netlink.Route{LinkIndex: k.link("eth2").Attrs().Index,
			Dst: toIPNet(netip.MustParsePrefix("::/0")), Gw: netip.MustParseAddr("fe80::77").AsSlice()}))
		follow("another IPv6 gateway", func(_, two Uplink) bool { return two.Gateway6 == netip.MustParseAddr("fe80::77") })
		k.must(k.h.RouteReplace(&netlink.Route{LinkIndex: k.link("eth2").Attrs().Index,
			Dst: toIPNet(netip.MustParsePrefix("::/0"))}))
		follow("no IPv6 gateway", func(_, two Uplink) bool { return two.Default6 && !two.Gateway6.IsValid() })
		k.must(k.h.RouteReplace(&netlink.Route{LinkIndex: k.link("eth2").Attrs().Index,
			Dst: toIPNet(netip.MustParsePrefix("::/0")), Gw: netip.MustParseAddr("2001:db8:2::1").AsSlice()}))
		follow("the first again", func(_, two Uplink) bool { return two.Gateway6 == netip.MustParseAddr("2001:db8:2::1") })
	}

	k.down("eth2-far")
	follow("no carrier", func(_, two Uplink) bool { return !two.Up })
	k.up("eth2-far")
	follow("carrier", func(_, two Uplink) bool { return two.Up })

	k.must(k.h.RouteDel(moved))
	k.must(k.h.AddrDel(k.link("eth1"), &netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix("192.168.9.2/24"))}))
	k.addr("eth1", "192.168.1.2/24")
	k.defaultVia("eth1", "192.168.1.1")
	follow("back home", func(one, _ Uplink) bool { return one.Gateway4 == netip.MustParseAddr("192.168.1.1") })
	k.must(s.Close(t.Context()))
	k.wantDump(before)
}

// childEnv makes TestKilledChild a bondd that is killed; its value is the state file.
const childEnv = "BONDD_TEST_KILLED_CHILD"

// TestKilledChild is the child of TestSweepAfterKill, not a test.
func TestKilledChild(t *testing.T) {
	state := os.Getenv(childEnv)
	if state == "" {
		t.Skip("only as a child of TestSweepAfterKill")
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{t, h}
	// A device that vanishes with the process, as the real one does.
	dev := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "bondd0"}, Mode: netlink.TUNTAP_MODE_TUN, NonPersist: true, Queues: 1}
	k.must(h.LinkAdd(dev))
	s, err := Open(Options{TUN: "bondd0", State: state})
	k.must(err)
	k.must(s.Sweep(t.Context()))
	k.must(s.Sync(t.Context(), MakePlan(k.snapshot(watchHome), wantGateway)))
	os.Stdout.WriteString("ready\n")
	select {} // until killed
}

func TestSweepAfterKill(t *testing.T) {
	k := newKernel(t)
	k.home()
	k.del("bondd0")
	k.sysctl("net/ipv4/conf/eth1/rp_filter", "1")
	if ipv6Enabled() {
		k.sysctl("net/ipv6/conf/eth1/accept_ra", "1")
	}
	before := k.dump()
	state := filepath.Join(t.TempDir(), "state.json")

	for range 2 { // the second child sweeps what the first left
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), childEnv+"="+state)
		out, err := child.StdoutPipe()
		k.must(err)
		k.must(child.Start()) // from this thread, hence in its namespace
		ready := make([]byte, len("ready\n"))
		if _, err := out.Read(ready); err != nil || string(ready) != "ready\n" {
			child.Process.Kill()
			child.Wait()
			t.Fatalf("the child said %q: %v", ready, err)
		}
		k.must(child.Process.Kill())
		child.Wait()
		k.wantSysctl("net/ipv4/ip_forward", "1") // something is indeed left
		k.wantRefusedNotLeaked()
	}

	s := k.open(Options{State: state})
	k.must(s.Sweep(t.Context()))
	k.wantDump(before)
}

// wantRefusedNotLeaked looks where things go when bondd was killed: what would go
// into the bond goes nowhere, the LAN is reached.
func (k *kernel) wantRefusedNotLeaked() {
	k.Helper()
	if _, err := k.h.LinkByName("bondd0"); !gone(err) {
		var other netlink.LinkNotFoundError
		if !errors.As(err, &other) {
			k.Fatalf("the TUN is still there: %v", err)
		}
	}
	lan := &netlink.RouteGetOptions{Iif: "eth0", SrcAddr: net.ParseIP("192.168.50.7")}
	refused := map[string]*netlink.RouteGetOptions{"203.0.113.1": lan, "203.0.113.2": nil}
	if ipv6Enabled() {
		refused["2001:db8:ffff::1"] = nil
	}
	for to, o := range refused {
		r, err := k.h.RouteGetWithOptions(netip.MustParseAddr(to).AsSlice(), o)
		if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			k.Errorf("after the kill, a packet to %s goes to %v (%v), want unreachable", to, r, err)
		}
	}
	r, err := k.h.RouteGet(net.ParseIP("192.168.50.7"))
	if err != nil || len(r) != 1 || r[0].LinkIndex != k.link("eth0").Attrs().Index {
		k.Errorf("after the kill, the LAN is reached by %v (%v)", r, err)
	}
}
