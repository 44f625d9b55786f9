package forward

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
)

// Table is the name of the one nftables table.
const Table = "bondd_relay"

// Config says what is passed on.
type Config struct {
	Listen netip.AddrPort // an unspecified address stands for all of this machine
	To     netip.AddrPort
	Closed bool // in the kernel: drop all else that would be forwarded
	// Of a Relay: UDP flows and TCP connections at a time, each; in all and of one source.
	Flows, PerSource int
}

var (
	// ErrRights says that the process may not change the firewall. It also is
	// fs.ErrPermission.
	ErrRights = fmt.Errorf("not allowed to change nftables: run as root or give the binary CAP_NET_ADMIN: %w", fs.ErrPermission)

	// ErrUnsupported says that the kernel lacks a feature. It also is
	// errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("this system lacks a needed feature: %w", errors.ErrUnsupported)
)

func (c Config) check() error {
	if !c.To.IsValid() || c.To.Port() == 0 || c.To.Addr().IsUnspecified() || c.To.Addr().Is4In6() || c.Listen.Port() == 0 {
		return fmt.Errorf("forward from %s to %s: not two addresses with ports", c.Listen, c.To)
	}
	if a := c.Listen.Addr(); a.IsValid() && !a.IsUnspecified() && a.Is4() != c.To.Addr().Is4() {
		return fmt.Errorf("forward from %s to %s: the kernel forwards within one family only: %w", c.Listen, c.To, errors.ErrUnsupported)
	}
	return nil
}

// family is "ip" or "ip6".
func (c Config) family() string {
	if c.To.Addr().Is4() {
		return "ip"
	}
	return "ip6"
}

// Text is the table as `nft list table inet bondd_relay` prints it; `nft -f` takes it.
func Text(c Config) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	f := c.family()
	at := "meta nfproto " + map[string]string{"ip": "ipv4", "ip6": "ipv6"}[f] + " fib daddr type local"
	if a := c.Listen.Addr(); a.IsValid() && !a.IsUnspecified() {
		at = f + " daddr " + a.String()
	}
	line("table inet %s {", Table)
	line("\tchain prerouting {")
	line("\t\ttype nat hook prerouting priority dstnat; policy accept;")
	for _, proto := range []string{"tcp", "udp"} {
		line("\t\t%s %s dport %d dnat %s to %s", at, proto, c.Listen.Port(), f, c.To)
	}
	line("\t}\n\n\tchain postrouting {")
	line("\t\ttype nat hook postrouting priority srcnat; policy accept;")
	for _, proto := range []string{"tcp", "udp"} {
		line("\t\tct status dnat %s daddr %s %s dport %d masquerade", f, c.To.Addr(), proto, c.To.Port())
	}
	line("\t}")
	if c.Closed {
		line("\n\tchain forward {")
		line("\t\ttype filter hook forward priority filter; policy accept;")
		line("\t\tct status dnat accept")
		line("\t\tdrop")
		line("\t}")
	}
	line("}")
	return b.String()
}
