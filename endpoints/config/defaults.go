package config

import (
	"math/big"
	"net/netip"
)

// What holds when the file does not say otherwise.
const (
	DefaultPrivateKeyFile = "/etc/bondd/key"
	DefaultControl        = "/run/bondd.sock"
	DefaultTUN            = "bondd0"
	DefaultStateDir       = "/var/lib/bondd"
)

// The default inner prefixes: a part of the space of RFC 1918 that home routers
// seldom hand out, and a unique local prefix in the form of RFC 4193 §3.1. Its
// global ID is fixed rather than random, because gateway and exit find it here
// and nothing but the two of them ever sees it.
var (
	DefaultInner4 = netip.MustParsePrefix("10.177.0.0/16")
	DefaultInner6 = netip.MustParsePrefix("fd77:b0dd::/64")
)

// SetDefaults fills in every field that is zero and has a default. The n-th
// gateway of an exit, counted from 1, has the (n+1)-th address of each inner
// prefix in which it was given none. Inner prefixes are set when both are
// invalid; one alone means that only its family is carried.
func (c *Config) SetDefaults() {
	if c.PrivateKeyFile == "" && isZero(c.PrivateKey[:]) && c.Role != RoleRelay {
		c.PrivateKeyFile = DefaultPrivateKeyFile
	}
	if c.Control == "" {
		c.Control = DefaultControl
	}
	if c.TUN.Name == "" {
		c.TUN.Name = DefaultTUN
	}
	for i := range c.Uplinks {
		c.Uplinks[i].setDefaults()
	}
	if len(c.DNS.Listen) > 0 && c.DNS.Cache == 0 {
		c.DNS.Cache = DefaultDNSCache
	}
	switch c.Role {
	case RoleExit:
	case RoleRelay:
		c.Relay.setDefaults()
	default:
		if c.StateDir == "" {
			c.StateDir = DefaultStateDir
		}
		if c.Policy == "" {
			c.Policy = PolicyAggregate
		}
		if c.Stream.Mode == "" {
			c.Stream.Mode = CarryAuto
		}
		c.setExitDefaults()
		return
	}
	if len(c.Listen) == 0 {
		c.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), DefaultPort)}
	}
	if c.Role == RoleRelay {
		return
	}
	if !c.Inner.IPv4.IsValid() && !c.Inner.IPv6.IsValid() {
		c.Inner = Inner{IPv4: DefaultInner4, IPv6: DefaultInner6}
	}
	for i := range c.Gateways {
		c.Gateways[i].Addresses = c.Inner.fill(i, c.Gateways[i].Addresses)
	}
}

// fill completes the addresses of the gateway with index i (from 0), IPv4
// first. Where its prefix has no such address the family is left out, which
// Validate reports.
func (n Inner) fill(i int, have []netip.Prefix) []netip.Prefix {
	out := have[:len(have):len(have)]
	for _, p := range n.prefixes() {
		if hasFamily(out, p.Addr().Is4()) {
			continue
		}
		if a, ok := nth(p, i+2); ok {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

func hasFamily(ps []netip.Prefix, v4 bool) bool {
	for _, p := range ps {
		if p.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

// nth returns the n-th address of p, counted from 0 at its first. It is false
// when p has no such address or when it is the broadcast address of an IPv4
// prefix.
func nth(p netip.Prefix, n int) (netip.Addr, bool) {
	p = p.Masked()
	raw := p.Addr().AsSlice()
	sum := new(big.Int).SetBytes(raw)
	sum.Add(sum, big.NewInt(int64(n)))
	if sum.BitLen() > len(raw)*8 {
		return netip.Addr{}, false
	}
	a, _ := netip.AddrFromSlice(sum.FillBytes(raw))
	if !p.Contains(a) || (a.Is4() && p.Bits() < 31 && !p.Contains(a.Next())) {
		return netip.Addr{}, false
	}
	return a, true
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
