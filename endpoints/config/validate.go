package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// Bounds of the TUN's MTU, bytes. IPv6 asks for 1280 of every link (RFC 8200
// §5); the upper one is the greatest length an IP header can state.
const (
	MinMTU = 1280
	MaxMTU = 65535
)

// Lengths that the kernel sets.
const (
	maxInterfaceName = 15  // IFNAMSIZ less its final NUL
	maxSocketPath    = 107 // sun_path of unix(7), less its final NUL
)

// maxName bounds the names of uplinks and gateways, which are columns of the
// status table.
const maxName = 32

// Validate checks a completed configuration (see SetDefaults) and returns an
// [Errors] with everything that is wrong with it, or nil. It looks at values
// only: not at files, interfaces, or names in the DNS.
func (c *Config) Validate() error {
	v := &validator{}
	if err := checkRole(c.Role); c.Role == "" {
		v.problem("role", "role is missing; write role = \"gateway\", role = \"exit\" or role = \"relay\"")
	} else if err != nil {
		v.problem("role", "role: %v", err)
	}
	v.node(c)
	switch c.Role {
	case RoleGateway:
		v.exits(c)
		v.uplinks(c)
		v.lan(c)
		v.stream(c)
		v.dns(c)
		v.rules(c)
		v.forwards("forward", c.Forwards, RoleGateway, nil)
	case RoleExit:
		v.listen(c)
		v.inner(c.Inner)
		v.gateways(c)
		v.exitForwards(c)
		v.stream(c)
	case RoleRelay:
		v.listen(c)
		v.relay(c)
	}
	v.errs = append(v.errs, c.validateOwnKey()...)
	if len(v.errs) == 0 {
		return nil
	}
	return v.errs
}

// validateOwnKey finds peers that have the node's own key. It says nothing
// while the private key has not been read.
func (c *Config) validateOwnKey() Errors {
	if isZero(c.PrivateKey[:]) {
		return nil
	}
	v, own := &validator{}, c.PrivateKey.Public()
	if all := c.Exits(); c.Role == RoleGateway {
		for i, x := range all {
			if at := exitField(all, i); x.Key == own {
				v.problem(at+".key", "%s.key is the key of this node itself; write the public key of the exit", at)
			}
		}
	}
	for i, g := range c.Gateways {
		if g.Key == own {
			v.problem(fmt.Sprintf("gateway[%d].key", i), "gateway[%d].key is the key of this node itself; write the public key of %q", i, g.Name)
		}
	}
	return v.errs
}

type validator struct{ errs Errors }

func (v *validator) problem(field, format string, args ...any) {
	v.errs = append(v.errs, Problem{Field: field, Text: fmt.Sprintf(format, args...)})
}

// check notes err about a field, when there is one.
func (v *validator) check(field string, err error) {
	if err != nil {
		v.problem(field, "%s: %v", field, err)
	}
}

// node checks what both roles have.
func (v *validator) node(c *Config) {
	if c.PrivateKeyFile == "" && isZero(c.PrivateKey[:]) && c.Role != RoleRelay {
		v.problem("private_key_file", "private_key_file is missing; make a key with \"bondd genkey\" and write the name of its file")
	}
	if !filepath.IsAbs(c.Control) {
		v.problem("control", "control: %q is not the path of a unix socket; write one that begins with a slash", c.Control)
	} else if len(c.Control) > maxSocketPath {
		v.problem("control", "control: the path has %d bytes; the kernel allows %d for a unix socket", len(c.Control), maxSocketPath)
	}
	v.local("web", c.Web)
	v.check("tun.name", checkInterface(c.TUN.Name))
	if m := c.TUN.MTU; m != 0 && (m < MinMTU || m > MaxMTU) {
		v.problem("tun.mtu", "tun.mtu: %d is out of range; it must lie between %d and %d, or be left out", m, MinMTU, MaxMTU)
	}
}

func (v *validator) lan(c *Config) {
	for i, name := range c.LAN.Interfaces {
		field := fmt.Sprintf("lan.interfaces[%d]", i)
		if err := checkInterface(name); err != nil {
			v.problem(field, "lan.interfaces: %v", err)
		} else if name == c.TUN.Name {
			v.problem(field, "lan.interfaces: %q is the bond's own TUN device; the LAN is where the devices are", name)
		}
	}
}

func (v *validator) listen(c *Config) {
	if len(c.Listen) == 0 {
		v.problem("listen", "listen is missing; write \":%d\"", DefaultPort)
	}
	for i, a := range c.Listen {
		field := fmt.Sprintf("listen[%d]", i)
		if !a.IsValid() || a.Port() == 0 || a.Addr().IsMulticast() {
			v.problem(field, "listen: %s is not an address to listen on; write \":%d\"", a, DefaultPort)
			continue
		}
		for _, b := range c.Listen[:i] {
			if a.Port() != b.Port() {
				continue
			}
			if a == b {
				v.problem(field, "listen: %s is listed twice; remove one", a)
				break
			}
			if covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr()) {
				v.problem(field, "listen: %s and %s overlap, so that only one of them can be opened; remove one", b, a)
				break
			}
		}
	}
}

// covers reports whether listening on a takes in b: [::] is opened for both
// families.
func covers(a, b netip.Addr) bool {
	return a.IsUnspecified() && (a.Is6() || b.Is4())
}

// checkInterface holds a name to the kernel's rules for interfaces
// (dev_valid_name in net/core/dev.c).
func checkInterface(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the name of the interface is missing")
	case len(s) > maxInterfaceName:
		return fmt.Errorf("%q is too long for an interface; the kernel allows %d bytes", s, maxInterfaceName)
	case s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == ':' }):
		return fmt.Errorf("%q cannot be the name of an interface; write it as \"ip link\" shows it, before any @", s)
	}
	return nil
}

// checkName holds the name of an uplink or a gateway to one word.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the name is missing")
	case len(s) > maxName:
		return fmt.Errorf("%q is too long; a name has at most %d bytes", s, maxName)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return fmt.Errorf("%q is not a name; write one word of plain letters, digits and signs", s)
	}
	return nil
}

func checkRate(r Rate) error {
	if r != 0 && !(r >= MinRate && r <= MaxRate) {
		return fmt.Errorf("%v is out of range; it must lie between %v and %v", r, MinRate, MaxRate)
	}
	return nil
}
