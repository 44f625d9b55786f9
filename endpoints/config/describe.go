package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Describe returns what a node with this configuration would do, for people:
// lines of "what: how", defaults included.
func (c *Config) Describe() string {
	var d describer
	d.line("role", "%s", c.Role)
	if !isZero(c.PrivateKey[:]) {
		d.line("public key", "%s", c.PrivateKey.Public())
	}
	if c.PrivateKeyFile != "" {
		d.line("private key", "from %s", c.PrivateKeyFile)
	}
	switch c.Role {
	case RoleGateway:
		d.gateway(c)
	case RoleExit:
		d.exit(c)
	case RoleRelay:
		d.relay(c)
		d.line("control socket", "%s", c.Control)
		d.line("log level", "%s", strings.ToLower(c.LogLevel.String()))
		return d.String()
	}
	mtu := "MTU follows the paths"
	if c.TUN.MTU != 0 {
		mtu = fmt.Sprintf("MTU %d", c.TUN.MTU)
	}
	d.line("TUN device", "%s, %s", c.TUN.Name, mtu)
	d.line("control socket", "%s", c.Control)
	for _, a := range c.Web {
		d.line("web page", "http://%s, metrics at http://%s/metrics", a, a)
	}
	d.line("log level", "%s", strings.ToLower(c.LogLevel.String()))
	return d.String()
}

type describer struct{ strings.Builder }

// line writes one row; a row without a title belongs to the one above.
func (d *describer) line(title, format string, args ...any) {
	fmt.Fprintf(d, "%-15s %s\n", title, fmt.Sprintf(format, args...))
}

func (d *describer) gateway(c *Config) {
	d.exits(c)
	if c.AutoUplinks() {
		d.line("uplinks", "found by themselves: every interface with a default route%s", except(c.LAN.Interfaces))
	}
	title := "uplinks"
	for _, u := range c.Uplinks {
		d.line(title, "%s", u.describe())
		title = ""
	}
	relays := ""
	if slices.ContainsFunc(c.Exits(), func(x Exit) bool { return len(x.Relays) > 0 }) {
		relays = " and to each relay"
	}
	d.line("paths", "one from each uplink to each address of the exit%s", relays)
	d.line("routes", "everything but local networks goes into the bond, of this host and of the hosts it forwards for")
	d.line("", "IP forwarding on; packets from the LAN leave under the inner address; TCP MSS clamped")
	d.streams(c)
}

func (d *describer) streams(c *Config) {
	s := "taken and carried as streams, where the exit does that"
	if c.Stream.InterceptOff {
		s = "not taken: they go as packets"
	}
	d.line("connections", "%s", s)
	for _, b := range c.Bypass {
		d.line("", "  not %s", b.describe())
	}
	title := "rules"
	for _, r := range c.Rules {
		d.line(title, "%s", r)
		title = ""
	}
	for _, a := range c.Stream.SOCKS {
		d.line("SOCKS5", "%s", a)
	}
	for _, a := range c.Stream.HTTP {
		d.line("HTTP CONNECT", "%s", a)
	}
	for _, f := range c.Forwards {
		d.line("forward", "%s of the exit to %s", f.describe(), f.target())
	}
	if len(c.DNS.Listen) > 0 {
		asked := "the exit"
		if len(c.DNS.Servers) > 0 {
			asked = list(c.DNS.Servers) + " through the bond"
		}
		d.line("DNS", "answered at %s, by asking %s", list(c.DNS.Listen), asked)
		if c.DNS.Intercept {
			d.line("", "what the LAN asks others is led there too")
		}
	}
}

func (b Bypass) describe() string {
	s := "to " + list(b.Prefixes)
	if len(b.Prefixes) == 0 {
		s = "to anywhere"
	}
	if len(b.Ports) > 0 {
		s += ", port " + list(b.Ports)
	}
	if b.Via == ViaDirect {
		return s + ": around the bond, with all else that goes there"
	}
	return s + ": as packets"
}

func list[T fmt.Stringer](items []T) string {
	var out []string
	for _, v := range items {
		out = append(out, v.String())
	}
	return strings.Join(out, ", ")
}

func except(interfaces []string) string {
	if len(interfaces) == 0 {
		return ""
	}
	return " but " + strings.Join(interfaces, ", ")
}

func (d *describer) exit(c *Config) {
	title := "listen"
	for _, a := range c.Listen {
		d.line(title, "%s (TCP for the hello, UDP for datagrams)", a)
		title = ""
	}
	title = "own addresses"
	for _, p := range c.Inner.Exit() {
		d.line(title, "%s", p)
		title = ""
	}
	title = "gateways"
	for _, g := range c.Gateways {
		var own []string
		for _, p := range g.Addresses {
			own = append(own, p.String())
		}
		d.line(title, "%s has %s", g.Name, strings.Join(own, " and "))
		d.line("", "  key %s", g.Key)
		if len(g.Allow) > 0 {
			d.line("", "  may reach %s", list(g.Allow))
		}
		if limits := g.limits(); limits != "" {
			d.line("", "  its connections: %s", limits)
		}
		for _, f := range g.Forwards {
			d.line("", "  gets %s", strings.TrimSuffix(f.describe(), ","))
		}
		title = ""
	}
	if !c.DNS.Off {
		d.line("DNS", "answered to gateways at the inner addresses, from the resolvers of this host")
	}
	d.line("routes", "IP forwarding on; packets of the gateways leave under this host's addresses; TCP MSS clamped")
	if c.Stream.Off {
		d.line("streams", "none: connections come as packets")
		return
	}
	d.line("streams", "to the internet; not to this host and to private networks%s", but(c.Stream.Allow))
	if len(c.Stream.Deny) > 0 {
		d.line("", "nor to %s", list(c.Stream.Deny))
	}
}

func but(allowed []netip.Prefix) string {
	if len(allowed) == 0 {
		return ""
	}
	return " but " + list(allowed)
}

// limits are those that this gateway has for itself.
func (g *Gateway) limits() string {
	var out []string
	for _, l := range []struct {
		n    int
		text string
	}{{g.MaxStreams, "at most %d"}, {g.MaxRate, "at most %d new ones per second"}, {g.MaxMemory, "at most %d MB undelivered"}} {
		if l.n != 0 {
			out = append(out, fmt.Sprintf(l.text, l.n))
		}
	}
	return strings.Join(out, ", ")
}
