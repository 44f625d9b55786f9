package uplink

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for the kernel's answer to one request; it
// answers within the call, so this only turns a hang into an error.
const answerTimeout = 5 * time.Second

// handles are two netlink sockets of one network namespace, opened in the
// namespace of the thread that calls openHandles and usable from any.
type handles struct {
	main *netlink.Handle
	// strict has NETLINK_GET_STRICT_CHK: the kernel filters route listings by table
	// and protocol, so that a full routing table is not copied at each look.
	// Only for that, since the library's other listings do not pass the check.
	// On kernels before 4.20 it is an ordinary socket and the library filters.
	strict *netlink.Handle
}

func openHandles() (*handles, error) {
	var h handles
	for _, p := range []**netlink.Handle{&h.main, &h.strict} {
		nh, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			h.close()
			return nil, explain("open a route netlink socket", err)
		}
		*p = nh
		if err := nh.SetSocketTimeout(answerTimeout); err != nil {
			h.close()
			return nil, explain("set the timeout of a netlink socket", err)
		}
	}
	_ = h.strict.SetStrictCheck(true)
	return &h, nil
}

func (h *handles) close() {
	for _, nh := range []*netlink.Handle{h.main, h.strict} {
		if nh != nil {
			nh.Close()
		}
	}
}

// routes lists one family's routes; table 0 means any, protocol 0 means any.
func (h *handles) routes(family, table int, protocol netlink.RouteProtocol) ([]netlink.Route, error) {
	mask := netlink.RT_FILTER_TABLE
	if protocol != 0 {
		mask |= netlink.RT_FILTER_PROTOCOL
	}
	filter := &netlink.Route{Table: table, Protocol: protocol}
	list, err := dump(func() ([]netlink.Route, error) {
		var res []netlink.Route
		err := h.strict.RouteListFilteredIter(family, filter, mask, func(r netlink.Route) bool {
			res = append(res, r)
			return true
		})
		return res, err
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // the table was never used
	}
	return list, err
}

// isDefault tells whether the network is everything.
func isDefault(n *net.IPNet) bool {
	ones, bits := n.Mask.Size()
	return ones == 0 && bits != 0
}

// toAddr converts; the zero Addr for nil.
func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	a := toAddr(n.IP)
	ones, bits := n.Mask.Size()
	if !a.IsValid() || bits != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// gatewayOf reads a next hop of its own family, or of the other one (RFC 5549).
func gatewayOf(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		return toAddr(v.Addr)
	}
	return toAddr(gw)
}
