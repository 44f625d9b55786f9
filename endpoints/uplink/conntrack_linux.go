package uplink

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// opensBond tells whether the step lets a family's traffic into the TUN.
func opensBond(op Op) bool {
	r, ok := op.Item.(Route)
	return ok && op.Verb != Remove && bondDefault(r)
}

func bondDefault(r Route) bool { return r.Table == TableBond && !r.Unreachable }

// forgetFlows removes from connection tracking what older decides on. A kernel
// that tracks nothing, or does not tell, has nothing to forget.
func (s *System) forgetFlows(ctx context.Context, want Plan) error {
	link, err := s.link()
	if err != nil {
		return explain("look at device "+s.tun, err)
	}
	f := older{ctx: ctx, h: s.h, tun: link.Attrs().Index, inner: make(map[netip.Addr]bool), known: make(map[way]bool)}
	var families []netlink.InetFamily
	for _, it := range want.Items {
		switch it := it.(type) {
		case Address:
			f.inner[it.Prefix.Addr()] = true
		case Route:
			if bondDefault(it) && it.V6 {
				families = append(families, netlink.FAMILY_V6)
			} else if bondDefault(it) {
				families = append(families, netlink.FAMILY_V4)
			}
		}
	}
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err == nil {
		defer h.Close()
		err = h.SetSocketTimeout(answerTimeout)
	}
	for _, family := range families {
		if err == nil {
			_, err = h.ConntrackDeleteFilters(netlink.ConntrackTable, family, &f)
		}
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			err = nil // what is new since the route came is as it should be
		}
	}
	for _, none := range []error{unix.EINVAL, unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
		if errors.Is(err, none) {
			return nil
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return explain("forget connections from before the bond", err)
}

// older is the filter for flows from before the bond: forwarded ones that the
// routing now sends into the TUN, while their answers are awaited at an address
// that is not the TUN's. None of them can work any more: the exit refuses
// packets from an address that it did not give out. Whatever is in doubt stays.
type older struct {
	ctx   context.Context
	h     *handles
	tun   int                 // ifindex
	inner map[netip.Addr]bool // addresses of the TUN
	known map[way]bool
}

// way is what the answer of the routing depends on.
type way struct{ from, to netip.Addr }

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (o *older) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	// To is the destination that the routing sees: behind a rewriting of it.
	w := way{from: toAddr(f.Forward.SrcIP), to: toAddr(f.Reverse.SrcIP)}
	if f.Mark != 0 || f.Zone != 0 || o.inner[toAddr(f.Reverse.DstIP)] ||
		!w.from.IsGlobalUnicast() || !w.to.IsGlobalUnicast() || o.ctx.Err() != nil {
		return false
	}
	match, ok := o.known[w]
	if !ok {
		match = o.forwardedIntoTUN(w)
		o.known[w] = match
	}
	return match
}

// forwardedIntoTUN asks the kernel what it does with such a packet that comes in
// where the way back to its source goes out. A source that is an address of
// this machine itself is not forwarded, and one behind the TUN is a peer's.
func (o *older) forwardedIntoTUN(w way) bool {
	back, ok := o.route(w.from, nil)
	if !ok || back.LinkIndex == o.tun {
		return false
	}
	there, ok := o.route(w.to, &netlink.RouteGetOptions{IifIndex: back.LinkIndex, SrcAddr: net.IP(w.from.AsSlice())})
	return ok && there.LinkIndex == o.tun
}

// route returns the one unicast route; not ok for a local or refused one.
func (o *older) route(to netip.Addr, opt *netlink.RouteGetOptions) (netlink.Route, bool) {
	routes, err := o.h.main.RouteGetWithOptions(to.AsSlice(), opt)
	if err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_UNICAST {
		return netlink.Route{}, false
	}
	return routes[0], true
}
