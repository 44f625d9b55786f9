package config

import (
	"fmt"
	"net/netip"
)

// DNS says how names are looked up for the LAN.
type DNS struct {
	// Role gateway.
	Listen    []netip.AddrPort // where the LAN's queries are answered; empty: nowhere
	Servers   []netip.AddrPort // who is asked, through the bond; empty: the exit
	Intercept bool             // queries of the LAN to others are answered too
	Cache     int              // answers that are kept

	// Role exit.
	Off bool // gateways are not answered
}

// DefaultDNSCache holds the names of a home for a day, in some 2 MB.
const DefaultDNSCache = 4096

// maxDNSCache bounds the cache at some 400 MB, if every answer were as long as can be.
const maxDNSCache = 100000

// dnsPort is where DNS is asked for.
const dnsPort = 53

// readDNS reads what belongs to DNS, of either role.
func (c *Config) readDNS(t *table) {
	s := t.table("dns")
	if s == nil {
		return
	}
	if c.Role == RoleExit {
		s.foreign(RoleGateway, []string{"listen", "servers", "intercept", "cache"})
	} else {
		s.texts("listen", `"192.168.1.1"`, dnsAddress(&c.DNS.Listen, localTo))
		s.texts("servers", `"exit" or "9.9.9.9"`, func(v string) error {
			if v == "exit" {
				return nil
			}
			return dnsAddress(&c.DNS.Servers, listenTo)(v)
		})
		s.flag("intercept", &c.DNS.Intercept)
		s.number("cache", "4096", &c.DNS.Cache)
	}
	if c.Role == RoleGateway {
		s.foreign(RoleExit, []string{"enable"})
		return
	}
	on := true
	s.flag("enable", &on)
	c.DNS.Off = !on
}

// dnsAddress reads an address that has port 53 unless it says otherwise.
func dnsAddress(to *[]netip.AddrPort, read func(*[]netip.AddrPort) func(string) error) func(string) error {
	return func(s string) error {
		if a, err := netip.ParseAddr(s); err == nil {
			s = netip.AddrPortFrom(a, dnsPort).String()
		}
		return read(to)(s)
	}
}

// dns checks what belongs to DNS at a gateway.
func (v *validator) dns(c *Config) {
	d := &c.DNS
	v.local("dns.listen", d.Listen)
	for i, a := range d.Servers {
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
			v.problem(fmt.Sprintf("dns.servers[%d]", i), "dns.servers: %s is no server; write \"exit\" or an address", a)
		}
		for _, l := range d.Listen {
			if a == l {
				v.problem(fmt.Sprintf("dns.servers[%d]", i), "dns.servers: %s is where this gateway listens; it would ask itself", a)
			}
		}
	}
	v.limit("dns.cache", d.Cache, 1, maxDNSCache)
	switch {
	case d.Intercept && len(d.Listen) == 0:
		v.problem("dns.intercept", "dns.intercept: there is nobody to answer; write the gateway's address in the LAN as dns.listen")
	case d.Intercept && len(c.LAN.Interfaces) == 0:
		v.problem("dns.intercept", "dns.intercept: it has to be known which interfaces are the LAN; write them as lan.interfaces")
	}
	for _, l := range d.Listen {
		if d.Intercept && l.Port() != d.Listen[0].Port() {
			v.problem("dns.intercept", "dns.intercept: queries can be led to one port only; give all of dns.listen the same")
			break
		}
	}
}
