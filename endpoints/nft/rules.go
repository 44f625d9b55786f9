package nft

import (
	"fmt"
	"net/netip"
	"strings"
)

// clause is one statement or match of a rule. Its text and its kernel
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

// source matches the network a packet comes from.
type source netip.Prefix

func (s source) text() string {
	p := netip.Prefix(s).Masked()
	family := "ip"
	if p.Addr().Is6() {
		family = "ip6"
	}
	if p.IsSingleIP() {
		return family + " saddr " + p.Addr().String()
	}
	return family + " saddr " + p.String()
}

// clampMSS lowers the segment size that a TCP handshake offers to what fits
// the narrower of the two routes (the kernel never raises it).
type clampMSS struct{}

func (clampMSS) text() string {
	return "tcp flags syn / syn,rst tcp option maxseg size set rt mtu"
}

// masquerade gives the packet the address of the interface it leaves by.
type masquerade struct{}

func (masquerade) text() string { return "masquerade" }

// chain is one chain with its rules; hook is empty for one that is jumped to.
type chain struct {
	name, kind, hook, priority string
	rules                      [][]clause
}

// chains is the whole content of the table.
func (c Config) chains() []chain {
	forward := chain{name: "forward", kind: "filter", hook: "forward", priority: "mangle"}
	for _, name := range c.tuns() {
		forward.rules = append(forward.rules, []clause{device{name: name}, clampMSS{}}, []clause{device{name: name, out: true}, clampMSS{}})
	}
	post := chain{name: "postrouting", kind: "nat", hook: "postrouting", priority: "srcnat"}
	elsewhere := device{name: c.TUN, out: true, not: true}
	switch {
	case c.Role == Gateway:
		for _, name := range c.tuns() {
			post.rules = append(post.rules, []clause{device{name: name, out: true}, masquerade{}})
		}
	case len(c.Inner) == 0:
		post.rules = [][]clause{{device{name: c.TUN}, elsewhere, masquerade{}}}
	default:
		for _, p := range c.Inner {
			post.rules = append(post.rules, []clause{source(p), elsewhere, masquerade{}})
		}
	}
	list := append(c.choices(), forward)
	if pre := c.prerouting(); len(pre.rules) > 0 {
		list = append(list, pre)
	}
	return append(list, post)
}

// Text is the table as `nft list table inet NAME` prints it; `nft -f` takes it.
func Text(c Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", c.table())
	for i, ch := range c.chains() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\tchain %s {\n", ch.name)
		if ch.hook != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", ch.kind, ch.hook, ch.priority)
		}
		for _, r := range ch.rules {
			b.WriteString("\t\t")
			for j, cl := range r {
				if j > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(cl.text())
			}
			b.WriteByte('\n')
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
