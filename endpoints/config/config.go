package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/bondd/bondd/tunnel/control"
)

// Role is what a node is: the gateway of a home, its exit, or a relay between the two.
type Role string

// The roles.
const (
	RoleGateway Role = "gateway"
	RoleExit    Role = "exit"
	RoleRelay   Role = "relay"
)

// Config is a complete configuration. Fields of the other role are zero.
type Config struct {
	File string // the file it came from; empty when made by a program
	Role Role

	PrivateKeyFile string             // where PrivateKey came from; may be empty when PrivateKey is set by a program
	PrivateKey     control.PrivateKey // the node's own key

	Control  string     // path of the unix socket for "bondd status"; empty only before SetDefaults
	LogLevel slog.Level // least level that is logged
	TUN      TUN
	Stream   Stream
	DNS      DNS
	Web      []netip.AddrPort // where the page and the metrics are served; empty: nowhere

	// Role gateway; a relay has an exit too, by address only.
	Exit     Exit
	Others   []Exit   // beside Exit, which is the one that everything leaves by while it is within reach; in file order
	Uplinks  []Uplink // in file order; empty: uplinks are found by themselves
	LAN      LAN
	Bypass   []Bypass // in file order: the first that applies counts
	Rules    []Rule   // in file order: the first that applies counts
	StateDir string   // where counters are kept that outlive the process
	Policy   Policy   // of both ends; the gateway tells the exit
	// Forwards are where ports lead that the exit forwards.
	Forwards []Forward

	// Role relay.
	Relay Relay

	// Role exit.
	Listen   []netip.AddrPort // TCP for the hello and UDP for datagrams, on the same ports; a relay has one
	Inner    Inner
	Gateways []Gateway // in file order
}

// TUN is the TUN device of the node.
type TUN struct {
	Name string // at most 15 bytes, as the kernel wants it
	MTU  int    // bytes, 1280 to 65535; 0: follows the paths
}

// LAN is the gateway's inside.
type LAN struct {
	Interfaces []string // never taken for uplinks when those are found by themselves
}

// Inner is the address space inside the bond, kept by the exit. The exit has
// the first address of each prefix. An invalid (zero) prefix means that the
// family is not carried; at least one is.
type Inner struct {
	IPv4 netip.Prefix
	IPv6 netip.Prefix
}

// Exit returns the exit's own inner addresses with the length of their prefix,
// IPv4 first.
func (n Inner) Exit() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range n.prefixes() {
		if a, ok := nth(p, 1); ok {
			out = append(out, netip.PrefixFrom(a, p.Bits()))
		}
	}
	return out
}

// prefixes returns the prefixes that are in use, IPv4 first.
func (n Inner) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []netip.Prefix{n.IPv4, n.IPv6} {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// Gateway is one gateway known to an exit.
type Gateway struct {
	Name string
	Key  control.PublicKey
	// Addresses are the gateway's inner addresses, at most one of each family.
	// Addr() is the gateway's own; Masked() is what it may send from.
	Addresses []netip.Prefix
	// Allow are networks that this gateway may reach beside those of Stream.Allow.
	Allow []netip.Prefix
	// The limits of its connections, as those of Stream, which hold where these are 0.
	MaxStreams, MaxRate, MaxMemory int
	// Forwards are the ports of the exit that go to this gateway.
	Forwards []Forward
}

// Load reads, completes and checks the configuration in file, and reads the
// private key it names. A configuration that is wrong gives an [Errors] with
// everything that is wrong with it; a file that cannot be read gives that
// error.
func Load(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, d := parse(file, data)
	if c != nil && c.Role != RoleRelay { // which has no key
		if c.PrivateKey, err = control.LoadPrivateKey(c.PrivateKeyFile); err != nil {
			d.problem("private_key_file", "%v", err)
		} else {
			d.add(c.validateOwnKey())
		}
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse is Load of a text in memory, without the private key: PrivateKeyFile
// is set, PrivateKey is zero. The name stands for the file in messages.
func Parse(name string, data []byte) (*Config, error) {
	c, d := parse(name, data)
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// AutoUplinks reports whether uplinks are found by themselves: every interface
// with a default route that is neither the TUN device nor part of the LAN.
func (c *Config) AutoUplinks() bool { return len(c.Uplinks) == 0 }
