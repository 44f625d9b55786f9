package nft

import (
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// MarkExit with the number of an exit in its low bits is the mark of packets, and of connections, that a rule sends by that exit; 0 is the exit
// that everything else leaves by. Connections keep it: a flow stays where it began.
const (
	MarkExit     uint32 = 0xb0df0000
	MarkExitMask uint32 = 0xffff0000
)

// Choice sends flows by an exit for which everything holds that is given. The first one of a list that applies counts.
type Choice struct {
	Sources, Destinations []netip.Prefix
	MACs                  [][6]byte
	TCP, UDP              bool // none: any protocol, or with Ports both
	Ports                 []Ports
	Mark, Mask            uint32 // Mask 0: any
	Exit                  uint16 // number; 0: the one that everything else leaves by
}

// Ports is First..Last, both included.
type Ports struct{ First, Last uint16 }

// ExitTUN is the device of an exit that has one for itself.
type ExitTUN struct {
	Number uint16
	TUN    string
}

func (c Choice) check() error {
	for _, p := range slices.Concat(c.Sources, c.Destinations) {
		if !p.IsValid() {
			return fmt.Errorf("nftables: a network of a rule is not valid")
		}
	}
	for _, p := range c.Ports {
		if p.First == 0 || p.Last < p.First {
			return fmt.Errorf("nftables: %d-%d is not a range of ports", p.First, p.Last)
		}
	}
	return nil
}

// choices are the chains that choose an exit for each new flow; none where nothing is to be chosen.
func (c Config) choices() []chain {
	if len(c.Choices)+len(c.Exits) == 0 {
		return nil
	}
	choose, more := chain{name: "choose"}, []chain(nil)
	for i, ch := range c.Choices {
		rules, further := ch.rules(fmt.Sprintf("rule%d", i+1))
		choose.rules = append(choose.rules, rules...)
		more = append(more, further...)
	}
	choose.rules = append(choose.rules, []clause{connMarked{0, ^uint32(0)}, setConnMark(MarkExit)})
	// Just before the interception (mangle), which has to see the mark.
	pre := chain{name: "exits", kind: "filter", hook: "prerouting", priority: "mangle - 5"}
	out := chain{name: "exits_own", kind: "route", hook: "output", priority: "mangle - 5"}
	pre.rules = append(pre.rules, []clause{device{name: "lo"}, accept{}})
	for _, e := range c.Exits { // answers go where the question came from
		pre.rules = append(pre.rules, []clause{device{name: e.TUN}, isNew{}, setConnMark(MarkExit | uint32(e.Number))}, []clause{device{name: e.TUN}, accept{}})
	}
	pre.rules = append(pre.rules, []clause{device{name: c.TUN}, accept{}})
	out.rules = append(out.rules, []clause{device{out: true, not: true, name: c.TUN}, accept{}})
	for _, b := range []*chain{&pre, &out} {
		b.rules = append(b.rules,
			[]clause{connMarked{MarkExit, ^uint32(0)}, accept{}},
			[]clause{connMarked{MarkExit, MarkExitMask}, restoreMark{}, accept{}},
			[]clause{isNew{not: true}, accept{}})
	}
	pre.rules = append(pre.rules, []clause{toThis{}, accept{}})
	for _, b := range []*chain{&pre, &out} {
		b.rules = append(b.rules, []clause{jump("choose")})
	}
	return append(more, choose, pre, out) // a chain stands before those that lead to it
}

// rules are those of one choice. What is alone of its kind stands in the same rule as the rest; where there are several of a kind, each leads on
// to a chain for the rest.
func (c Choice) rules(name string) (rules [][]clause, more []chain) {
	var kinds [][]clause
	if c.Mask != 0 {
		kinds = append(kinds, []clause{marked{c.Mark, c.Mask}})
	}
	kinds = append(kinds, clauses(c.Sources, func(p netip.Prefix) clause { return source(p) }))
	kinds = append(kinds, clauses(c.MACs, func(m [6]byte) clause { return fromMAC(m) }))
	kinds = append(kinds, clauses(c.Destinations, func(p netip.Prefix) clause { return destination(p) }))
	var services []clause
	either := !c.TCP && !c.UDP && len(c.Ports) > 0
	for _, tcp := range []bool{true, false} {
		switch {
		case !either && (tcp && !c.TCP || !tcp && !c.UDP):
		case len(c.Ports) == 0:
			services = append(services, protocol{tcp})
		default:
			services = append(services, clauses(c.Ports, func(p Ports) clause { return toPorts{tcp, p.First, p.Last} })...)
		}
	}
	kinds = append(kinds, services)
	mark := MarkExit | uint32(c.Exit)
	end := []clause{setConnMark(mark)}
	if c.Exit != 0 {
		end = append(end, setMark(mark))
	}
	return fork(name, 1, kinds, append(end, accept{}))
}

func clauses[T any](list []T, of func(T) clause) []clause {
	var out []clause
	for _, v := range list {
		out = append(out, of(v))
	}
	return out
}

// fork makes the rules that do end when one of each kind applies, and the chains they need; n numbers the next one.
func fork(name string, n int, kinds [][]clause, end []clause) (rules [][]clause, more []chain) {
	var prefix []clause
	for i, k := range kinds {
		if len(k) == 1 {
			prefix = append(prefix, k[0])
		}
		if len(k) < 2 {
			continue
		}
		then := end
		if rest := kinds[i+1:]; slices.ContainsFunc(rest, func(k []clause) bool { return len(k) > 0 }) {
			next := chain{name: fmt.Sprintf("%s_%d", name, n)}
			next.rules, more = fork(name, n+1, rest, end)
			more, then = append(more, next), []clause{jump(next.name)}
		}
		for _, alternative := range k {
			rules = append(rules, slices.Concat(prefix, []clause{alternative}, then))
		}
		return rules, more
	}
	return [][]clause{append(prefix, end...)}, nil
}

// The clauses of choices.

type (
	fromMAC     [6]byte
	destination netip.Prefix
	protocol    struct{ tcp bool }
	marked      struct{ value, mask uint32 }
	connMarked  struct{ value, mask uint32 }
	setMark     uint32
	setConnMark uint32
	restoreMark struct{}
	isNew       struct{ not bool }
	accept      struct{}
	jump        string
)

func (m fromMAC) text() string { return "ether saddr " + net.HardwareAddr(m[:]).String() }

func (d destination) text() string {
	return strings.Replace(source(d).text(), "saddr", "daddr", 1)
}

func (p protocol) text() string {
	if p.tcp {
		return "meta l4proto tcp"
	}
	return "meta l4proto udp"
}

func (m marked) text() string {
	if m.mask == ^uint32(0) {
		return fmt.Sprintf("meta mark %#08x", m.value)
	}
	return fmt.Sprintf("meta mark & %#08x == %#08x", m.mask, m.value)
}

// text knows masks of leading bits only, which nft prints as a length.
func (m connMarked) text() string {
	if n := bits.OnesCount32(m.mask); n < 32 {
		return fmt.Sprintf("ct mark %#08x/%d", m.value, n)
	}
	return fmt.Sprintf("ct mark %#08x", m.value)
}

func (m setMark) text() string     { return fmt.Sprintf("meta mark set %#08x", uint32(m)) }
func (m setConnMark) text() string { return fmt.Sprintf("ct mark set %#08x", uint32(m)) }
func (restoreMark) text() string   { return "meta mark set ct mark" }
func (accept) text() string        { return "accept" }
func (j jump) text() string        { return "jump " + string(j) }

func (n isNew) text() string {
	if n.not {
		return "ct state ! new"
	}
	return "ct state new"
}
