package uplink

import (
	"fmt"
	"net/netip"
	"strings"
)

const (
	tableMain = 254 // RT_TABLE_MAIN

	keyForward4 = "net/ipv4/ip_forward"
	keyForward6 = "net/ipv6/conf/all/forwarding"
)

// Item is one thing in the kernel. Items are comparable values: Rule, Route,
// Address, Link, Sysctl.
type Item interface {
	// text is the command for the verb, as a person would type it.
	text(Verb) string
	// key is equal for two items of which the kernel keeps only one.
	key() Item
}

// Rule is one policy routing rule. Exactly one of Table and Unreachable is set.
type Rule struct {
	V6              bool
	Priority        int
	Mark, Mask      uint32 // Mask 0: any mark
	From            netip.Addr
	Table           int
	SuppressDefault bool // only what is more specific than a default route counts
	Unreachable     bool
}

func (r Rule) key() Item { return r }

func (r Rule) text(v Verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip%s rule %s pref %d", dash6(r.V6), v.word(), r.Priority)
	if r.From.IsValid() {
		fmt.Fprintf(&b, " from %s", r.From)
	}
	switch r.Mask {
	case 0:
	case 0xffffffff:
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
	default:
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.Mark, r.Mask)
	}
	switch {
	case r.Unreachable:
		b.WriteString(" unreachable")
	case r.Table == tableMain:
		b.WriteString(" lookup main")
	default:
		fmt.Fprintf(&b, " lookup %d", r.Table)
	}
	if r.SuppressDefault {
		b.WriteString(" suppress_prefixlength 0")
	}
	fmt.Fprintf(&b, " protocol %d", Protocol)
	return b.String()
}

// Route is one route in one of our tables.
type Route struct {
	V6          bool
	Table       int
	Dst         netip.Prefix // the zero Prefix: default
	Via         netip.Addr   // the zero Addr: directly on Dev
	Dev         string
	Metric      int // 0: none (IPv4)
	OnLink      bool
	Unreachable bool
}

func (r Route) key() Item {
	return Route{V6: r.V6, Table: r.Table, Dst: r.Dst, Metric: r.Metric}
}

func (r Route) text(v Verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip%s route %s ", dash6(r.V6), v.word())
	if r.Unreachable {
		b.WriteString("unreachable ")
	}
	if r.Dst.IsValid() {
		b.WriteString(r.Dst.String())
	} else {
		b.WriteString("default")
	}
	if r.Via.IsValid() {
		if r.Via.Is6() && !r.V6 {
			b.WriteString(" via inet6 " + r.Via.String())
		} else {
			b.WriteString(" via " + r.Via.String())
		}
	}
	if r.Dev != "" {
		b.WriteString(" dev " + r.Dev)
	}
	fmt.Fprintf(&b, " table %d", r.Table)
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	fmt.Fprintf(&b, " proto %d", Protocol)
	return b.String()
}

// Address is one address of a device.
type Address struct {
	Dev    string
	Prefix netip.Prefix
}

func (a Address) key() Item { return a }

func (a Address) text(v Verb) string {
	return fmt.Sprintf("ip%s addr %s %s dev %s", dash6(a.Prefix.Addr().Is6()), v.word(), a.Prefix, a.Dev)
}

// Link is a device that is up.
type Link struct {
	Dev string
	MTU int // bytes; 0: whatever it is
}

func (l Link) key() Item { return Link{Dev: l.Dev} }

func (l Link) text(v Verb) string {
	switch {
	case v == Remove:
		return fmt.Sprintf("ip link set %s down", l.Dev)
	case l.MTU != 0:
		return fmt.Sprintf("ip link set %s mtu %d up", l.Dev, l.MTU)
	}
	return fmt.Sprintf("ip link set %s up", l.Dev)
}

// Sysctl is one kernel variable, named by its path below /proc/sys (a path,
// because interface names may have dots in them).
type Sysctl struct {
	Key, Value string
	// When, if not empty, is the only value that is replaced; any other is good.
	When string
}

func (s Sysctl) key() Item { return Sysctl{Key: s.Key} }

func (s Sysctl) text(v Verb) string {
	switch {
	case v == Remove:
		return fmt.Sprintf("sysctl -w %s=(as found)", s.Key)
	case s.When != "":
		return fmt.Sprintf("sysctl -w %s=%s (if it is %s)", s.Key, s.Value, s.When)
	case s.Key == keyForward6:
		return fmt.Sprintf("sysctl -w %s=%s (with accept_ra=2 where it is 1)", s.Key, s.Value)
	}
	return fmt.Sprintf("sysctl -w %s=%s", s.Key, s.Value)
}

func dash6(v6 bool) string {
	if v6 {
		return " -6"
	}
	return ""
}
