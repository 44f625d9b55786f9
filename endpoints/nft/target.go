package nft

import (
	"fmt"
	"net/netip"
)

// toThis matches packets for an address of this machine.
type toThis struct{}

func (toThis) text() string { return "fib daddr type local" }

// family matches IPv4, or IPv6.
type family struct{ v6 bool }

func (f family) text() string {
	if f.v6 {
		return "meta nfproto ipv6"
	}
	return "meta nfproto ipv4"
}

// toPorts matches the port a packet is for.
type toPorts struct {
	tcp         bool
	first, last uint16
}

func (p toPorts) text() string {
	proto := "udp"
	if p.tcp {
		proto = "tcp"
	}
	if p.first == p.last {
		return fmt.Sprintf("%s dport %d", proto, p.first)
	}
	return fmt.Sprintf("%s dport %d-%d", proto, p.first, p.last)
}

// newTarget gives a flow another destination.
type newTarget struct {
	to   netip.Addr
	port uint16 // 0: stays
}

func (t newTarget) text() string {
	kind := "dnat ip to "
	if t.to.Is6() {
		kind = "dnat ip6 to "
	}
	if t.port == 0 {
		return kind + t.to.String()
	}
	return kind + netip.AddrPortFrom(t.to, t.port).String()
}

// redirect gives a flow to a port of this machine, at the address of the interface it came in by.
type redirect uint16

func (r redirect) text() string { return fmt.Sprintf("redirect to :%d", uint16(r)) }

// dnsPort is where DNS is asked for.
const dnsPort = 53

// prerouting leads flows elsewhere; it has no rules where nothing is forwarded.
func (c Config) prerouting() chain {
	ch := chain{name: "prerouting", kind: "nat", hook: "prerouting", priority: "dstnat"}
	for _, name := range c.DNSFrom {
		if c.DNS == 0 {
			break
		}
		for _, tcp := range []bool{false, true} {
			ch.rules = append(ch.rules, []clause{device{name: name}, toPorts{tcp, dnsPort, dnsPort}, redirect(c.DNS)})
		}
	}
	for _, f := range c.Forwards {
		for _, name := range c.tuns() {
			ch.rules = append(ch.rules, []clause{device{name: name, not: c.Role == Exit}, family{f.To.Is6()}, toThis{},
				toPorts{f.TCP, f.First, f.Last}, newTarget{f.To, f.Port}})
		}
	}
	return ch
}
