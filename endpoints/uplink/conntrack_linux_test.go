package uplink

import (
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flow is one tracked UDP flow: from and to as its first packet had them,
// answered by answerer to awaited.
type flow struct {
	name                        string
	from, to, answerer, awaited string
	mark                        uint32
	dies                        bool // when its family's bond route comes
}

var flows = []flow{
	{name: "not masqueraded", from: "192.168.50.7", to: "203.0.113.1", answerer: "203.0.113.1", awaited: "192.168.50.7", dies: true},
	{name: "masqueraded for an uplink", from: "192.168.50.8", to: "203.0.113.1", answerer: "203.0.113.1", awaited: "192.168.1.2", dies: true},
	{name: "masqueraded for the bond", from: "192.168.50.9", to: "203.0.113.1", answerer: "203.0.113.1", awaited: "10.177.0.2"},
	{name: "outer datagrams", from: "192.168.1.2", to: "203.0.113.2", answerer: "203.0.113.2", awaited: "192.168.1.2"},
	{name: "of the machine to the LAN", from: "192.168.50.1", to: "192.168.50.7", answerer: "192.168.50.7", awaited: "192.168.50.1"},
	{name: "of the machine by the bond", from: "10.177.0.2", to: "203.0.113.6", answerer: "203.0.113.6", awaited: "10.177.0.2"},
	{name: "of the machine from its address in the LAN", from: "192.168.50.1", to: "203.0.113.7", answerer: "203.0.113.7", awaited: "192.168.50.1"},
	{name: "from outside to outside", from: "203.0.113.8", to: "203.0.113.9", answerer: "203.0.113.9", awaited: "203.0.113.8"},
	{name: "of the LAN to the machine", from: "192.168.50.7", to: "192.168.50.1", answerer: "192.168.50.1", awaited: "192.168.50.7"},
	{name: "to an uplink's own network", from: "192.168.50.7", to: "192.168.1.9", answerer: "192.168.1.9", awaited: "192.168.50.7"},
	{name: "from outside to a host of the LAN", from: "203.0.113.3", to: "192.168.1.2", answerer: "192.168.50.7", awaited: "203.0.113.3"},
	{name: "taken by a proxy of the machine", from: "192.168.50.10", to: "203.0.113.4", answerer: "192.168.50.1", awaited: "192.168.50.10"},
	{name: "steered by somebody else", from: "192.168.50.7", to: "203.0.113.5", answerer: "203.0.113.5", awaited: "192.168.50.7", mark: 7},
	{name: "multicast", from: "192.168.50.7", to: "239.1.1.1", answerer: "239.1.1.1", awaited: "192.168.50.7"},
	{name: "IPv6, not masqueraded", from: "2001:db8:50::7", to: "2001:db8:ffff::1", answerer: "2001:db8:ffff::1", awaited: "2001:db8:50::7", dies: true},
	{name: "IPv6 outer datagrams", from: "2001:db8:2::2", to: "2001:db8:ffff::2", answerer: "2001:db8:ffff::2", awaited: "2001:db8:2::2"},
}

func (f flow) v6() bool { return net.ParseIP(f.from).To4() == nil }

func (f flow) family() netlink.InetFamily {
	if f.v6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// tracked are the entries of connection tracking in the test's namespace.
type tracked struct {
	*kernel
	h *netlink.Handle
}

func (k *kernel) tracked() tracked {
	k.Helper()
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		k.Skipf("no netfilter netlink: %v", err)
	}
	k.Cleanup(h.Close)
	if _, err := h.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4); err != nil {
		k.Skipf("connection tracking cannot be read: %v", err)
	}
	return tracked{k, h}
}

func (c tracked) add(f flow) {
	c.Helper()
	ip := func(s string) net.IP {
		a := net.ParseIP(s)
		if !f.v6() {
			a = a.To4()
		}
		return a
	}
	c.must(c.h.ConntrackCreate(netlink.ConntrackTable, f.family(), &netlink.ConntrackFlow{
		FamilyType: uint8(f.family()), TimeOut: 600, Mark: f.mark,
		Forward: netlink.IPTuple{SrcIP: ip(f.from), DstIP: ip(f.to), SrcPort: 1000, DstPort: 53, Protocol: unix.IPPROTO_UDP},
		Reverse: netlink.IPTuple{SrcIP: ip(f.answerer), DstIP: ip(f.awaited), SrcPort: 53, DstPort: 1000, Protocol: unix.IPPROTO_UDP},
	}))
}

func (c tracked) has(f flow) bool {
	c.Helper()
	list, err := c.h.ConntrackTableList(netlink.ConntrackTable, f.family())
	c.must(err)
	return slices.ContainsFunc(list, func(e *netlink.ConntrackFlow) bool {
		return e.Forward.SrcIP.String() == f.from && e.Forward.DstIP.String() == f.to
	})
}

func TestFlowsFromBeforeAreForgottenAndNoOthers(t *testing.T) {
	k := newKernel(t)
	k.home()
	six := ipv6Enabled()
	if six {
		k.addr("eth0", "2001:db8:50::1/64")
	}
	c := k.tracked()
	flows := slices.DeleteFunc(slices.Clone(flows), func(f flow) bool { return f.v6() && !six })
	for _, f := range flows {
		c.add(f)
	}
	s := k.open(Options{})
	snap := k.snapshot(watchHome)
	check := func(when string, dead func(f flow) bool) {
		t.Helper()
		for _, f := range flows {
			if got, want := c.has(f), !dead(f); got != want {
				t.Errorf("%s: flow %q is tracked: %t, want %t", when, f.name, got, want)
			}
		}
	}
	w := wantGateway

	// Before the first hello nothing goes into the bond; then first one family does.
	w.TUNAddrs = nil
	k.must(s.Sync(t.Context(), MakePlan(snap, w)))
	check("no inner addresses", func(f flow) bool { return false })
	w.TUNAddrs = wantGateway.TUNAddrs[:1]
	k.must(s.Sync(t.Context(), MakePlan(snap, w)))
	check("IPv4 inside", func(f flow) bool { return f.dies && !f.v6() })
	plan := MakePlan(snap, wantGateway)
	k.must(s.Sync(t.Context(), plan))
	check("both inside", func(f flow) bool { return f.dies })

	// Later Syncs do not look again, until the route was away.
	c.add(flows[0])
	k.must(s.Sync(t.Context(), plan))
	if !c.has(flows[0]) {
		t.Error("a Sync that changes nothing has removed an entry")
	}
	k.must(s.Apply(t.Context(), []Op{{Remove, Route{Table: TableBond, Dev: "bondd0"}}}))
	k.must(s.Sync(t.Context(), plan))
	if c.has(flows[0]) {
		t.Error("an entry from the time without the route is still there")
	}
	k.must(s.Close(t.Context()))
}
