package uplink

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

var (
	vdsl = Uplink{Index: 1, Name: "eth1", Ifindex: 3, MTU: 1500, Up: true,
		Addrs:   prefixes("192.168.1.2/24", "2001:db8:1::2/64"),
		Source4: netip.MustParseAddr("192.168.1.2"), Source6: netip.MustParseAddr("2001:db8:1::2"),
		Gateway4: netip.MustParseAddr("192.168.1.1"), Gateway6: netip.MustParseAddr("fe80::1"),
		Default4: true, Default6: true}
	lte = Uplink{Index: 4, Name: "wwan0", Ifindex: 9, MTU: 1428, Up: true, PointToPoint: true,
		Addrs: prefixes("10.9.8.7/32"), Source4: netip.MustParseAddr("10.9.8.7"), Default4: true}
	home = Snapshot{IPv6: true, Uplinks: []Uplink{vdsl, lte}}

	wantGateway = Want{Role: Gateway, TUN: "bondd0", TUNMTU: 1400, TUNAddrs: prefixes("10.177.0.2/16", "fd77:b0dd::2/64")}
	wantExit    = Want{Role: Exit, TUN: "bondd0", TUNAddrs: prefixes("10.177.0.1/16", "fd77:b0dd::1/64")}
)

// equalText compares commands line by line, ignoring the indentation of want.
func equalText(t *testing.T, got, want string) {
	t.Helper()
	norm := func(s string) []string {
		var lines []string
		for _, l := range strings.Split(s, "\n") {
			if l = strings.TrimSpace(l); l != "" {
				lines = append(lines, l)
			}
		}
		return lines
	}
	if g, w := norm(got), norm(want); !slices.Equal(g, w) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(g, "\n\t"), strings.Join(w, "\n\t"))
	}
}

func text(ops []Op) string {
	var b strings.Builder
	for _, op := range ops {
		b.WriteString(op.String() + "\n")
	}
	return b.String()
}

// Two exits beside the one of the TUN: one has an address, the other refuses.
func TestPlanOfExits(t *testing.T) {
	p := MakePlan(Snapshot{IPv6: true}, Want{Role: Gateway, TUN: "bondd0", TUNAddrs: []netip.Prefix{netip.MustParsePrefix("10.177.0.2/16")}, Exits: []ExitTUN{
		{Number: 1, TUN: "bondd0-2", Addrs: []netip.Prefix{netip.MustParsePrefix("10.177.0.2/16")}},
		{Number: 2, TUN: "bondd0-3"},
	}}).String()
	for _, line := range []string{
		"sysctl -w net/ipv4/conf/bondd0-2/rp_filter=2", "ip link set bondd0-2 up", "ip addr add 10.177.0.2/32 dev bondd0-2",
		"ip route add default dev bondd0-2 table 46001 proto 177", "ip route add unreachable default table 46001 metric 1000000 proto 177",
		"ip -6 route add unreachable default table 46001 metric 1000000 proto 177",
		"ip route add unreachable default table 46002 metric 1000000 proto 177", "ip link set bondd0-3 up",
		"ip rule add pref 17725 fwmark 0xb0df0001 lookup 46001 protocol 177", "ip -6 rule add pref 17725 fwmark 0xb0df0002 lookup 46002 protocol 177",
	} {
		if !strings.Contains(p, line+"\n") {
			t.Errorf("no %q in\n%s", line, p)
		}
	}
	if strings.Contains(p, "dev bondd0-3 table") || strings.Contains(p, "-6 route add default dev bondd0-2") {
		t.Errorf("a way for what has no address:\n%s", p)
	}
}

func TestPlanOfGateway(t *testing.T) {
	p := MakePlan(home, wantGateway)
	equalText(t, p.String(), `
		sysctl -w net/ipv4/conf/eth1/rp_filter=2 (if it is 1)
		sysctl -w net/ipv4/conf/wwan0/rp_filter=2 (if it is 1)
		sysctl -w net/ipv6/conf/bondd0/disable_ipv6=0
		sysctl -w net/ipv6/conf/bondd0/addr_gen_mode=1
		ip link set bondd0 mtu 1400 up
		ip addr add 10.177.0.2/16 dev bondd0
		ip -6 addr add fd77:b0dd::2/64 dev bondd0
		ip route add default dev bondd0 table 45999 proto 177
		ip route add unreachable default table 45999 metric 1000000 proto 177
		ip -6 route add default dev bondd0 table 45999 metric 1024 proto 177
		ip -6 route add unreachable default table 45999 metric 1000000 proto 177
		ip route add 192.168.1.0/24 dev eth1 table 45001 proto 177
		ip route add default via 192.168.1.1 dev eth1 table 45001 proto 177
		ip route add unreachable default table 45001 metric 1000000 proto 177
		ip -6 route add 2001:db8:1::/64 dev eth1 table 45001 metric 256 proto 177
		ip -6 route add default via fe80::1 dev eth1 table 45001 metric 1024 proto 177
		ip -6 route add unreachable default table 45001 metric 1000000 proto 177
		ip route add default dev wwan0 table 45004 proto 177
		ip route add unreachable default table 45004 metric 1000000 proto 177
		ip -6 route add unreachable default table 45004 metric 1000000 proto 177
		ip rule add pref 17700 fwmark 0xb0dd0001 lookup 45001 protocol 177
		ip rule add pref 17700 fwmark 0xb0dd0004 lookup 45004 protocol 177
		ip rule add pref 17701 fwmark 0xb0dd0000/0xffff0000 unreachable protocol 177
		ip rule add pref 17710 lookup main suppress_prefixlength 0 protocol 177
		ip rule add pref 17720 from 192.168.1.2 lookup 45001 protocol 177
		ip rule add pref 17720 from 10.9.8.7 lookup 45004 protocol 177
		ip rule add pref 17730 lookup 45999 protocol 177
		ip -6 rule add pref 17700 fwmark 0xb0dd0001 lookup 45001 protocol 177
		ip -6 rule add pref 17700 fwmark 0xb0dd0004 lookup 45004 protocol 177
		ip -6 rule add pref 17701 fwmark 0xb0dd0000/0xffff0000 unreachable protocol 177
		ip -6 rule add pref 17710 lookup main suppress_prefixlength 0 protocol 177
		ip -6 rule add pref 17720 from 2001:db8:1::2 lookup 45001 protocol 177
		ip -6 rule add pref 17730 lookup 45999 protocol 177
		sysctl -w net/ipv4/ip_forward=1
		sysctl -w net/ipv6/conf/all/forwarding=1 (with accept_ra=2 where it is 1)`)
	if len(p.Notes) != 0 {
		t.Errorf("notes: %q", p.Notes)
	}
}

func TestPlanOfExit(t *testing.T) {
	equalText(t, MakePlan(home, wantExit).String(), `
		sysctl -w net/ipv6/conf/bondd0/disable_ipv6=0
		sysctl -w net/ipv6/conf/bondd0/addr_gen_mode=1
		ip link set bondd0 up
		ip addr add 10.177.0.1/16 dev bondd0
		ip -6 addr add fd77:b0dd::1/64 dev bondd0
		sysctl -w net/ipv4/ip_forward=1
		sysctl -w net/ipv6/conf/all/forwarding=1 (with accept_ra=2 where it is 1)`)
}

func TestPlanWithoutIPv6SaysSo(t *testing.T) {
	s := home
	s.IPv6 = false
	p := MakePlan(s, wantGateway)
	if strings.Contains(p.String(), "-6") || strings.Contains(p.String(), "ipv6") {
		t.Errorf("IPv6 in the plan:\n%s", p)
	}
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "IPv6 is absent") {
		t.Errorf("notes: %q", p.Notes)
	}
}

func TestFamilyWithoutInnerAddressIsRefusedNotLeaked(t *testing.T) {
	w := wantGateway
	w.TUNAddrs = w.TUNAddrs[:1]
	p := MakePlan(home, w)
	for _, line := range []string{
		"ip -6 route add unreachable default table 45999 metric 1000000 proto 177\n",
		"ip -6 rule add pref 17730 lookup 45999 protocol 177\n",
	} {
		if !strings.Contains(p.String(), line) {
			t.Errorf("no %q in\n%s", line, p)
		}
	}
	if len(p.Notes) != 1 {
		t.Errorf("notes: %q", p.Notes)
	}
}

// Each case is one uplink; want is what its IPv4 table holds.
func TestTableOfOneUplink(t *testing.T) {
	a := netip.MustParseAddr
	for _, c := range []struct {
		name string
		u    Uplink
		want string
	}{
		{"gateway outside the subnet", Uplink{Up: true, Addrs: prefixes("203.0.113.9/32"), Source4: a("203.0.113.9"), Gateway4: a("10.0.0.1"), Default4: true},
			`ip route add default via 10.0.0.1 dev x table 45002 onlink proto 177`},
		{"gateway of the other family", Uplink{Up: true, Addrs: prefixes("203.0.113.9/32"), Source4: a("203.0.113.9"), Gateway4: a("fe80::1"), Default4: true},
			`ip route add default via inet6 fe80::1 dev x table 45002 proto 177`},
		{"named, no default route", Uplink{Up: true, Named: true, Addrs: prefixes("10.1.0.2/24"), Source4: a("10.1.0.2")},
			`ip route add 10.1.0.0/24 dev x table 45002 proto 177`},
		{"named, point-to-point", Uplink{Up: true, Named: true, PointToPoint: true, Addrs: prefixes("10.1.0.2/32"), Source4: a("10.1.0.2")},
			`ip route add default dev x table 45002 proto 177`},
		{"two addresses in one subnet", Uplink{Up: true, Addrs: prefixes("10.1.0.2/24", "10.1.0.3/24"), Source4: a("10.1.0.2"), Gateway4: a("10.1.0.1"), Default4: true},
			"ip route add 10.1.0.0/24 dev x table 45002 proto 177\nip route add default via 10.1.0.1 dev x table 45002 proto 177"},
		{"down", Uplink{Addrs: prefixes("10.1.0.2/24"), Source4: a("10.1.0.2"), Gateway4: a("10.1.0.1"), Default4: true}, ``},
		{"no address", Uplink{Up: true, PointToPoint: true, Default4: true}, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.u.Name, c.u.Index = "x", 2
			var got strings.Builder
			for _, it := range MakePlan(Snapshot{Uplinks: []Uplink{c.u}}, Want{TUN: "t", TUNAddrs: prefixes("10.177.0.2/16")}).Items {
				if r, ok := it.(Route); ok && r.Table == 45002 {
					got.WriteString(Op{Add, r}.String() + "\n")
				}
			}
			// An outer datagram never falls through to the bond.
			equalText(t, got.String(), c.want+"\nip route add unreachable default table 45002 metric 1000000 proto 177")
		})
	}
}

func TestUplinkWithoutNumberIsLeftOut(t *testing.T) {
	u := vdsl
	u.Index = MaxIndex + 1
	p := MakePlan(Snapshot{IPv6: true, Uplinks: []Uplink{u}}, wantGateway)
	if strings.Contains(p.String(), "eth1") || len(p.Notes) != 1 {
		t.Errorf("notes %q, plan\n%s", p.Notes, p)
	}
}

func TestDiff(t *testing.T) {
	full := MakePlan(home, wantGateway)
	if ops := Diff(full, full); len(ops) != 0 {
		t.Errorf("same plan: %v", ops)
	}
	var backwards []Item
	for _, op := range Diff(full, Plan{}) {
		if op.Verb != Remove {
			t.Errorf("%s in a removal", op)
		}
		backwards = append(backwards, op.Item)
	}
	slices.Reverse(backwards)
	if !slices.Equal(backwards, full.Items) {
		t.Error("removal is not the exact reverse")
	}
}

func TestDiffOfChangedAddress(t *testing.T) {
	have := MakePlan(Snapshot{Uplinks: []Uplink{vdsl}}, wantGateway)
	u := vdsl
	u.Addrs = prefixes("192.168.7.9/24")
	u.Source4, u.Gateway4 = u.Addrs[0].Addr(), netip.MustParseAddr("192.168.7.1")
	w := wantGateway
	w.TUNMTU = 1380
	equalText(t, text(Diff(have, MakePlan(Snapshot{Uplinks: []Uplink{u}}, w))), `
		ip link set bondd0 mtu 1380 up
		ip route add 192.168.7.0/24 dev eth1 table 45001 proto 177
		ip route replace default via 192.168.7.1 dev eth1 table 45001 proto 177
		ip rule add pref 17720 from 192.168.7.9 lookup 45001 protocol 177
		ip rule del pref 17720 from 192.168.1.2 lookup 45001 protocol 177
		ip route del 192.168.1.0/24 dev eth1 table 45001 proto 177`)
}

func TestDiffOfVanishedUplink(t *testing.T) {
	have := MakePlan(Snapshot{Uplinks: []Uplink{vdsl, lte}}, wantGateway)
	equalText(t, text(Diff(have, MakePlan(Snapshot{Uplinks: []Uplink{vdsl}}, wantGateway))), `
		ip rule del pref 17720 from 10.9.8.7 lookup 45004 protocol 177
		ip rule del pref 17700 fwmark 0xb0dd0004 lookup 45004 protocol 177
		ip route del unreachable default table 45004 metric 1000000 proto 177
		ip route del default dev wwan0 table 45004 proto 177
		sysctl -w net/ipv4/conf/wwan0/rp_filter=(as found)`)
}

func TestNumbersStayWithTheirNames(t *testing.T) {
	var n numbering
	check := func(names []string, want ...int) {
		t.Helper()
		if got := n.number(names); !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", names, got, want)
		}
	}
	check([]string{"b", "d"}, 1, 2)
	check([]string{"a", "b", "d"}, 3, 1, 2)
	check([]string{"d"}, 2)
	check([]string{"b", "c", "d"}, 1, 4, 2)
	for i := range MaxIndex - 4 {
		n.byName["x"+string(rune('A'+i))] = 5 + i
	}
	check([]string{"b", "new", "c"}, 1, 2, 4) // d is the lowest that is absent
	check([]string{"b", "new", "c"}, 1, 2, 4)
}

func TestFindAndEqual(t *testing.T) {
	if u, ok := home.Find("wwan0"); !ok || !u.Equal(lte) {
		t.Errorf("found %+v %t", u, ok)
	}
	if _, ok := home.Find("wwan1"); ok {
		t.Error("found an uplink that is not there")
	}
	other := home
	other.Uplinks = slices.Clone(home.Uplinks)
	if !other.Equal(home) {
		t.Error("a copy is not equal")
	}
	other.Uplinks[0].Addrs = prefixes("192.168.1.3/24")
	if other.Equal(home) {
		t.Error("a changed address is not seen")
	}
}
