package intercept

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// keys says what is in a set.
type keys uint8

const (
	keyFamily keys = iota // a network family
	keyAddr               // ranges of addresses
	keyPort               // ranges of ports
	keyBoth               // addresses with a port, which expire
)

// set is one named set of the table.
type set struct {
	name  string
	keys  keys
	v6    bool
	ttl   time.Duration // keyBoth
	spans []span        // keyAddr, keyPort
	both  bool          // keyFamily: IPv6 beside IPv4
}

func (s *set) family() string {
	if s.v6 {
		return "ip6"
	}
	return "ip"
}

func (s *set) text() string {
	addr := "ipv4_addr"
	if s.v6 {
		addr = "ipv6_addr"
	}
	var lines []string
	switch s.keys {
	case keyFamily:
		lines = []string{"type nf_proto", "elements = { ipv4 }"}
		if s.both {
			lines[1] = "elements = { ipv4, ipv6 }"
		}
	case keyBoth:
		lines = []string{"type " + addr + " . inet_service", fmt.Sprintf("size %d", maxNegative), "flags timeout", "timeout " + spoken(s.ttl)}
	case keyAddr, keyPort:
		if s.keys == keyPort {
			addr = "inet_service"
		}
		var elements []string
		for _, sp := range s.spans {
			elements = append(elements, sp.text())
		}
		lines = []string{"type " + addr, "flags interval", "elements = { " + strings.Join(elements, ", ") + " }"}
	}
	return fmt.Sprintf("\tset %s {\n\t\t%s\n\t}\n", s.name, strings.Join(lines, "\n\t\t"))
}

// spoken is a time as nft reads it.
func spoken(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

// chain is one chain with its rules; hook is empty for one that is jumped to.
type chain struct {
	name, kind, hook, priority string
	rules                      [][]clause
}

// ruleset is the whole content of the table.
type ruleset struct {
	sets   []*set
	chains []chain
	// The sets that change at run time.
	families                                       *set
	refused4, refused6, unreachable4, unreachable6 *set
}

// noHosts are link-local destinations, of which a gateway knows nothing (RFC
// 3927 7, RFC 4291 2.5.6).
var noHosts = Bypass{Prefixes: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}}

// rules makes the table of a checked configuration.
func (c Config) rules() *ruleset {
	r := new(ruleset)
	add := func(s set) *set {
		r.sets = append(r.sets, &s)
		return &s
	}
	r.families = add(set{name: "families", keys: keyFamily, both: c.IPv6})
	r.refused4 = add(set{name: "refused_ip", keys: keyBoth, ttl: c.negativeTTL()})
	r.refused6 = add(set{name: "refused_ip6", keys: keyBoth, ttl: c.negativeTTL(), v6: true})
	r.unreachable4 = add(set{name: "unreachable_ip", keys: keyBoth, ttl: c.negativeTTL()})
	r.unreachable6 = add(set{name: "unreachable_ip6", keys: keyBoth, ttl: c.negativeTTL(), v6: true})

	around := bypassRules("nohosts", noHosts, add)
	for i, b := range c.Bypass {
		around = append(around, bypassRules(fmt.Sprintf("bypass%d", i+1), b, add)...)
	}
	first := [][]clause{ // only the first packet of a TCP connection is looked at further
		{notTCP{}, accept{}},
		{syn{not: true}, accept{}},
	}
	last := [][]clause{
		{otherFamily{r.families}, accept{}},
		{jump("refuse")},
	}

	r.chains = append(r.chains,
		chain{name: "refuse", rules: [][]clause{
			{toBoth{r.refused4}, reset{}},
			{toBoth{r.refused6}, reset{}},
			{toBoth{r.unreachable4}, unreachable{}},
			{toBoth{r.unreachable6}, unreachable{v6: true}},
		}},
		c.take(),
		c.lan(first, around, last),
		c.prerouting())
	if c.Own {
		r.chains = append(r.chains, c.output(first, around, last))
	}
	if c.direct() {
		post := chain{name: "postrouting", kind: "nat", hook: "postrouting", priority: "srcnat"}
		rule := []clause{marked{value: MarkDirect}}
		if c.TUN != "" { // without a default route in the main table it goes there after all
			rule = append(rule, device{out: true, not: true, name: c.TUN})
		}
		post.rules = [][]clause{append(rule, masquerade{})}
		r.chains = append(r.chains, post)
	}
	return r
}

// bypassRules are the rules of one entry; add makes the sets they use.
func bypassRules(name string, b Bypass, add func(set) *set) [][]clause {
	var ports []clause
	if s := portSpans(b.Ports); len(s) > 0 {
		ports = []clause{toPort{add(set{name: name + "_port", keys: keyPort, spans: s})}}
	}
	end := []clause{accept{}}
	if b.Service == Direct {
		end = []clause{setMark(MarkDirect), accept{}}
	}
	if len(b.Prefixes) == 0 {
		return [][]clause{append(ports, end...)}
	}
	var out [][]clause
	for _, v6 := range []bool{false, true} {
		spans := prefixSpans(b.Prefixes, v6)
		if len(spans) == 0 {
			continue
		}
		s := set{name: name + "_ip", keys: keyAddr, v6: v6, spans: spans}
		if v6 {
			s.name = name + "_ip6"
		}
		rule := []clause{to{add(s)}}
		rule = append(rule, ports...)
		out = append(out, append(rule, end...))
	}
	return out
}

// take gives a connection to the listener of its exit. One whose exit does not take it goes on as it is.
func (c Config) take() chain {
	ch := chain{name: "take"}
	for _, e := range c.Exits {
		for _, mark := range []uint32{markExit | uint32(e.Number), ownMark(e.Number)} {
			for _, d := range []divert{{port: c.exitPort(e.Number)}, {v6: true, port: c.exitPort(e.Number)}} {
				if d.v6 && e.Takes6 || !d.v6 && e.Takes4 {
					ch.rules = append(ch.rules, []clause{marked{value: mark}, d, setMark(MarkLAN), accept{}})
				}
			}
			ch.rules = append(ch.rules, []clause{marked{value: mark}, accept{}})
		}
	}
	ch.rules = append(ch.rules,
		[]clause{divert{port: c.port()}, setMark(MarkLAN), accept{}},
		[]clause{divert{v6: true, port: c.port()}, setMark(MarkLAN), accept{}})
	return ch
}

// prerouting takes what output has sent here, and finds what comes from the LAN.
func (c Config) prerouting() chain {
	ch := chain{name: "prerouting", kind: "filter", hook: "prerouting", priority: "mangle"}
	add := func(rule ...clause) { ch.rules = append(ch.rules, rule) }
	if c.Own {
		for _, number := range c.numbers() {
			add(device{name: "lo"}, marked{value: ownMark(number)}, syn{}, jump("take"))
		}
	}
	add(device{name: "lo"}, accept{})
	for _, name := range c.tuns() {
		if name != "" {
			add(device{name: name}, accept{})
		}
	}
	add(notUnicast{}, accept{})
	add(syn{not: true}, ourSocket{}, setMark(MarkLAN), accept{})
	add(marked{markOuter, markOuterMask}, accept{})
	for _, name := range c.LAN {
		add(device{name: name}, jump("lan"))
	}
	if len(c.LAN) == 0 {
		add(jump("lan"))
	}
	return ch
}

// lan takes what comes from the LAN.
func (c Config) lan(first, around, last [][]clause) chain {
	ch := chain{name: "lan"}
	var elsewhere [][]clause
	if c.TUN != "" {
		var rule []clause
		for _, name := range c.tuns() {
			rule = append(rule, routedElsewhere(name))
		}
		elsewhere = [][]clause{append(rule, accept{})}
	}
	ch.rules = append(c.arrange(first, elsewhere, around), last...)
	ch.rules = append(ch.rules, []clause{jump("take")})
	return ch
}

// output marks what starts on this machine, which sends it to lo.
func (c Config) output(first, around, last [][]clause) chain {
	ch := chain{name: "output", kind: "route", hook: "output", priority: "mangle"}
	add := func(rule ...clause) { ch.rules = append(ch.rules, rule) }
	if c.TUN != "" {
		add(device{out: true, not: true, name: c.TUN}, accept{})
	} else {
		add(device{out: true, name: "lo"}, accept{})
	}
	add(marked{markOuter, markOuterMask}, accept{})
	add(marked{value: MarkSocket}, accept{})
	add(notUnicast{}, accept{})
	for _, number := range c.numbers() {
		add(connMarked(ownMark(number)), setMark(ownMark(number)), accept{})
	}
	ch.rules = append(ch.rules, c.arrange(first, nil, around)...)
	ch.rules = append(ch.rules, last...)
	for _, e := range c.Exits {
		var v4, v6 []clause
		if !e.Takes4 {
			v4 = []clause{isFamily{}}
		}
		if !e.Takes6 {
			v6 = []clause{isFamily{v6: true}}
		}
		for _, family := range [][]clause{v4, v6} {
			if family != nil {
				add(append([]clause{marked{value: markExit | uint32(e.Number)}}, append(family, accept{})...)...)
			}
		}
		add(marked{value: markExit | uint32(e.Number)}, setConnMark(ownMark(e.Number)), setMark(ownMark(e.Number)), accept{})
	}
	add(setConnMark(MarkOwn), setMark(MarkOwn), accept{})
	return ch
}

// numbers are those of all exits, 0 first.
func (c Config) numbers() []uint8 {
	out := []uint8{0}
	for _, e := range c.Exits {
		out = append(out, e.Number)
	}
	return out
}

// arrange orders the filters: the cheap one first, unless every packet that goes
// out directly has to be found.
func (c Config) arrange(first, elsewhere, around [][]clause) [][]clause {
	if c.direct() {
		return slices.Concat(elsewhere, around, first)
	}
	return slices.Concat(first, elsewhere, around)
}
