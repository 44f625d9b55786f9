package dial

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// closed lists what no gateway reaches unless it is allowed to.
var closed = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "no address of a machine (RFC 1122); on Linux it means the exit itself"},
	{netip.MustParsePrefix("127.0.0.0/8"), "the exit itself (loopback)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private (RFC 1918)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private (RFC 1918)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "private to a provider (RFC 6598)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "for protocols, not machines (RFC 6890)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, or broadcast"},
	{netip.MustParsePrefix("::/96"), "no address of a machine, or the exit itself (loopback)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "private (site-local, RFC 3879)"},
	{netip.MustParsePrefix("fc00::/7"), "private (RFC 4193)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a translator of the exit's own network (RFC 8215)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// carriers are IPv6 prefixes whose addresses have an IPv4 address at a byte
// offset, to which a translator or tunnel on the way leads. Mapped
// addresses are not here: they are IPv4 addresses in another form and unmapped first.
var carriers = []struct {
	prefix netip.Prefix
	offset int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // RFC 6052
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // RFC 2765 "translated"
	{netip.MustParsePrefix("2002::/16"), 2},        // RFC 3056, 6to4
}

// policy tells where a gateway may go.
type policy struct {
	allow, deny []netip.Prefix
	own         func() ([]netip.Addr, error)
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// check returns why the address may not be reached, or "".
func (p *policy) check(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case a.Zone() != "":
		return fmt.Sprintf("%s is link-local", a)
	case contains(p.deny, a):
		return fmt.Sprintf("%s is closed to this gateway by the exit's configuration", a)
	case contains(p.allow, a):
		return ""
	}
	for _, c := range closed {
		if c.prefix.Contains(a) {
			return fmt.Sprintf("%s is %s; the exit's configuration can allow it", a, c.what)
		}
	}
	for _, c := range carriers {
		if c.prefix.Contains(a) {
			b := a.As16()
			if why := p.check(netip.AddrFrom4([4]byte(b[c.offset : c.offset+4]))); why != "" {
				return fmt.Sprintf("%s leads to %s", a, why)
			}
		}
	}
	own, err := p.own()
	if err != nil {
		return fmt.Sprintf("the exit cannot tell its own addresses: %v", err)
	}
	if slices.Contains(own, a) {
		return fmt.Sprintf("%s is an address of the exit itself; its configuration can allow it", a)
	}
	return ""
}

// ownMaxAge is how old the list of own addresses may be. Reading it is a netlink dump,
// too much for every dial of a busy exit.
const ownMaxAge = 2 * time.Second

// ownAddrs reads the addresses of this machine, sometimes.
type ownAddrs struct {
	mu    sync.Mutex
	read  time.Time
	addrs []netip.Addr
}

func (o *ownAddrs) get() ([]netip.Addr, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.read.IsZero() && time.Since(o.read) < ownMaxAge {
		return o.addrs, nil
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(list)) // never the old array: it is in use
	for _, n := range list {
		if p, ok := n.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(p.IP); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	o.addrs, o.read = addrs, time.Now()
	return addrs, nil
}
