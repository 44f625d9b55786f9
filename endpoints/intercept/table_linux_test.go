package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rich uses everything that there is.
var withExits = Config{TUN: "bondd0", Own: true, IPv6: true, Exits: []Exit{
	{Number: 1, TUN: "bondd0-2", Takes4: true, Takes6: true}, {Number: 2, TUN: "bondd0-3", Takes4: true}, {Number: 3}}}

var rich = Config{
	TUN: "bondd0", LAN: []string{"eth0", "wlan0"}, Own: true, IPv6: true,
	Bypass: []Bypass{
		{Prefixes: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("255.255.255.255/32"),
			netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("192.0.2.128/26"), netip.MustParsePrefix("2001:db8::/33"),
		}},
		{Ports: []PortRange{{80, 443}, {22, 22}, {65535, 65535}}, Service: Direct},
		{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("::/0")}, Ports: []PortRange{{1, 65535}}, Service: Direct},
	},
}

// dump is everything that an interception may touch.
func (h *home) dump() string {
	h.Helper()
	var b strings.Builder
	for _, family := range h.families() {
		rules, err := netlink.RuleList(family)
		h.must(err)
		for _, r := range rules {
			mask := uint32(0)
			if r.Mask != nil {
				mask, r.Mask = *r.Mask, nil
			}
			fmt.Fprintf(&b, "%d %#x %+v\n", family, mask, r)
		}
		for _, table := range []int{RouteTable, 45999, unix.RT_TABLE_MAIN} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
			h.must(err)
			for _, r := range routes {
				if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() { // those come late
					fmt.Fprintf(&b, "%d table %d: %v\n", family, table, r)
				}
			}
		}
	}
	conn, err := nftables.New()
	h.must(err)
	tables, err := conn.ListTables()
	h.must(err)
	for _, t := range tables {
		fmt.Fprintf(&b, "table %d %s\n", t.Family, t.Name)
	}
	return b.String()
}

func (h *home) wantDump(what, want string) {
	h.Helper()
	got := strings.Split(h.dump(), "\n")
	wanted := strings.Split(want, "\n")
	for _, l := range got {
		if !slices.Contains(wanted, l) {
			h.Errorf("%s too much:  %s", what, l)
		}
	}
	for _, l := range wanted {
		if !slices.Contains(got, l) {
			h.Errorf("%s missing:   %s", what, l)
		}
	}
}

func TestKernelHoldsWhatTextSays(t *testing.T) {
	h := newHome(t)
	simple := Config{}
	for _, c := range []Config{rich, simple, {TUN: "tun1", LAN: []string{"eth0"}, Port: 999}, withExits} {
		if !h.v6 {
			c.IPv6 = false
		}
		// nft lists both, since its versions write some matches differently.
		h.nft(Text(c), "-f", "-")
		want := h.nft("", "list", "ruleset")
		i := h.open(c) // replaces it
		if got := h.nft("", "list", "ruleset"); got != want {
			t.Errorf("from Open\n%sfrom Text\n%s", got, want)
		}
		h.must(i.Restore())
		if got := h.nft("", "list", "ruleset"); got != want {
			t.Errorf("from Restore\n%sfrom Text\n%s", got, want)
		}
		h.must(i.Close())
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	h := newHome(t)
	conn, err := nftables.New()
	h.must(err)
	conn.AddTable(&nftables.Table{Name: "somebody", Family: nftables.TableFamilyINet})
	if err := conn.Flush(); errors.Is(explain("", err), ErrUnsupported) {
		t.Skip(err)
	} else {
		h.must(err)
	}
	other := netlink.NewRule()
	other.Priority, other.Table, other.Mark = priorityLAN, 77, MarkLAN
	h.must(netlink.RuleAdd(other))
	before := h.dump()
	for range 2 {
		i := h.open(rich)
		if during := h.dump(); !strings.Contains(during, Table) || strings.Count(during, "45998") < 2 {
			t.Errorf("while open\n%s", during)
		}
		h.must(i.Close())
		h.wantDump("after Close", before)
		h.must(i.Close())
		if _, err := i.Accept(); err == nil {
			t.Error("Accept after Close")
		}
		for _, err := range []error{i.Refused(netip.MustParseAddrPort("192.0.2.1:1")), i.SetIPv6(true), i.Restore()} {
			if err == nil {
				t.Error("a closed one takes orders")
			}
		}
		h.wantDump("after orders to a closed one", before)
	}
	h.must(Sweep(rich))
	h.wantDump("after Sweep of nothing", before)

	// One that died.
	i := h.open(rich)
	i.release()
	i.loops.Wait()
	close(i.done)
	h.must(Sweep(Config{}))
	h.wantDump("after Sweep", before)

	// One that died and has a successor with less.
	i = h.open(rich)
	i.release()
	i.loops.Wait()
	close(i.done)
	h.must(h.open(Config{}).Close())
	h.wantDump("after a successor", before)
}

func TestAnotherOneLives(t *testing.T) {
	h := newHome(t)
	i := h.open(h.config())
	during := h.dump()
	if _, err := Open(h.config()); !errors.Is(err, ErrBusy) {
		t.Errorf("Open: %v, want ErrBusy", err)
	}
	if err := Sweep(h.config()); !errors.Is(err, ErrBusy) {
		t.Errorf("Sweep: %v, want ErrBusy", err)
	}
	h.wantDump("after both", during)
	h.wantTaken(i, h.lan, server4+":80")
}

func TestRestore(t *testing.T) {
	h := newHome(t)
	i := h.open(h.config())
	whole := h.dump()
	h.must(i.table.remove()) // as somebody else would
	h.must(i.routing.remove())
	h.wantServer(h.lan, server4+":80", "exit")
	target := netip.MustParseAddrPort(server4 + ":80")
	for _, err := range []error{i.Refused(target), i.SetIPv6(!h.v6)} {
		if h.v6 && !errors.Is(err, ErrRemoved) {
			t.Errorf("got %v, want ErrRemoved", err)
		}
	}
	h.must(i.Restore())
	h.wantDump("after Restore", whole)
	for _, to := range h.servers("80") {
		h.wantTaken(i, h.lan, to)
	}
	h.must(i.Refused(target))
	h.refusal(h.lan, target.String(), unix.ECONNREFUSED)
}

func TestLongBypassList(t *testing.T) {
	h := newHome(t)
	c := h.config()
	var list []netip.Prefix
	for n := range 8000 { // every other address, of both families
		four, six := [4]byte{100, 64, byte(n >> 7), byte(n << 1)}, [16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(n >> 7), 15: byte(n << 1)}
		list = append(list, netip.PrefixFrom(netip.AddrFrom4(four), 32), netip.PrefixFrom(netip.AddrFrom16(six), 128))
	}
	c.Bypass = []Bypass{{Prefixes: append(list, netip.MustParsePrefix(server4+"/32"))}}
	i := h.open(c)
	h.wantServer(h.lan, server4+":80", "exit")
	h.wantTaken(i, h.lan, "100.64.62.1:80")
}

func TestWithoutRights(t *testing.T) {
	newHome(t)
	// Capabilities belong to the thread, which ends with this goroutine.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Skipf("capabilities cannot be dropped: %v", err)
	}
	if _, err := Open(Config{}); !errors.Is(err, ErrRights) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want ErrRights", err)
	} else {
		t.Log(err)
	}
	if err := Sweep(Config{}); !errors.Is(err, ErrRights) {
		t.Errorf("got %v, want ErrRights", err)
	}
}
