package intercept

import "fmt"

// clause is one match or statement of a rule. Its text and its kernel
// expressions (exprs) are made from the same value, so they cannot drift apart.
type clause interface{ text() string }

// device matches the interface a packet comes in or goes out by.
type device struct {
	out  bool // else in
	not  bool
	name string
}

func (d device) text() string {
	s := "iifname"
	if d.out {
		s = "oifname"
	}
	if d.not {
		s += " !="
	}
	return fmt.Sprintf("%s %q", s, d.name)
}

// notUnicast matches destinations that are this machine's own, or no single machine's.
type notUnicast struct{}

func (notUnicast) text() string { return "fib daddr type { local, broadcast, anycast, multicast }" }

// routedElsewhere matches what the kernel, asked now, would not send out of the device.
type routedElsewhere string

func (r routedElsewhere) text() string {
	return fmt.Sprintf("fib daddr . mark oifname != %q", string(r))
}

// isFamily matches IPv4, or IPv6.
type isFamily struct{ v6 bool }

func (f isFamily) text() string {
	if f.v6 {
		return "meta nfproto ipv6"
	}
	return "meta nfproto ipv4"
}

// marked matches the packet's mark under a mask; mask 0 means all bits.
type marked struct{ value, mask uint32 }

func (m marked) text() string {
	if m.mask == 0 {
		return fmt.Sprintf("meta mark %#08x", m.value)
	}
	return fmt.Sprintf("meta mark & %#08x == %#08x", m.mask, m.value)
}

// connMarked matches the mark of the connection.
type connMarked uint32

func (m connMarked) text() string { return fmt.Sprintf("ct mark %#08x", uint32(m)) }

// notTCP matches every other protocol.
type notTCP struct{}

func (notTCP) text() string { return "meta l4proto != tcp" }

// syn matches the first packet of a TCP connection, or with not all others:
// SYN alone of the four flags, whatever ECN has set beside (RFC 3168 6.1.1).
type syn struct{ not bool }

func (s syn) text() string {
	if s.not {
		return "tcp flags != syn / fin,syn,rst,ack"
	}
	return "tcp flags syn / fin,syn,rst,ack"
}

// ourSocket matches packets that belong to a transparent socket of this machine.
type ourSocket struct{}

func (ourSocket) text() string { return "socket transparent 1" }

// otherFamily matches a family that is not in the set of those taken.
type otherFamily struct{ in *set }

func (f otherFamily) text() string { return "meta nfproto != @" + f.in.name }

// to matches a destination address in the set.
type to struct{ in *set }

func (t to) text() string { return t.in.family() + " daddr @" + t.in.name }

// toPort matches TCP and UDP to a port in the set.
type toPort struct{ in *set }

func (t toPort) text() string { return "meta l4proto { tcp, udp } th dport @" + t.in.name }

// toBoth matches TCP to an address and port that are in the set together.
type toBoth struct{ in *set }

func (t toBoth) text() string { return t.in.family() + " daddr . tcp dport @" + t.in.name }

// setMark and setConnMark put a mark on the packet or the connection.
type (
	setMark     uint32
	setConnMark uint32
)

func (m setMark) text() string     { return fmt.Sprintf("meta mark set %#08x", uint32(m)) }
func (m setConnMark) text() string { return fmt.Sprintf("ct mark set %#08x", uint32(m)) }

// accept ends the chain; jump goes on after the other chain.
type (
	accept struct{}
	jump   string
)

func (accept) text() string { return "accept" }
func (j jump) text() string { return "jump " + string(j) }

// reset answers a TCP packet with RST.
type reset struct{}

func (reset) text() string { return "reject with tcp reset" }

// unreachable answers that the destination machine cannot be reached.
type unreachable struct{ v6 bool }

func (u unreachable) text() string {
	if u.v6 {
		return "reject with icmpv6 type addr-unreachable"
	}
	return "reject with icmp type host-unreachable"
}

// divert gives the packet to the listener of that family; without one the rule ends here.
type divert struct {
	v6   bool
	port uint16
}

func (d divert) text() string {
	if d.v6 {
		return fmt.Sprintf("meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:%d", d.port)
	}
	return fmt.Sprintf("meta nfproto ipv4 meta l4proto tcp tproxy ip to 127.0.0.1:%d", d.port)
}

// masquerade gives the packet the address of the interface it leaves by.
type masquerade struct{}

func (masquerade) text() string { return "masquerade" }
