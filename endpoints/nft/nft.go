package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
)

// Role says which side of the bond the machine is.
type Role uint8

const (
	// Gateway masquerades what it sends into the TUN.
	Gateway Role = iota
	// Exit masquerades what comes from the TUN and leaves elsewhere.
	Exit
)

// DefaultTable is the name of the one table.
const DefaultTable = "bondd"

// Config is all that the table depends on.
type Config struct {
	Table string // name of the table; empty: DefaultTable
	Role  Role
	TUN   string // device name
	// Inner are the exit's inner networks, whose sources are masqueraded. Empty:
	// whatever comes in by the TUN (needs Linux 5.7; older ones do not know the
	// inbound interface that late). A gateway ignores it.
	Inner []netip.Prefix
	// DNS is the port to which this machine takes DNS queries that come in by DNSFrom, whomever they are for; 0: it takes none.
	DNS     uint16
	DNSFrom []string
	// Forwards give flows for an address of this machine another destination: at a gateway those that come in by the TUN, at an exit those that
	// do not. They keep the address of the client.
	Forwards []Forward
	// Choices send flows of a gateway by exits other than the one of TUN. Exits are the devices of those, in any order.
	Choices []Choice
	Exits   []ExitTUN
}

// Forward is an entry of Config.Forwards.
type Forward struct {
	TCP         bool // else UDP
	First, Last uint16
	To          netip.Addr
	Port        uint16 // 0: stays
}

var (
	// ErrRights says that the process may not change the firewall. It also is
	// fs.ErrPermission.
	ErrRights = fmt.Errorf("not allowed to change nftables: run as root or give the binary CAP_NET_ADMIN: %w", fs.ErrPermission)

	// ErrUnsupported says that the kernel lacks a feature. It also is
	// errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("this system lacks a needed feature: %w", errors.ErrUnsupported)
)

// maxName is the longest name of a network device in bytes (IFNAMSIZ - 1).
const maxName = 15

// check refuses what could not be said in nft's own language.
func (c Config) check() error {
	switch {
	case strings.ContainsAny(c.table(), "\" \t\n;{}") || len(c.table()) > 255:
		return fmt.Errorf("nftables: %q cannot be the name of a table", c.Table)
	}
	for _, name := range c.tuns() {
		if name == "" || len(name) > maxName || strings.ContainsAny(name, "\"*\\/ \t\n") {
			return fmt.Errorf("nftables: %q cannot be the name of the TUN device: give 1 to %d letters or digits", name, maxName)
		}
	}
	for _, ch := range c.Choices {
		if err := ch.check(); err != nil {
			return err
		}
	}
	for _, f := range c.Forwards {
		if !f.To.IsValid() || f.First == 0 || f.Last < f.First {
			return fmt.Errorf("nftables: ports %d-%d cannot be forwarded to %s", f.First, f.Last, f.To)
		}
	}
	for _, name := range c.DNSFrom {
		if name == "" || len(name) > maxName || strings.ContainsAny(name, "\"*\\/ \t\n") {
			return fmt.Errorf("nftables: %q cannot be the name of an interface of the LAN", name)
		}
	}
	for _, p := range c.Inner {
		if !p.IsValid() || p.Bits() == 0 {
			return fmt.Errorf("nftables: inner network %s is not a network of its own", p)
		}
	}
	return nil
}

// tuns are the names of all TUN devices.
func (c Config) tuns() []string {
	names := []string{c.TUN}
	for _, e := range c.Exits {
		names = append(names, e.TUN)
	}
	return names
}

func (c Config) table() string {
	if c.Table == "" {
		return DefaultTable
	}
	return c.Table
}
