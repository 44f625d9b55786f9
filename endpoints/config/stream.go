package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Stream says how TCP connections are carried as streams.
type Stream struct {
	// Role gateway.
	InterceptOff bool             // connections of the LAN are not taken, but go as packets
	Mode         CarryMode        // what carries connections
	SOCKS, HTTP  []netip.AddrPort // where SOCKS5 and HTTP CONNECT are served; empty: nowhere

	// Role exit.
	Off bool // gateways are offered no streams
	// Bench serves bytes to the gateways' measurements on the exit's inner address.
	Bench bool
	// Allow opens networks that gateways may not reach by themselves, as the
	// private ones; Deny closes networks, and counts before Allow.
	Allow, Deny []netip.Prefix
	// Limits of one gateway; 0: a default.
	MaxStreams int // at a time
	MaxRate    int // new ones per second
	MaxMemory  int // for data that its connections have not taken, 2^20 bytes
	// Announce are the addresses of relays that forward to the exit, on its own port, for the kernel's MPTCP of gateways.
	Announce []netip.Addr
}

// CarryMode says what carries TCP connections between gateway and exit.
type CarryMode string

// The modes. With each, what cannot be carried so goes the other way.
const (
	CarryAuto  CarryMode = "auto"  // the kernel's MPTCP where the uplinks fit it, else the bond
	CarryMPTCP CarryMode = "mptcp" // the kernel's MPTCP
	CarryBond  CarryMode = "bond"  // the bond
)

func checkCarryMode(m CarryMode) error {
	return checkWord(string(m), string(CarryAuto), string(CarryMPTCP), string(CarryBond))
}

// Of is what holds for one gateway of an exit.
func (s Stream) Of(g *Gateway) Stream {
	s.MaxStreams = cmp.Or(g.MaxStreams, s.MaxStreams)
	s.MaxRate = cmp.Or(g.MaxRate, s.MaxRate)
	s.MaxMemory = cmp.Or(g.MaxMemory, s.MaxMemory)
	s.Allow = slices.Concat(s.Allow, g.Allow)
	return s
}

// Bounds of the limits.
const (
	maxMaxStreams = 65536
	maxMaxRate    = 100000
	minMaxMemory  = 4 // below, one stream over a satellite could not fill its window
	maxMaxMemory  = 4096
)

// Via says how a connection goes that is not intercepted.
type Via string

// The ways around the interception.
const (
	ViaPacket Via = "packet" // through the bond, by the packet service
	ViaDirect Via = "direct" // around the bond, by the main routing table
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// String returns the range as ParsePorts reads it.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParsePorts reads a port or a range of ports: "443", "6000-6100".
func ParsePorts(s string) (PortRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err := parsePort(first)
	if err != nil {
		return PortRange{}, err
	}
	b, err := parsePort(last)
	if err != nil {
		return PortRange{}, err
	}
	if b < a {
		return PortRange{}, fmt.Errorf("%q ends before it begins", s)
	}
	return PortRange{a, b}, nil
}

// Bypass is what is not intercepted: destinations in one of Prefixes, or any if
// there is none, at one of Ports, or any if there is none.
type Bypass struct {
	Prefixes []netip.Prefix
	Ports    []PortRange
	Via      Via
}

// readStream reads what belongs to streams, of either role.
func (c *Config) readStream(t *table) {
	if s := t.table("stream"); s != nil {
		gateway := []string{"intercept", "mode", "socks", "http"}
		exit := []string{"enable", "allow", "deny", "max_streams", "max_rate", "max_memory", "bench", "announce"}
		if c.Role == RoleExit {
			s.foreign(RoleGateway, gateway)
		} else {
			c.Stream.readGateway(s)
		}
		if c.Role == RoleGateway {
			s.foreign(RoleExit, exit)
		} else {
			c.Stream.readExit(s)
		}
	}
}

func (s *Stream) readGateway(t *table) {
	on := true
	t.flag("intercept", &on)
	s.InterceptOff = !on
	t.text("mode", `"auto"`, func(v string) error {
		s.Mode = CarryMode(v)
		return checkCarryMode(s.Mode)
	})
	t.texts("socks", `"127.0.0.1:1080"`, listenTo(&s.SOCKS))
	t.texts("http", `"127.0.0.1:8080"`, listenTo(&s.HTTP))
}

func (s *Stream) readExit(t *table) {
	on := true
	t.flag("enable", &on)
	s.Off = !on
	t.texts("allow", `"192.168.7.0/24"`, networkTo(&s.Allow))
	t.texts("deny", `"198.51.100.0/24"`, networkTo(&s.Deny))
	t.number("max_streams", "4096", &s.MaxStreams)
	t.number("max_rate", "500", &s.MaxRate)
	t.number("max_memory", "64", &s.MaxMemory)
	t.flag("bench", &s.Bench)
	t.texts("announce", `"192.0.2.20"`, func(text string) error {
		a, err := netip.ParseAddr(text)
		if err == nil {
			err = checkAnnounce(a)
		}
		if err != nil {
			return fmt.Errorf("%q is not the address of a relay; write one like \"192.0.2.20\" or \"2001:db8::20\", without a port", text)
		}
		s.Announce = append(s.Announce, a)
		return nil
	})
}

// maxAnnounce is how many addresses the kernel announces.
const maxAnnounce = 8

func checkAnnounce(a netip.Addr) error {
	if !a.IsGlobalUnicast() || a.Zone() != "" || a.Is4In6() {
		return errors.New("it is not an address that a gateway could reach")
	}
	return nil
}

func readBypass(t *table) Bypass {
	b := Bypass{Via: ViaPacket}
	t.texts("cidr", `"192.0.2.0/24"`, networkTo(&b.Prefixes))
	t.numbersAsText("port")
	t.texts("port", `"443" or "6000-6100"`, func(s string) error {
		r, err := ParsePorts(s)
		if err == nil {
			b.Ports = append(b.Ports, r)
		}
		return err
	})
	t.text("via", `"direct"`, func(s string) error {
		b.Via = Via(s)
		return checkVia(b.Via)
	})
	return b
}

// numbersAsText lets a field of strings be written with whole numbers too.
func (t *table) numbersAsText(name string) {
	text := func(v any) any {
		if n, ok := v.(int64); ok {
			return strconv.FormatInt(n, 10)
		}
		return v
	}
	switch v := t.m[name].(type) {
	case int64:
		t.m[name] = text(v)
	case []any:
		for i := range v {
			v[i] = text(v[i])
		}
	}
}

// listenTo reads an address to listen on. Unlike an exit, a proxy has to be told
// the address: on all of them it would be open to the world.
func listenTo(to *[]netip.AddrPort) func(string) error {
	return func(s string) error {
		if strings.HasPrefix(s, ":") {
			return fmt.Errorf("%q has no address; write \"127.0.0.1%s\" or the gateway's own address in the LAN", s, s)
		}
		a, err := ParseListen(s)
		if err == nil {
			*to = append(*to, a)
		}
		return err
	}
}

// networkTo reads a network, or an address alone.
func networkTo(to *[]netip.Prefix) func(string) error {
	return func(s string) error {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Zone() != "" {
				return fmt.Errorf("%q is not a network; write one like \"192.0.2.0/24\" or \"2001:db8::/32\"", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if err := checkNetwork(p); err != nil {
			return err
		}
		*to = append(*to, p)
		return nil
	}
}

func checkNetwork(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("a network is not valid; write one like \"192.0.2.0/24\"")
	case p.Addr().Is4In6():
		return fmt.Errorf("%s is an IPv4 network in the form of IPv6; write it as IPv4", p)
	case p != p.Masked():
		return fmt.Errorf("%s has bits behind its length; write %s", p, p.Masked())
	}
	return nil
}

func checkVia(v Via) error { return checkWord(string(v), string(ViaPacket), string(ViaDirect)) }

// stream checks what belongs to streams, of either role.
func (v *validator) stream(c *Config) {
	s := &c.Stream
	if c.Role == RoleGateway {
		v.check("stream.mode", checkCarryMode(s.Mode))
		v.proxies(c)
		for i, b := range c.Bypass {
			v.bypass(fmt.Sprintf("bypass[%d]", i), b)
		}
		return
	}
	v.networks("stream.allow", s.Allow)
	v.networks("stream.deny", s.Deny)
	for i, g := range c.Gateways {
		at := fmt.Sprintf("gateway[%d].", i)
		v.networks(at+"allow", g.Allow)
		v.limits(at, g.MaxStreams, g.MaxRate, g.MaxMemory)
	}
	v.limits("stream.", s.MaxStreams, s.MaxRate, s.MaxMemory)
	for i, a := range s.Announce {
		field := fmt.Sprintf("stream.announce[%d]", i)
		if err := checkAnnounce(a); err != nil {
			v.problem(field, "%s: %v: %v", field, a, err)
		} else if slices.Contains(s.Announce[:i], a) {
			v.problem(field, "%s: %v is listed twice; remove one", field, a)
		} else if i >= maxAnnounce {
			v.problem(field, "%s: more than %d addresses; the kernel announces no more", field, maxAnnounce)
		}
	}
}

func (v *validator) limits(at string, streams, rate, memory int) {
	v.limit(at+"max_streams", streams, 1, maxMaxStreams)
	v.limit(at+"max_rate", rate, 1, maxMaxRate)
	v.limit(at+"max_memory", memory, minMaxMemory, maxMaxMemory)
}

func (v *validator) networks(field string, list []netip.Prefix) {
	for i, p := range list {
		if err := checkNetwork(p); err != nil {
			v.problem(fmt.Sprintf("%s[%d]", field, i), "%s: %v", field, err)
		}
	}
}

func (v *validator) limit(field string, n, least, most int) {
	if n != 0 && (n < least || n > most) {
		v.problem(field, "%s: %d is out of range; it must lie between %d and %d, or be left out", field, n, least, most)
	}
}

// proxies checks the addresses of the proxies, which are all different.
func (v *validator) proxies(c *Config) {
	type place struct {
		at    netip.AddrPort
		field string
	}
	var seen []place
	check := func(field string, list []netip.AddrPort) {
		for i, a := range list {
			at := fmt.Sprintf("%s[%d]", field, i)
			if !a.IsValid() || a.Port() == 0 || a.Addr().IsMulticast() {
				v.problem(at, "%s: %s is not an address to listen on; write \"127.0.0.1:1080\"", field, a)
				continue
			}
			for _, o := range seen {
				if a.Port() == o.at.Port() && (a == o.at || covers(a.Addr(), o.at.Addr()) || covers(o.at.Addr(), a.Addr())) {
					v.problem(at, "%s: %s overlaps %s in %s; give each its own port", field, a, o.at, o.field)
					break
				}
			}
			seen = append(seen, place{a, field})
		}
	}
	check("stream.socks", c.Stream.SOCKS)
	check("stream.http", c.Stream.HTTP)
	all := c.Exits()
	for i, x := range all {
		check(exitField(all, i)+".socks", x.SOCKS)
		check(exitField(all, i)+".http", x.HTTP)
	}
}

func (v *validator) bypass(field string, b Bypass) {
	if len(b.Prefixes) == 0 && len(b.Ports) == 0 {
		v.problem(field, "%s has neither cidr nor port and would apply to everything; write one, or stream.intercept = false", field)
	}
	v.networks(field+".cidr", b.Prefixes)
	for i, r := range b.Ports {
		if r.First == 0 || r.Last < r.First {
			v.problem(fmt.Sprintf("%s.port[%d]", field, i), "%s.port: %s is not a range of ports from 1 to 65535", field, r)
		}
	}
	v.check(field+".via", checkVia(b.Via))
}
