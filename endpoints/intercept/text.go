package intercept

import (
	"fmt"
	"strings"
)

// rule is one routing rule.
type rule struct {
	v6       bool
	priority int
	mark     uint32
	mask     uint32 // 0: all of the mark
	local    bool   // only for what starts on this machine, or a check of a source
	table    int
}

const tableMain = 254 // RT_TABLE_MAIN

// routing lists the rules; IPv6 knows no check of sources.
func (c Config) routing(v6 bool) []rule {
	var out []rule
	if !v6 {
		out = append(out, rule{priority: priorityCheck, mark: MarkLAN, local: true, table: tableMain})
	}
	out = append(out, rule{v6: v6, priority: priorityLAN, mark: MarkLAN, table: RouteTable})
	if c.Own {
		out = append(out, rule{v6: v6, priority: priorityOwn, mark: MarkOwn, mask: markOwnMask, table: RouteTable})
	}
	if c.direct() {
		out = append(out, rule{v6: v6, priority: priorityDirect, mark: MarkDirect, table: tableMain})
	}
	return out
}

func ip(v6 bool) string {
	if v6 {
		return "ip -6"
	}
	return "ip"
}

// text is the command, as a person would type it.
func (r rule) text() string {
	iif, table := "", fmt.Sprint(r.table)
	if r.local {
		iif = " iif lo"
	}
	if r.table == tableMain {
		table = "main"
	}
	mark := fmt.Sprintf("%#08x", r.mark)
	if r.mask != 0 {
		mark += fmt.Sprintf("/%#08x", r.mask)
	}
	return fmt.Sprintf("%s rule add pref %d fwmark %s%s lookup %s protocol %d", ip(r.v6), r.priority, mark, iif, table, Protocol)
}

func routeText(v6 bool) string {
	return fmt.Sprintf("%s route add local default dev lo table %d proto %d", ip(v6), RouteTable, Protocol)
}

// Text is what Open puts in place: the table, as `nft -f` takes it, and the
// routing rules and routes as comments with the commands that make them. A
// configuration that Check refuses gives its error as a comment.
func Text(c Config) string {
	if err := c.Check(); err != nil {
		return fmt.Sprintf("# %v\n", err)
	}
	var b strings.Builder
	r := c.rules()
	fmt.Fprintf(&b, "table inet %s {\n", Table)
	for _, s := range r.sets {
		b.WriteString(s.text())
		b.WriteByte('\n')
	}
	for i, ch := range r.chains {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\tchain %s {\n", ch.name)
		if ch.hook != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", ch.kind, ch.hook, ch.priority)
		}
		for _, rule := range ch.rules {
			b.WriteString("\t\t")
			for j, cl := range rule {
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
	for _, v6 := range []bool{false, true} {
		fmt.Fprintf(&b, "# %s\n", routeText(v6))
		for _, r := range c.routing(v6) {
			fmt.Fprintf(&b, "# %s\n", r.text())
		}
	}
	return b.String()
}
