package uplink

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// way is the kernel's decision on a packet: device and next hop.
func (k *kernel) way(to string, o *netlink.RouteGetOptions) string {
	k.Helper()
	routes, err := k.h.RouteGetWithOptions(netip.MustParseAddr(to).AsSlice(), o)
	if err != nil || len(routes) != 1 {
		k.Fatalf("to %s with %+v: %v %v", to, o, routes, err)
	}
	l, err := k.h.LinkByIndex(routes[0].LinkIndex)
	k.must(err)
	if !toAddr(routes[0].Gw).IsValid() {
		return l.Attrs().Name
	}
	return l.Attrs().Name + " via " + toAddr(routes[0].Gw).String()
}

// TestOneArmWithTwoRouters is a Pi with one interface: the LAN and two routers are
// in one subnet, and each router is an uplink.
func TestOneArmWithTwoRouters(t *testing.T) {
	k := newKernel(t)
	k.tun("bondd0")
	k.veth("eth0")
	k.addr("eth0", "192.168.1.2/24")
	k.defaultVia("eth0", "192.168.1.254")
	before := k.dump()
	hop := func(a string) Hop { return Hop{Device: "eth0", Gateway4: netip.MustParseAddr(a)} }
	o := WatchOptions{TUN: "bondd0", NamedOnly: true, Hops: []Hop{hop("192.168.1.254"), hop("192.168.1.253")}}
	m := k.watch(o)
	snap, err := m.Next(t.Context())
	k.must(err)
	one, _ := snap.Find("eth0@192.168.1.254")
	two, ok := snap.Find("eth0@192.168.1.253")
	if !ok || len(snap.Uplinks) != 2 || one.Interface() != "eth0" || two.Interface() != "eth0" || one.Mark() == two.Mark() ||
		!one.Usable4() || !two.Usable4() || two.Usable6() {
		t.Fatalf("found %+v", snap.Uplinks)
	}
	s := k.open(Options{})
	plan := MakePlan(snap, wantGateway)
	k.must(s.Sync(t.Context(), plan))
	if have, err := s.Current(t.Context(), plan); err != nil || len(Diff(have, plan))+len(Diff(plan, have)) != 0 {
		t.Errorf("read back differs: %v %v %v", err, Diff(have, plan), Diff(plan, have))
	}
	for _, c := range []struct {
		what, to, want string
		o              *netlink.RouteGetOptions
	}{
		{"outer datagrams of the first", "203.0.113.1", "eth0 via 192.168.1.254", &netlink.RouteGetOptions{Mark: one.Mark()}},
		{"outer datagrams of the second", "203.0.113.1", "eth0 via 192.168.1.253", &netlink.RouteGetOptions{Mark: two.Mark()}},
		{"the LAN's traffic", "203.0.113.1", "bondd0", &netlink.RouteGetOptions{Iif: "eth0", SrcAddr: []byte{192, 168, 1, 50}}},
		{"what comes back for the LAN", "192.168.1.50", "eth0", &netlink.RouteGetOptions{Iif: "bondd0", SrcAddr: []byte{203, 0, 113, 1}}},
		{"an answer from the shared address", "203.0.113.1", "eth0 via 192.168.1.253", &netlink.RouteGetOptions{SrcAddr: []byte{192, 168, 1, 2}}},
	} {
		if got := k.way(c.to, c.o); got != c.want {
			t.Errorf("%s: goes %s, want %s", c.what, got, c.want)
		}
	}
	if n := strings.Count(plan.String(), "from 192.168.1.2 "); n != 1 {
		t.Errorf("%d rules for the one address:\n%s", n, plan)
	}

	// The cable is pulled: both are lost at once.
	k.down("eth0-far")
	k.until(m, "no carrier", func(s Snapshot) bool {
		return len(s.Uplinks) == 2 && !slices.ContainsFunc(s.Uplinks, Uplink.Usable4)
	})
	k.up("eth0-far")
	snap, _ = k.until(m, "carrier", func(s Snapshot) bool { return len(s.Uplinks) == 2 && s.Uplinks[0].Usable4() && s.Uplinks[1].Usable4() })
	k.must(s.Sync(t.Context(), MakePlan(snap, wantGateway)))
	if got := k.way("203.0.113.1", &netlink.RouteGetOptions{Mark: two.Mark()}); got != "eth0 via 192.168.1.253" {
		t.Errorf("after the cable came back the second goes %s", got)
	}
	k.must(s.Close(t.Context()))
	k.wantDump(before)
}

// TestOneArmWithVLANs has the LAN on the interface and the uplinks on VLANs of it.
// They are veths by the names that VLANs have: to everything above the link
// they are the same, and not every kernel has VLANs.
func TestOneArmWithVLANs(t *testing.T) {
	k := newKernel(t)
	k.tun("bondd0")
	for dev, a := range map[string]string{"eth0": "192.168.1.1/24", "eth0.10": "10.10.0.2/24", "eth0.20": "10.20.0.2/24"} {
		k.veth(dev)
		k.addr(dev, a)
	}
	k.defaultVia("eth0.10", "10.10.0.1")
	k.must(k.h.RouteAdd(&netlink.Route{LinkIndex: k.link("eth0.20").Attrs().Index, Dst: toIPNet(netip.MustParsePrefix("0.0.0.0/0")),
		Gw: []byte{10, 20, 0, 1}, Priority: 200}))
	k.sysctl("net/ipv4/conf/eth0.20/rp_filter", "1")
	before := k.dump()
	snap := k.snapshot(WatchOptions{TUN: "bondd0", Exclude: []string{"eth0"}})
	s := k.open(Options{})
	k.must(s.Sync(t.Context(), MakePlan(snap, wantGateway)))
	k.wantSysctl("net/ipv4/conf/eth0.20/rp_filter", "2")
	for name, want := range map[string]string{"eth0.10": "eth0.10 via 10.10.0.1", "eth0.20": "eth0.20 via 10.20.0.1"} {
		u, ok := snap.Find(name)
		if got := k.way("203.0.113.1", &netlink.RouteGetOptions{Mark: u.Mark()}); !ok || got != want {
			t.Errorf("%s: goes %s, want %s", name, got, want)
		}
	}
	if got := k.way("203.0.113.1", &netlink.RouteGetOptions{Iif: "eth0", SrcAddr: []byte{192, 168, 1, 50}}); got != "bondd0" {
		t.Errorf("the LAN's traffic goes %s", got)
	}
	k.must(s.Close(t.Context()))
	k.wantDump(before)
}

// TestModemIsReplugged follows a modem that vanishes and returns under another
// name, is renamed by the system, and speaks PPP at last.
func TestModemIsReplugged(t *testing.T) {
	k := newKernel(t)
	k.tun("bondd0")
	s := k.open(Options{})
	m := k.watch(WatchOptions{TUN: "bondd0", NamedOnly: true, Patterns: []string{"wwan", "ppp"}})
	if snap, err := m.Next(t.Context()); err != nil || len(snap.Uplinks) != 0 {
		t.Fatalf("before anything is plugged in: %+v, %v", snap.Uplinks, err)
	}
	follow := func(what, name, way string) {
		t.Helper()
		snap, _ := k.until(m, what, func(s Snapshot) bool {
			u, ok := s.Find(name)
			return ok && len(s.Uplinks) == 1 && u.Usable4() && u.Default4
		})
		k.must(s.Sync(t.Context(), MakePlan(snap, wantGateway)))
		if got := k.way("203.0.113.1", &netlink.RouteGetOptions{Mark: snap.Uplinks[0].Mark()}); got != way {
			t.Errorf("%s: goes %s, want %s", what, got, way)
		}
	}
	k.veth("other") // with a default route, and not of the pattern
	k.addr("other", "10.1.0.2/24")
	k.defaultVia("other", "10.1.0.1")
	plug := func(name string) {
		k.veth(name)
		k.addr(name, "10.64.0.2/24")
		k.must(k.h.RouteAdd(&netlink.Route{LinkIndex: k.link(name).Attrs().Index, Dst: toIPNet(netip.MustParsePrefix("0.0.0.0/0")),
			Gw: []byte{10, 64, 0, 1}, Priority: 700}))
	}
	plug("wwan0")
	follow("plugged in late", "wwan0", "wwan0 via 10.64.0.1")
	k.del("wwan0")
	plug("wwan1")
	follow("under another name", "wwan1", "wwan1 via 10.64.0.1")
	k.down("wwan1")
	k.must(k.h.LinkSetName(k.link("wwan1"), "wwan7"))
	k.up("wwan7")
	k.must(k.h.RouteAdd(&netlink.Route{LinkIndex: k.link("wwan7").Attrs().Index, Dst: toIPNet(netip.MustParsePrefix("0.0.0.0/0")),
		Gw: []byte{10, 64, 0, 1}, Priority: 700}))
	follow("renamed", "wwan7", "wwan7 via 10.64.0.1")
	k.del("wwan7")

	// PPP has a peer and no next hop. A TUN device without a process has no carrier, which a veth has;
	// its route is the same.
	k.veth("ppp0")
	dial := func(a string) {
		k.addr("ppp0", a)
		k.must(k.h.RouteReplace(&netlink.Route{LinkIndex: k.link("ppp0").Attrs().Index, Dst: toIPNet(netip.MustParsePrefix("0.0.0.0/0")),
			Scope: netlink.SCOPE_LINK, Priority: 700}))
	}
	dial("100.64.7.7/32")
	follow("as PPP", "ppp0", "ppp0")
	k.must(k.h.AddrDel(k.link("ppp0"), &netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix("100.64.7.7/32"))}))
	dial("100.64.9.9/32")
	follow("redialled", "ppp0", "ppp0")
}
