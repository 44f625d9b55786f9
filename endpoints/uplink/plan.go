package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Role says which side of the bond the machine is.
type Role uint8

const (
	// Gateway sends the LAN's traffic into the TUN and outer datagrams out of
	// each uplink by its own table.
	Gateway Role = iota
	// Exit forwards between the TUN and the internet; it needs no rules.
	Exit
	// Relay only forwards; it has no TUN.
	Relay
)

// Want is what the owner asks of the machine.
type Want struct {
	Role     Role
	TUN      string         // name of the open TUN device
	TUNAddrs []netip.Prefix // inner addresses with the length of the inner network
	TUNMTU   int            // bytes; 0 leaves the MTU alone (it is kept by the owner of the device)
	Exits    []ExitTUN      // of a gateway: exits with a TUN of their own, for what is marked so
}

// ExitTUN is an exit of a gateway with a TUN of its own. What is for it while it has no address is refused.
type ExitTUN struct {
	Number int    // 1..MaxExit: in its mark and its table
	TUN    string // name of the open device
	Addrs  []netip.Prefix
}

// Mark is the mark of what goes by this exit.
func (e ExitTUN) Mark() uint32 { return MarkExit | uint32(e.Number) }

// Table is the number of the exit's routing table.
func (e ExitTUN) Table() int { return TableExit + e.Number }

// Plan is the whole desired state, in the order in which it is put in place.
// It is a value: comparing, printing and keeping it has no effect.
type Plan struct {
	Items []Item
	// Notes are sentences for the user about what the plan leaves out and why.
	Notes []string
}

// String is one command per line, as Diff(Plan{}, p) would print it.
func (p Plan) String() string {
	var b strings.Builder
	for _, it := range p.Items {
		b.WriteString(Op{Add, it}.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// MakePlan computes the plan for a snapshot. It is pure. Uplinks with an Index
// outside 1..MaxIndex have no table and are left out, with a note.
func MakePlan(s Snapshot, w Want) Plan {
	p := &planner{snap: s, want: w}
	p.has4 = slices.ContainsFunc(w.TUNAddrs, func(a netip.Prefix) bool { return a.Addr().Is4() })
	p.has6 = slices.ContainsFunc(w.TUNAddrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
	if !s.IPv6 && p.has6 {
		p.note("IPv6 is absent or switched off on this machine (net.ipv6.conf.all.disable_ipv6): IPv6 inside the bond is left out, IPv4 works.")
	}
	for _, u := range s.Uplinks {
		if u.Index < 1 || u.Index > MaxIndex {
			p.note("uplink %s has no number in 1..%d and is left out.", u.Name, MaxIndex)
			continue
		}
		p.uplinks = append(p.uplinks, u)
	}

	if w.Role == Relay {
		p.forwarding()
		return p.plan
	}
	p.looseReversePath()
	p.device()
	if w.Role == Gateway {
		for _, e := range w.Exits {
			p.exitRoutes(e)
		}
		p.bondRoutes()
		for _, u := range p.uplinks {
			p.uplinkRoutes(u)
		}
		p.rules(false)
		if s.IPv6 {
			p.rules(true)
		}
	}
	p.forwarding()
	return p.plan
}

type planner struct {
	snap       Snapshot
	want       Want
	uplinks    []Uplink
	has4, has6 bool // the TUN has inner addresses of that family
	plan       Plan
}

// add puts an item into the plan, once: next hops on one interface share some.
func (p *planner) add(it Item) {
	if !slices.Contains(p.plan.Items, it) {
		p.plan.Items = append(p.plan.Items, it)
	}
}

func (p *planner) note(format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, args...))
}

// looseReversePath turns a strict reverse-path check of an uplink off: it would
// drop what comes back on an uplink that the main table would not choose
// (RFC 3704 2.4: loose for multihoming).
func (p *planner) looseReversePath() {
	if p.want.Role != Gateway {
		return
	}
	for _, u := range p.uplinks {
		p.add(Sysctl{Key: "net/ipv4/conf/" + u.Interface() + "/rp_filter", Value: "2", When: "1"})
	}
}

// forwarding makes the machine a router. It comes after the rules and goes
// before them: a packet that is forwarded without them leaves by an uplink, and
// connection tracking then remembers its flow as one that is not masqueraded.
func (p *planner) forwarding() {
	p.add(Sysctl{Key: keyForward4, Value: "1"})
	if p.snap.IPv6 {
		p.add(Sysctl{Key: keyForward6, Value: "1"})
	}
}

// device brings the TUN up with its addresses.
func (p *planner) device() {
	tun := p.want.TUN
	if p.snap.IPv6 {
		if p.has6 {
			// Systems that set conf.default.disable_ipv6 would refuse the address.
			p.add(Sysctl{Key: "net/ipv6/conf/" + tun + "/disable_ipv6", Value: "0"})
		}
		// No link-local address, hence no router solicitations into the bond.
		p.add(Sysctl{Key: "net/ipv6/conf/" + tun + "/addr_gen_mode", Value: "1"})
	}
	p.add(Link{Dev: tun, MTU: p.want.TUNMTU})
	for _, a := range p.want.TUNAddrs {
		if a.Addr().Is6() && !p.snap.IPv6 {
			continue
		}
		p.add(Address{Dev: tun, Prefix: a})
	}
}

// bondRoutes fills the table of everything that is to go through the bond. What
// has no way there is refused, not leaked to an uplink: a family without an inner
// address, and all of it when a crash has taken the TUN and its route away.
func (p *planner) bondRoutes() {
	for _, v6 := range p.families() {
		has, metric := p.has4, 0
		if v6 {
			has, metric = p.has6, metricDefault6
		}
		if has {
			p.add(Route{V6: v6, Table: TableBond, Dev: p.want.TUN, Metric: metric})
		} else {
			p.note("no inner %s address: the LAN's %s traffic is refused, not sent around the bond.", family(v6), family(v6))
		}
		p.add(Route{V6: v6, Table: TableBond, Unreachable: true, Metric: metricRefuse})
	}
}

// exitRoutes brings the TUN of an exit up and fills its table. Its addresses are for the device alone: exits give the same ones to their gateways,
// and the main table must not send an inner network to one of several.
func (p *planner) exitRoutes(e ExitTUN) {
	if p.snap.IPv6 {
		p.add(Sysctl{Key: "net/ipv6/conf/" + e.TUN + "/disable_ipv6", Value: "0"})
		p.add(Sysctl{Key: "net/ipv6/conf/" + e.TUN + "/addr_gen_mode", Value: "1"})
	}
	// The main table would send no answer this way, so a strict check would drop what comes.
	p.add(Sysctl{Key: "net/ipv4/conf/" + e.TUN + "/rp_filter", Value: "2"})
	p.add(Link{Dev: e.TUN})
	for _, a := range e.Addrs {
		if a.Addr().Is4() || p.snap.IPv6 {
			p.add(Address{Dev: e.TUN, Prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())})
		}
	}
	for _, v6 := range p.families() {
		metric := 0
		if v6 {
			metric = metricDefault6
		}
		if slices.ContainsFunc(e.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() == v6 }) {
			p.add(Route{V6: v6, Table: e.Table(), Dev: e.TUN, Metric: metric})
		}
		p.add(Route{V6: v6, Table: e.Table(), Unreachable: true, Metric: metricRefuse})
	}
}

// uplinkRoutes fills one uplink's table.
func (p *planner) uplinkRoutes(u Uplink) {
	for _, v6 := range p.families() {
		usable, gateway, direct := u.Usable4(), u.Gateway4, u.Default4
		connected, metric := 0, 0
		if v6 {
			usable, gateway, direct = u.Usable6(), u.Gateway6, u.Default6
			connected, metric = metricConnected6, metricDefault6
		}
		if usable {
			for _, dst := range subnets(u, v6) {
				p.add(Route{V6: v6, Table: u.Table(), Dst: dst, Dev: u.Interface(), Metric: connected})
			}
			switch {
			case gateway.IsValid():
				p.add(Route{V6: v6, Table: u.Table(), Via: gateway, Dev: u.Interface(), Metric: metric,
					OnLink: !covered(u, gateway)})
			case direct || u.PointToPoint:
				p.add(Route{V6: v6, Table: u.Table(), Dev: u.Interface(), Metric: metric})
			}
		}
		p.add(Route{V6: v6, Table: u.Table(), Unreachable: true, Metric: metricRefuse})
	}
}

// rules of one family, least intrusive first: the one that turns the LAN's
// traffic is the last to come and the first to go.
func (p *planner) rules(v6 bool) {
	for _, u := range p.uplinks {
		p.add(Rule{V6: v6, Priority: PriorityMark, Mark: u.Mark(), Mask: 0xffffffff, Table: u.Table()})
	}
	p.add(Rule{V6: v6, Priority: PriorityMarkLost, Mark: MarkBase, Mask: MarkMask, Unreachable: true})
	p.add(Rule{V6: v6, Priority: PriorityMain, Table: tableMain, SuppressDefault: true})
	placed := make(map[netip.Addr]bool) // next hops that share an address: it belongs to the first
	for _, u := range p.uplinks {
		for _, a := range u.Addrs {
			if a.Addr().Is6() == v6 && !placed[a.Addr()] {
				placed[a.Addr()] = true
				p.add(Rule{V6: v6, Priority: PriorityFrom, From: a.Addr(), Table: u.Table()})
			}
		}
	}
	for _, e := range p.want.Exits {
		p.add(Rule{V6: v6, Priority: PriorityExit, Mark: e.Mark(), Mask: 0xffffffff, Table: e.Table()})
	}
	p.add(Rule{V6: v6, Priority: PriorityBond, Table: TableBond})
}

// families lists what the kernel can do: false is IPv4, true is IPv6.
func (p *planner) families() []bool {
	if p.snap.IPv6 {
		return []bool{false, true}
	}
	return []bool{false}
}

// subnets are the networks directly on the uplink, each once.
func subnets(u Uplink, v6 bool) []netip.Prefix {
	var nets []netip.Prefix
	for _, a := range u.Addrs {
		if n := a.Masked(); a.Addr().Is6() == v6 && !a.IsSingleIP() && !slices.Contains(nets, n) {
			nets = append(nets, n)
		}
	}
	return nets
}

// covered tells whether the kernel can see by itself that the gateway is on
// the link: in one of the subnets, or link-local.
func covered(u Uplink, gw netip.Addr) bool {
	return gw.Is6() && gw.IsLinkLocalUnicast() ||
		slices.ContainsFunc(u.Addrs, func(p netip.Prefix) bool { return p.Contains(gw) })
}

func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}
