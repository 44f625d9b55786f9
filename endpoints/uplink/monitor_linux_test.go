package uplink

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds the wait for an event that must come; it is long because a
// busy machine is no error.
const patience = 5 * time.Second

// until calls Next until the picture is as wanted, and returns it and how many
// other pictures came before.
func (k *kernel) until(m Monitor, what string, ok func(Snapshot) bool) (Snapshot, int) {
	k.Helper()
	ctx, stop := context.WithTimeout(k.Context(), patience)
	defer stop()
	for n := 0; ; n++ {
		s, err := m.Next(ctx)
		if err != nil {
			k.Fatalf("%s: %v", what, err)
		}
		if ok(s) {
			return s, n
		}
	}
}

func has(name string) func(Snapshot) bool {
	return func(s Snapshot) bool { _, ok := s.Find(name); return ok }
}

func hasNot(name string) func(Snapshot) bool {
	return func(s Snapshot) bool { _, ok := s.Find(name); return !ok }
}

func TestUplinksAreFound(t *testing.T) {
	k := newKernel(t)
	k.home()
	k.tun("tun1")
	k.addr("tun1", "10.66.0.2/32")
	k.veth("excluded")
	k.addr("excluded", "10.67.0.2/24")
	k.veth("second")
	k.addr("second", "10.68.0.3/24")
	k.addr("second", "10.68.0.2/24")
	// Two next hops in one route, and a worse default by the same interface.
	all := toIPNet(netip.MustParsePrefix("0.0.0.0/0"))
	k.must(k.h.RouteAdd(&netlink.Route{Dst: all, Priority: 50, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: k.link("second").Attrs().Index, Gw: netip.MustParseAddr("10.68.0.1").AsSlice()},
		{LinkIndex: k.link("excluded").Attrs().Index, Gw: netip.MustParseAddr("10.67.0.1").AsSlice()},
	}}))
	k.must(k.h.RouteAdd(&netlink.Route{Dst: all, Priority: 500, LinkIndex: k.link("second").Attrs().Index,
		Gw: netip.MustParseAddr("10.68.0.254").AsSlice()}))

	s := k.snapshot(WatchOptions{TUN: "bondd0", Exclude: []string{"excluded"}, Named: []string{"tun1", "nosuch"}})
	want := []string{"eth1", "second", "tun1"}
	if ipv6Enabled() {
		want = []string{"eth1", "eth2", "second", "tun1"}
	}
	if len(s.Uplinks) != len(want) {
		t.Fatalf("found %+v, want %v", s.Uplinks, want)
	}
	for i, u := range s.Uplinks {
		if u.Name != want[i] || u.Index != i+1 || u.Ifindex != k.link(u.Name).Attrs().Index {
			t.Errorf("uplink %d is %+v, want %s", i, u, want[i])
		}
	}
	u, _ := s.Find("second")
	if u.Gateway4 != netip.MustParseAddr("10.68.0.1") || u.Source4 != netip.MustParseAddr("10.68.0.3") ||
		len(u.Addrs) != 2 || u.Addrs[0].String() != "10.68.0.2/24" || !u.Up || !u.Default4 || u.PointToPoint || u.Named || u.MTU != 1500 {
		t.Errorf("second is %+v", u)
	}
	u, _ = s.Find("tun1")
	if u.Up || !u.PointToPoint || !u.Named || u.Default4 {
		t.Errorf("tun1 is %+v", u)
	}
	if u, ok := s.Find("eth2"); ok && (u.Gateway6 != netip.MustParseAddr("2001:db8:2::1") || u.Source6 != netip.MustParseAddr("2001:db8:2::2")) {
		t.Errorf("eth2 is %+v", u)
	}

	only := k.snapshot(WatchOptions{TUN: "bondd0", Named: []string{"eth2"}, NamedOnly: true})
	if len(only.Uplinks) != 1 || only.Uplinks[0].Name != "eth2" {
		t.Errorf("named only: %+v", only.Uplinks)
	}
}

func TestSourceAddress(t *testing.T) {
	a := func(s string, temporary bool) address { return address{netip.MustParsePrefix(s), temporary} }
	hop := func(gw, src string) *nextHop {
		h := &nextHop{}
		if gw != "" {
			h.gateway = netip.MustParseAddr(gw)
		}
		if src != "" {
			h.source = netip.MustParseAddr(src)
		}
		return h
	}
	for _, c := range []struct {
		name string
		all  []address
		v6   bool
		hop  *nextHop
		want string
	}{
		{"first of the kernel's order", []address{a("10.0.0.3/24", false), a("10.0.0.2/24", false)}, false, hop("", ""), "10.0.0.3"},
		{"in the gateway's subnet", []address{a("10.0.0.3/24", false), a("10.1.0.2/24", false)}, false, hop("10.1.0.1", ""), "10.1.0.2"},
		{"as the route says", []address{a("10.0.0.3/24", false), a("10.1.0.2/24", false)}, false, hop("10.1.0.1", "10.0.0.3"), "10.0.0.3"},
		{"global before unique local, lasting before temporary", []address{a("fd00::1/64", false), a("2001:db8::1/64", true), a("2001:db8::2/64", false)}, true, nil, "2001:db8::2"},
		{"temporary before none", []address{a("2001:db8::1/64", true)}, true, nil, "2001:db8::1"},
		{"none of the family", []address{a("10.0.0.3/24", false)}, true, nil, "invalid IP"},
	} {
		if got := pickSource(c.all, c.v6, c.hop); got.String() != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for flags, want := range map[int]bool{
		0: true, unix.IFA_F_PERMANENT: true, unix.IFA_F_TENTATIVE: false, unix.IFA_F_DEPRECATED: false,
		unix.IFA_F_DADFAILED: false, unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC: true,
	} {
		if _, ok := usable(netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix("2001:db8::1/64")), Flags: flags}); ok != want {
			t.Errorf("address with flags %#x: usable is %t", flags, ok)
		}
	}
	for _, p := range []string{"fe80::1/64", "169.254.1.1/16", "127.0.0.1/8"} {
		if _, ok := usable(netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix(p))}); ok {
			t.Errorf("%s is usable", p)
		}
	}
}

func TestUplinkAppearsAndVanishes(t *testing.T) {
	k := newKernel(t)
	m := k.watch(WatchOptions{TUN: "bondd0"})
	if s, err := m.Next(t.Context()); err != nil || len(s.Uplinks) != 0 {
		t.Fatalf("at first: %+v %v", s, err)
	}

	k.veth("eth1")
	k.addr("eth1", "192.168.1.2/24")
	k.defaultVia("eth1", "192.168.1.1")
	s, others := k.until(m, "uplink appears", has("eth1"))
	if others != 0 {
		t.Errorf("%d pictures of a half-made uplink", others)
	}
	u, _ := s.Find("eth1")
	if u.Source4 != netip.MustParseAddr("192.168.1.2") || u.Gateway4 != netip.MustParseAddr("192.168.1.1") || !u.Up || u.Index != 1 {
		t.Errorf("eth1 is %+v", u)
	}

	k.veth("aaa") // sorts before; does not take the number
	k.addr("aaa", "10.1.1.2/24")
	k.must(k.h.RouteAppend(&netlink.Route{LinkIndex: k.link("aaa").Attrs().Index, Priority: 9,
		Dst: toIPNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: netip.MustParseAddr("10.1.1.1").AsSlice()}))
	s, _ = k.until(m, "second uplink appears", has("aaa"))
	if s.Uplinks[0].Name != "aaa" || s.Uplinks[0].Index != 2 || s.Uplinks[1].Index != 1 {
		t.Errorf("numbers: %+v", s.Uplinks)
	}

	k.must(k.h.LinkSetMTU(k.link("eth1"), 1400))
	k.until(m, "MTU changes", func(s Snapshot) bool { u, _ := s.Find("eth1"); return u.MTU == 1400 })

	k.del("eth1")
	k.until(m, "uplink vanishes", hasNot("eth1"))

	k.veth("eth1") // another device, the same uplink
	k.addr("eth1", "192.168.1.2/24")
	k.defaultVia("eth1", "192.168.1.1")
	s, _ = k.until(m, "uplink returns", has("eth1"))
	if u, _ := s.Find("eth1"); u.Index != 1 {
		t.Errorf("the number changed to %d", u.Index)
	}
}

func TestCarrierIsWatched(t *testing.T) {
	k := newKernel(t)
	k.home()
	m := k.watch(WatchOptions{TUN: "bondd0"})
	k.until(m, "start", has("eth1"))
	k.down("eth1-far") // the cable is pulled at the other end; the routes stay
	s, _ := k.until(m, "carrier lost", func(s Snapshot) bool { u, _ := s.Find("eth1"); return !u.Up })
	if u, _ := s.Find("eth1"); u.Usable4() {
		t.Errorf("usable without a carrier: %+v", u)
	}
	k.up("eth1-far")
	k.until(m, "carrier back", func(s Snapshot) bool { u, _ := s.Find("eth1"); return u.Up && u.Usable4() })
}

func TestBounceBetweenLooksIsReported(t *testing.T) {
	k := newKernel(t)
	k.home()
	m := k.watch(WatchOptions{TUN: "bondd0"})
	before, _ := k.until(m, "start", has("eth1"))
	k.down("eth1")
	k.up("eth1")
	k.defaultVia("eth1", "192.168.1.1")
	after, others := k.until(m, "down and up again", func(Snapshot) bool { return true })
	if !after.Equal(before) || others != 0 {
		t.Errorf("got %+v, want %+v", after, before)
	}
}

func TestAddressChange(t *testing.T) {
	k := newKernel(t)
	k.home()
	m := k.watch(watchHome)
	k.until(m, "start", has("eth2"))
	old := &netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix("10.20.0.2/24"))}
	k.must(k.h.AddrDel(k.link("eth2"), old))
	k.addr("eth2", "10.30.0.2/24")
	s, _ := k.until(m, "new address", func(s Snapshot) bool {
		u, _ := s.Find("eth2")
		return u.Source4 == netip.MustParseAddr("10.30.0.2")
	})
	u, _ := s.Find("eth2")
	for _, p := range u.Addrs {
		if p.Addr() == netip.MustParseAddr("10.20.0.2") {
			t.Errorf("the old address is still there: %v", u.Addrs)
		}
	}
}

// TestLossIsFasterThanTheQuietTime checks the way from the kernel to Next; the
// figure itself is a matter of the machine's load, so the bound is the one that
// cannot be met by waiting for quiet, and the best of some tries counts.
func TestLossIsFasterThanTheQuietTime(t *testing.T) {
	k := newKernel(t)
	k.home()
	m := k.watch(watchHome)
	k.until(m, "start", has("eth2"))
	addr := &netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix("10.20.0.2/24"))}
	best := time.Duration(1<<63 - 1)
	for try := 0; try < 5 && best >= 10*time.Millisecond; try++ {
		start := time.Now()
		k.must(k.h.AddrDel(k.link("eth2"), addr))
		k.until(m, "address lost", func(s Snapshot) bool { u, _ := s.Find("eth2"); return !u.Source4.IsValid() })
		best = min(best, time.Since(start))
		k.must(k.h.AddrAdd(k.link("eth2"), addr))
		k.until(m, "address back", func(s Snapshot) bool { u, _ := s.Find("eth2"); return u.Source4.IsValid() })
	}
	t.Logf("an address lost is reported after %v", best)
	if best >= 10*time.Millisecond {
		t.Errorf("an address lost is reported after %v, want below 10 ms", best)
	}
	start := time.Now()
	k.down("eth1")
	k.until(m, "link down", func(s Snapshot) bool { u, ok := s.Find("eth1"); return !ok || !u.Up })
	t.Logf("a link down is reported after %v", time.Since(start))
}

func TestMonitorEnds(t *testing.T) {
	k := newKernel(t)
	m := k.watch(WatchOptions{})
	if _, err := m.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := m.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	var waiter sync.WaitGroup
	waiter.Go(func() {
		if _, err := m.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
	k.must(m.Close())
	waiter.Wait()
	k.must(m.Close())
}
