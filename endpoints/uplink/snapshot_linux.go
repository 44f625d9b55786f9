package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reader takes snapshots of one network namespace.
type reader struct {
	opts    WatchOptions
	h       *handles
	numbers numbering
}

func newReader(o WatchOptions) (*reader, error) {
	h, err := openHandles()
	if err != nil {
		return nil, err
	}
	return &reader{opts: o, h: h}, nil
}

func (r *reader) close() { r.h.close() }

// snapshot asks the kernel for links, addresses and default routes. The three
// are not one atomic picture; whatever changes in between raises an event and
// another look.
func (r *reader) snapshot() (Snapshot, error) {
	links, err := dump(r.h.main.LinkList)
	if err != nil {
		return Snapshot{}, explain("list interfaces", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return r.h.main.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return Snapshot{}, explain("list addresses", err)
	}
	s := Snapshot{IPv6: ipv6Enabled()}
	defaults := make(map[int]*defaultRoutes)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if family == netlink.FAMILY_V6 && !s.IPv6 {
			continue
		}
		routes, err := r.h.routes(family, tableMain, 0)
		if err != nil {
			return Snapshot{}, explain("list routes", err)
		}
		for _, rt := range routes {
			addDefault(defaults, rt, family == netlink.FAMILY_V6)
		}
	}
	for _, l := range links {
		s.Uplinks = append(s.Uplinks, r.uplinks(l.Attrs(), addrs, defaults[l.Attrs().Index], s.IPv6)...)
	}
	slices.SortFunc(s.Uplinks, func(a, b Uplink) int { return strings.Compare(a.Name, b.Name) })
	names := make([]string, len(s.Uplinks))
	for i, u := range s.Uplinks {
		names[i] = u.Name
	}
	for i, n := range r.numbers.number(names) {
		s.Uplinks[i].Index = n
	}
	return s, nil
}

// defaultRoutes are the best default routes over one interface.
type defaultRoutes struct{ v4, v6 *nextHop }

type nextHop struct {
	gateway netip.Addr // the zero Addr: directly on the link
	source  netip.Addr // preferred source, if the route states one
	metric  int
}

// addDefault notes rt if it is a usable default route, one entry per next hop.
func addDefault(m map[int]*defaultRoutes, rt netlink.Route, v6 bool) {
	if rt.Type != unix.RTN_UNICAST || rt.Dst != nil && !isDefault(rt.Dst) {
		return
	}
	note := func(ifindex int, gw netip.Addr) {
		d := m[ifindex]
		if d == nil {
			d = new(defaultRoutes)
			m[ifindex] = d
		}
		hop := &nextHop{gateway: gw, source: toAddr(rt.Src), metric: rt.Priority}
		slot := &d.v4
		if v6 {
			slot = &d.v6
		}
		if *slot == nil || hop.metric < (*slot).metric {
			*slot = hop
		}
	}
	for _, nh := range rt.MultiPath {
		note(nh.LinkIndex, gatewayOf(nh.Gw, nh.Via))
	}
	if len(rt.MultiPath) == 0 && rt.LinkIndex != 0 {
		note(rt.LinkIndex, gatewayOf(rt.Gw, rt.Via))
	}
}

// uplinks decides whether the interface is one, or several by its next hops, and describes them.
func (r *reader) uplinks(a *netlink.LinkAttrs, addrs []netlink.Addr, d *defaultRoutes, v6 bool) []Uplink {
	if d == nil {
		d = new(defaultRoutes)
	}
	o := &r.opts
	named := slices.Contains(o.Named, a.Name)
	routed := d.v4 != nil || d.v6 != nil
	found := routed && (!o.NamedOnly || slices.ContainsFunc(o.Patterns, func(p string) bool { return strings.HasPrefix(a.Name, p) }))
	if a.RawFlags&unix.IFF_LOOPBACK != 0 || a.Name == o.TUN || slices.Contains(o.Exclude, a.Name) {
		return nil
	}
	var all []address
	var peer4 netip.Addr
	for _, na := range addrs {
		if na.LinkIndex == a.Index {
			if ad, ok := usable(na); ok && (v6 || ad.prefix.Addr().Is4()) {
				all = append(all, ad)
				if peer, ok := peerOf(na); ok && peer.Addr().Is4() && peer.Addr() != ad.prefix.Addr() && !peer4.IsValid() {
					peer4 = peer.Addr()
				}
			}
		}
	}
	u := Uplink{
		Peer4: peer4,
		Name:  a.Name, Ifindex: a.Index, MTU: a.MTU, Named: named,
		PointToPoint: a.RawFlags&unix.IFF_POINTOPOINT != 0,
		Up:           running(a.RawFlags),
	}
	var out []Uplink
	for _, h := range o.Hops {
		if h.Device == a.Name {
			v := u
			v.Name, v.Device, v.Named = h.Name(), a.Name, true
			v.PointToPoint = false // out by that router or not at all
			out = append(out, v.by(all, hopTo(h.Gateway4), hopTo(h.Gateway6), false))
		}
	}
	if len(out) == 0 && (named || found) {
		out = append(out, u.by(all, d.v4, d.v6, true))
	}
	return out
}

func hopTo(gateway netip.Addr) *nextHop {
	if !gateway.IsValid() {
		return nil
	}
	return &nextHop{gateway: gateway}
}

// by fills in addresses and next hops. Without both, addresses of a family that
// has no next hop are left out.
func (u Uplink) by(all []address, v4, v6 *nextHop, both bool) Uplink {
	u.Default4, u.Default6 = v4 != nil, v6 != nil
	for _, ad := range all {
		if hop := map[bool]*nextHop{true: v4, false: v6}[ad.prefix.Addr().Is4()]; both || hop != nil {
			u.Addrs = append(u.Addrs, ad.prefix)
		}
	}
	slices.SortFunc(u.Addrs, func(a, b netip.Prefix) int { return a.Compare(b) })
	u.Addrs = slices.Compact(u.Addrs)
	if v4 != nil {
		u.Gateway4 = v4.gateway
	}
	if v6 != nil {
		u.Gateway6 = v6.gateway
	}
	if both || v4 != nil {
		u.Source4 = pickSource(all, false, v4)
	}
	if both || v6 != nil {
		u.Source6 = pickSource(all, true, v6)
	}
	return u
}

// address is one usable address, in the kernel's order (primary first).
type address struct {
	prefix    netip.Prefix
	temporary bool // RFC 8981: changes every day
}

// usable converts an address unless it must not be used as a source.
func usable(na netlink.Addr) (address, bool) {
	if na.IPNet == nil {
		return address{}, false
	}
	p, ok := toPrefix(na.IPNet)
	ip := p.Addr()
	if !ok || ip.IsLinkLocalUnicast() || ip.IsLoopback() || ip.IsUnspecified() {
		return address{}, false
	}
	if na.Flags&(unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED) != 0 ||
		na.Flags&unix.IFA_F_TENTATIVE != 0 && na.Flags&unix.IFA_F_OPTIMISTIC == 0 {
		return address{}, false
	}
	// For IPv4 the same bit means "secondary".
	return address{p, ip.Is6() && na.Flags&unix.IFA_F_TEMPORARY != 0}, true
}

// peerOf is the far end of an address, if it has one.
func peerOf(na netlink.Addr) (netip.Prefix, bool) {
	if na.Peer == nil {
		return netip.Prefix{}, false
	}
	return toPrefix(na.Peer)
}

// pickSource chooses the address to send from: the one that the default route
// states; one in the gateway's subnet; a global one before a unique local one
// (RFC 4193); a lasting one before a temporary one, so that paths do not move
// every day; the kernel's order otherwise.
func pickSource(all []address, v6 bool, hop *nextHop) netip.Addr {
	best, bestScore := netip.Addr{}, -1
	for _, a := range all {
		ip := a.prefix.Addr()
		if ip.Is6() != v6 {
			continue
		}
		score := 0
		if !a.temporary {
			score++
		}
		if v6 && !ip.IsPrivate() {
			score += 2
		}
		if hop != nil && hop.gateway.IsValid() && a.prefix.Contains(hop.gateway) {
			score += 4
		}
		if hop != nil && hop.source == ip {
			score += 8
		}
		if score > bestScore {
			best, bestScore = ip, score
		}
	}
	return best
}

// ipv6Enabled tells whether IPv6 can be used at all.
func ipv6Enabled() bool {
	b, err := os.ReadFile(procSys + "net/ipv6/conf/all/disable_ipv6")
	return err == nil && strings.TrimSpace(string(b)) == "0"
}

// dumpTries bounds how often an inconsistent listing is asked for again;
// arbitrary: each try fails only if the table changed within its microseconds.
const dumpTries = 5

// dump calls list again while the kernel says that the table changed meanwhile;
// after the last try what came is taken: another event is on its way.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		got, err := list()
		if err == nil {
			return got, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		if try == dumpTries {
			if got == nil {
				return nil, fmt.Errorf("the kernel's table changes too fast to be read: %w", err)
			}
			return got, nil
		}
	}
}
