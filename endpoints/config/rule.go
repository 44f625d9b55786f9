package config

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DefaultExit as the exit of a rule is the one that everything leaves by.
const DefaultExit = "default"

// Rule sends what it applies to by an exit: flows for which every field that is given applies. In a list the first rule that applies counts.
type Rule struct {
	Source, Destination []netip.Prefix
	MAC                 []MAC // of the device it comes from
	Protocol            string
	Ports               []PortRange // the flow is for
	Mark                Mark
	Exit                string // name of an exit, or DefaultExit
	Fallback            Fallback
}

// MAC is the address of a network card on an Ethernet.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Mark is a firewall mark under a mask; Mask 0: any mark.
type Mark struct{ Value, Mask uint32 }

func (m Mark) String() string {
	switch m.Mask {
	case 0:
		return ""
	case ^uint32(0):
		return fmt.Sprintf("%#x", m.Value)
	}
	return fmt.Sprintf("%#x/%#x", m.Value, m.Mask)
}

// Fallback is what becomes of traffic whose exit is out of reach.
type Fallback string

// The fallbacks.
const (
	FallbackDefault Fallback = "default" // it leaves as if there were no rule
	FallbackNone    Fallback = "none"    // it is refused
)

// Bounds of the rules, which the kernel looks at one after the other for each new flow.
const (
	maxRules      = 256
	maxRuleValues = 64
)

// Bounds of the exits' own devices.
const (
	maxExitTUN  = maxInterfaceName - 3 // they are called after the TUN device, with "-" and a number of two digits
	maxExitTUNs = 99
)

// ownMarks is what bondd's own marks have in their upper half.
var ownMarks = []uint32{0xb0dd, 0xb0de, 0xb0df}

func readRule(t *table) Rule {
	r := Rule{Fallback: FallbackDefault}
	t.texts("source", `"192.168.1.10"`, networkTo(&r.Source))
	t.texts("mac", `"00:11:22:33:44:55"`, func(s string) error {
		hw, err := net.ParseMAC(s)
		if err != nil || len(hw) != len(MAC{}) {
			return fmt.Errorf("%q is not the address of a network card; write one like \"00:11:22:33:44:55\"", s)
		}
		r.MAC = append(r.MAC, MAC(hw))
		return nil
	})
	t.texts("destination", `"192.0.2.0/24"`, networkTo(&r.Destination))
	t.text("protocol", `"udp"`, func(s string) error {
		r.Protocol = s
		return checkWord(s, "tcp", "udp")
	})
	t.numbersAsText("port")
	t.texts("port", `"443" or "6000-6100"`, func(s string) error {
		p, err := ParsePorts(s)
		if err == nil {
			r.Ports = append(r.Ports, p)
		}
		return err
	})
	t.numbersAsText("mark")
	t.text("mark", `"0x10" or "0x10/0xff"`, func(s string) (err error) {
		r.Mark, err = parseMark(s)
		return err
	})
	t.text("exit", `"us" or "default"`, nonEmpty(&r.Exit))
	t.text("fallback", `"none"`, func(s string) error {
		r.Fallback = Fallback(s)
		return checkFallback(r.Fallback)
	})
	return r
}

func checkFallback(f Fallback) error {
	return checkWord(string(f), string(FallbackDefault), string(FallbackNone))
}

func parseMark(s string) (Mark, error) {
	value, mask, masked := strings.Cut(s, "/")
	m := Mark{Mask: ^uint32(0)}
	v, err := strconv.ParseUint(value, 0, 32)
	if err == nil && masked {
		var k uint64
		k, err = strconv.ParseUint(mask, 0, 32)
		m.Mask = uint32(k)
	}
	m.Value = uint32(v)
	if err != nil {
		return Mark{}, fmt.Errorf("%q is not a mark; write a number like \"16\" or \"0x10\", or one with a mask, \"0x10/0xff\"", s)
	}
	return m, checkMark(m)
}

func checkMark(m Mark) error {
	switch {
	case m.Mask == 0:
		return fmt.Errorf("a mask of 0 applies to every mark; leave the field out, or write the bits that count")
	case m.Value&^m.Mask != 0:
		return fmt.Errorf("%s has bits outside of its mask and would never apply; remove them", m)
	case m.Mask>>16 == 0xffff && slices.Contains(ownMarks, m.Value>>16):
		return fmt.Errorf("%s is one of bondd's own marks (0xb0dd.... to 0xb0df....); use another", m)
	}
	return nil
}

// Title says for people what the rule applies to.
func (r Rule) Title() string {
	var s []string
	if len(r.Source) > 0 {
		s = append(s, "from "+list(r.Source))
	}
	if len(r.MAC) > 0 {
		s = append(s, "from "+list(r.MAC))
	}
	if len(r.Destination) > 0 {
		s = append(s, "to "+list(r.Destination))
	}
	if r.Protocol != "" {
		s = append(s, strings.ToUpper(r.Protocol))
	}
	if len(r.Ports) > 0 {
		s = append(s, "port "+list(r.Ports))
	}
	if r.Mark.Mask != 0 {
		s = append(s, "mark "+r.Mark.String())
	}
	return strings.Join(s, ", ")
}

// Way says for people where the rule leads.
func (r Rule) Way() string {
	switch {
	case r.Exit == DefaultExit:
		return "by the default exit"
	case r.Fallback == FallbackNone:
		return "by " + r.Exit + ", or refused"
	}
	return "by " + r.Exit + ", or by the default exit"
}

// String is the rule in a line.
func (r Rule) String() string { return r.Title() + ": " + r.Way() }

// Ruled are the numbers of the exits that a rule names, from 0, in the order of Exits.
func (c *Config) Ruled() []int {
	var out []int
	for i, x := range c.Exits() {
		if slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Exit == x.Name && r.Exit != "" }) {
			out = append(out, i)
		}
	}
	return out
}

// OwnTUN are the numbers, from 0, of the exits that have a TUN device of their own: those that rules name, and, of several, those
// that serve SOCKS, whose clients may send datagrams.
func (c *Config) OwnTUN() []int {
	out, all := c.Ruled(), c.Exits()
	for i, x := range all {
		if len(all) > 1 && len(x.SOCKS) > 0 && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// rules checks the rules of a gateway.
func (v *validator) rules(c *Config) {
	all := c.Exits()
	if len(c.Rules) > maxRules {
		v.problem("rule", "rule: there are %d rules; at most %d are possible, and one may list several networks and ports", len(c.Rules), maxRules)
	}
	own := c.OwnTUN()
	if len(own) > 0 && len(c.TUN.Name) > maxExitTUN {
		v.problem("tun.name", "tun.name: %q is too long where exits have rules or socks: their own devices are called after it; use at most %d bytes", c.TUN.Name, maxExitTUN)
	}
	for i, x := range all {
		if x.Name == DefaultExit && len(all) > 1 {
			v.problem(exitField(all, i)+".name", "%s.name: %q means the exit in use in a rule; choose another name", exitField(all, i), x.Name)
		}
	}
	if len(own) > 0 && own[len(own)-1] >= maxExitTUNs {
		v.problem("rule", "rule: only the first %d exits of the file can have rules or socks; put those that have some first", maxExitTUNs)
	}
	for i, r := range c.Rules {
		v.rule(fmt.Sprintf("rule[%d]", i), r, all)
	}
}

func (v *validator) rule(at string, r Rule, exits []Exit) {
	if len(r.Source)+len(r.MAC)+len(r.Destination)+len(r.Ports) == 0 && r.Protocol == "" && r.Mark.Mask == 0 {
		v.problem(at, "%s has none of source, mac, destination, protocol, port and mark and would apply to everything; write one, or put its exit first", at)
	}
	v.networks(at+".source", r.Source)
	v.networks(at+".destination", r.Destination)
	for _, f := range []struct {
		name string
		n    int
	}{{"source", len(r.Source)}, {"mac", len(r.MAC)}, {"destination", len(r.Destination)}, {"port", len(r.Ports)}} {
		if f.n > maxRuleValues {
			v.problem(at+"."+f.name, "%s.%s: the list has %d entries; at most %d are possible: write larger networks, or another rule", at, f.name, f.n, maxRuleValues)
		}
	}
	is4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	is6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
	if s, d := r.Source, r.Destination; len(s) > 0 && len(d) > 0 &&
		!(slices.ContainsFunc(s, is4) && slices.ContainsFunc(d, is4) || slices.ContainsFunc(s, is6) && slices.ContainsFunc(d, is6)) {
		v.problem(at+".destination", "%s.destination: source and destination are of different families and nothing is both; write networks of one family", at)
	}
	for i, m := range r.MAC {
		if slices.Contains(r.MAC[:i], m) || bytes.Equal(m[:], make([]byte, len(m))) || m[0]&1 != 0 {
			v.problem(fmt.Sprintf("%s.mac[%d]", at, i), "%s.mac: %s is listed twice, or no device's own address; remove it", at, m)
		}
	}
	for i, p := range r.Ports {
		if p.First == 0 || p.Last < p.First {
			v.problem(fmt.Sprintf("%s.port[%d]", at, i), "%s.port: %s is not a range of ports from 1 to 65535", at, p)
		}
	}
	if r.Mark.Mask != 0 {
		v.check(at+".mark", checkMark(r.Mark))
	}
	if r.Protocol != "" {
		v.check(at+".protocol", checkWord(r.Protocol, "tcp", "udp"))
	}
	v.check(at+".fallback", checkFallback(r.Fallback))
	names := []string{DefaultExit}
	for _, x := range exits {
		if x.Name != "" {
			names = append(names, x.Name)
		}
	}
	switch {
	case r.Exit == "":
		v.problem(at+".exit", "%s.exit is missing; write the name of an exit, or %q", at, DefaultExit)
	case len(exits) == 1:
		v.problem(at+".exit", "%s.exit: there is one exit, and everything leaves by it; add another [[exit]], or remove the rule", at)
	case !slices.Contains(names, r.Exit):
		v.problem(at+".exit", "%s.exit: no exit is called %q; the names are %s", at, r.Exit, strings.Join(names, ", "))
	}
}
