package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is the port of an exit, TCP for the hello and UDP for datagrams.
// Arbitrary: below the range from which kernels pick ports for clients, and not
// in wide use for anything else.
const DefaultPort = 7117

// Address is where an exit is reached: a host, which is an IP address or a
// name, and a port that is not 0.
type Address struct {
	Host string
	Port uint16
}

// String returns the address as net.Dial takes it.
func (a Address) String() string {
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// Addr returns the host as an IP address, and false when it is a name.
func (a Address) Addr() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(a.Host)
	return ip, err == nil
}

// ParseAddress reads "host", "host:port", "[v6]:port", "[v6]" or a bare IPv6
// address. The port is DefaultPort when left out.
func ParseAddress(s string) (Address, error) {
	host, port := s, ""
	switch ip, err := netip.ParseAddr(s); {
	case err == nil && ip.Is6():
		// A bare IPv6 address: its colons are no port.
	case strings.HasPrefix(s, "["):
		inside, rest, ok := strings.Cut(s[1:], "]")
		p, colon := strings.CutPrefix(rest, ":")
		if !ok || (rest != "" && !colon) || (colon && p == "") {
			return Address{}, fmt.Errorf("%q is not an address; write \"[2001:db8::1]:%d\" or \"host:%d\"", s, DefaultPort, DefaultPort)
		}
		if ip, err := netip.ParseAddr(inside); err != nil || !ip.Is6() {
			return Address{}, fmt.Errorf("%q in %q is not an IPv6 address", inside, s)
		}
		host, port = inside, p
	default:
		h, p, colon := strings.Cut(s, ":")
		if colon && p == "" {
			return Address{}, fmt.Errorf("%q has a colon and no port behind it", s)
		}
		host, port = h, p
	}
	if err := checkHost(host); err != nil {
		return Address{}, fmt.Errorf("%q is not an address: %w", s, err)
	}
	a := Address{Host: host, Port: DefaultPort}
	if port != "" {
		n, err := parsePort(port)
		if err != nil {
			return Address{}, fmt.Errorf("%q is not an address: %w", s, err)
		}
		a.Port = n
	}
	return a, nil
}

// ParseListen reads where an exit listens: ":port", "address:port" or
// "[v6]:port". Without an address it is every address of both families, which
// the result states as [::].
func ParseListen(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address to listen on; write \":%d\" or \"192.0.2.1:%d\"", s, DefaultPort, DefaultPort)
	}
	n, err := parsePort(port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address to listen on: %w", s, err)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q is not an address to listen on: %q is not an IP address", s, host)
		}
	}
	return netip.AddrPortFrom(ip.Unmap(), n), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || !isDigits(s) {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// checkHost accepts IP addresses and the names of RFC 1123 §2.1, also with
// underscores, which are found in the wild. A name whose last label is all
// digits is a mistyped IPv4 address.
func checkHost(s string) error {
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("no host has the address %s", ip)
		}
		return nil
	}
	if s == "" {
		return fmt.Errorf("the host is missing")
	}
	if len(s) > 253 {
		return fmt.Errorf("a host name has at most 253 bytes")
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.ContainsFunc(l, notInName) {
			return fmt.Errorf("%q is neither a host name nor an IP address", s)
		}
	}
	if isDigits(labels[len(labels)-1]) {
		return fmt.Errorf("%q is neither a host name nor an IP address", s)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
