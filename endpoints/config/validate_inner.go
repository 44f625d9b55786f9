package config

import (
	"fmt"
	"net/netip"
)

// inner checks the inner prefixes of an exit.
func (v *validator) inner(n Inner) {
	if len(n.prefixes()) == 0 {
		v.problem("inner", "inner: both families are off, which leaves nothing to carry; leave one of ipv4, ipv6 on")
	}
	if n.IPv4.IsValid() {
		v.innerPrefix("inner.ipv4", n.IPv4, true)
	}
	if n.IPv6.IsValid() {
		v.innerPrefix("inner.ipv6", n.IPv6, false)
	}
}

func (v *validator) innerPrefix(field string, p netip.Prefix, v4 bool) {
	family, other := "IPv4", "IPv6"
	if !v4 {
		family, other = other, family
	}
	switch {
	case p.Addr().Is4() != v4:
		v.problem(field, "%s: %s is %s; write an %s prefix", field, p, other, family)
	case p != p.Masked():
		v.problem(field, "%s: %s has bits behind its length; write %s", field, p, p.Masked())
	case p.Bits() > p.Addr().BitLen()-2:
		v.problem(field, "%s: %s has no room for an exit and a gateway; it must be /%d or shorter", field, p, p.Addr().BitLen()-2)
	case p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || p.Bits() == 0:
		v.problem(field, "%s: no host can have an address in %s; take a private prefix like %s or %s", field, p, DefaultInner4, DefaultInner6)
	}
}

// gateways checks what an exit knows of its gateways. Each is held to its own
// inner addresses, so these must be disjoint.
func (v *validator) gateways(c *Config) {
	if len(c.Gateways) == 0 {
		v.problem("gateway", "no gateway is known, so nobody could connect; write [[gateway]] and its key")
	}
	for i, g := range c.Gateways {
		at := fmt.Sprintf("gateway[%d]", i)
		v.check(at+".name", checkName(g.Name))
		if isZero(g.Key[:]) {
			v.problem(at+".key", "%s.key is missing; write the public key of the gateway, which \"bondd pubkey\" prints there", at)
		}
		for j, o := range c.Gateways[:i] {
			if g.Name == o.Name {
				v.problem(at+".name", "%s.name: %q is the name of gateway[%d] already; give each its own", at, g.Name, j)
			}
			if g.Key == o.Key && !isZero(g.Key[:]) {
				v.problem(at+".key", "%s.key: gateway %q has the same key; each gateway has its own", at, o.Name)
			}
			v.overlap(at+".addresses", g, o)
		}
		v.addresses(at+".addresses", g, c.Inner)
	}
}

// addresses checks the inner addresses of one gateway against the exit's.
func (v *validator) addresses(field string, g Gateway, n Inner) {
	families := map[bool]int{}
	for _, p := range g.Addresses {
		v4 := p.Addr().Is4()
		families[v4]++
		in := n.IPv6
		if v4 {
			in = n.IPv4
		}
		switch {
		case !p.IsValid():
			v.problem(field, "%s: an address is not valid; write one like \"10.177.0.2\"", field)
		case !in.IsValid():
			v.problem(field, "%s: %s has a family that is off in [inner]; turn it on or remove the address", field, p)
		case p.Bits() < in.Bits() || !in.Contains(p.Addr()):
			v.problem(field, "%s: %s is not within the inner prefix %s; choose one there or change [inner]", field, p, in)
		case v4 && in.Bits() < 31 && !in.Contains(p.Addr().Next()):
			v.problem(field, "%s: %s is the broadcast address of %s; choose another", field, p.Addr(), in)
		case p.Addr() == in.Masked().Addr():
			v.problem(field, "%s: %s is the first address of %s and names the whole prefix; choose another", field, p.Addr(), in)
		}
	}
	for _, own := range n.Exit() {
		for _, p := range g.Addresses {
			if p.IsValid() && p.Masked().Contains(own.Addr()) {
				v.problem(field, "%s: %s takes in %s, which is the exit's own; choose another", field, p, own.Addr())
			}
		}
		switch k := families[own.Addr().Is4()]; {
		case k == 0:
			v.problem(field, "%s: %s has no address left for gateway %q; make the prefix in [inner] larger", field, own.Masked(), g.Name)
		case k > 1:
			v.problem(field, "%s: a gateway has one address of each family; this one has %d of one", field, k)
		}
	}
}

// overlap checks the inner addresses of one gateway against those of another
// that stands before it.
func (v *validator) overlap(field string, g, o Gateway) {
	for _, a := range g.Addresses {
		for _, b := range o.Addresses {
			if a.IsValid() && b.IsValid() && a.Overlaps(b) {
				v.problem(field, "%s: %s of gateway %q overlaps %s of gateway %q; write addresses = [...] for one of them", field, a, g.Name, b, o.Name)
			}
		}
	}
}
