package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// Forward leads ports from the exit to a host of the LAN. The exit says which of its ports go to a gateway, the gateway where they lead: what it does
// not list ends there.
type Forward struct {
	UDP bool // else TCP
	// AsStream: connections are carried as streams, and the host sees the gateway's address instead of the client's. Both ends have to say so: a
	// host that trusts its LAN would take strangers for neighbours.
	AsStream bool
	Ports    []PortRange
	To       netip.Addr // role gateway: the host of the LAN
	Port     uint16     // role gateway: its port; 0: the same
}

// readForward reads an entry of either role.
func readForward(t *table, role Role) Forward {
	var f Forward
	t.text("protocol", `"udp"`, func(s string) error {
		f.UDP = s == "udp"
		return checkWord(s, "tcp", "udp")
	})
	t.numbersAsText("port")
	t.texts("port", `"443" or "6000-6100"`, func(s string) error {
		r, err := ParsePorts(s)
		if err == nil {
			f.Ports = append(f.Ports, r)
		}
		return err
	})
	keep := true
	t.flag("keep_source", &keep)
	f.AsStream = !keep
	if role == RoleExit {
		return f
	}
	t.text("to", `"192.168.1.10" or "192.168.1.10:8443"`, func(s string) error {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			f.To = a.Unmap()
			return nil
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Addr().Zone() != "" || a.Port() == 0 {
			return fmt.Errorf("%q is not a host of the LAN; write \"192.168.1.10\" or \"192.168.1.10:8443\"", s)
		}
		f.To, f.Port = a.Addr().Unmap(), a.Port()
		return nil
	})
	return f
}

// describe says what the entry does.
func (f Forward) describe() string {
	s := "TCP"
	if f.UDP {
		s = "UDP"
	}
	s += " port " + list(f.Ports)
	if f.AsStream {
		s += " as streams, without the client's address,"
	}
	return s
}

func (f Forward) target() string {
	if f.Port == 0 {
		return f.To.String()
	}
	return netip.AddrPortFrom(f.To, f.Port).String()
}

// maxStreamPorts bounds an entry whose connections go as streams: each of its ports is a listener of the exit.
const maxStreamPorts = 256

// count is how many ports there are.
func (f Forward) count() (n int) {
	for _, r := range f.Ports {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Has tells whether a port is among those of the entry.
func (f Forward) Has(port uint16) bool {
	return slices.ContainsFunc(f.Ports, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

// portUse is a range of ports that is taken.
type portUse struct {
	udp   bool
	r     PortRange
	field string
}

// forwards checks a list against itself and against what was taken before; it returns what is taken then.
func (v *validator) forwards(field string, list []Forward, role Role, taken []portUse) []portUse {
	for i, f := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if len(f.Ports) == 0 {
			v.problem(at+".port", "%s.port is missing; write the ports that are forwarded", at)
		}
		for _, r := range f.Ports {
			if r.First == 0 || r.Last < r.First {
				v.problem(at+".port", "%s.port: %s is not a range of ports from 1 to 65535", at, r)
			}
			for _, o := range taken {
				if o.udp == f.UDP && r.First <= o.r.Last && o.r.First <= r.Last {
					v.problem(at+".port", "%s.port: %s is taken by %s already", at, r, o.field)
					break
				}
			}
			taken = append(taken, portUse{f.UDP, r, at})
			if f.Port != 0 && (r.First != r.Last || len(f.Ports) > 1) {
				v.problem(at+".to", "%s.to: several ports cannot lead to one; leave the port of %s out", at, f.target())
			}
		}
		if f.AsStream && f.UDP {
			v.problem(at+".keep_source", "%s.keep_source: UDP always keeps the address of the client; leave it out", at)
		}
		if n := f.count(); f.AsStream && n > maxStreamPorts {
			v.problem(at+".port", "%s.port: %d ports; at most %d are carried as streams", at, n, maxStreamPorts)
		}
		if role == RoleGateway && (!f.To.IsValid() || f.To.IsUnspecified() || f.To.IsMulticast() || f.To.IsLoopback()) {
			v.problem(at+".to", "%s.to is missing, or no host of the LAN; write its address, like \"192.168.1.10\"", at)
		}
	}
	return taken
}

// exitForwards checks the forwards of all gateways, which share the ports of the exit, with its own.
func (v *validator) exitForwards(c *Config) {
	var taken []portUse
	for _, a := range c.Listen {
		for _, udp := range []bool{false, true} {
			taken = append(taken, portUse{udp, PortRange{a.Port(), a.Port()}, "listen"})
		}
	}
	for i, g := range c.Gateways {
		taken = v.forwards(fmt.Sprintf("gateway[%d].forward", i), g.Forwards, RoleExit, taken)
	}
}
