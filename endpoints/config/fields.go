package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/bondd/bondd/tunnel/control"
)

// readFile reads the whole file. Its order is that of docs/configuration.md.
func (c *Config) readFile(t *table) {
	t.text("role", `"gateway"`, c.setRole)
	t.text("control", `"/run/bondd.sock"`, nonEmpty(&c.Control))
	t.text("log_level", `"info"`, c.setLogLevel)
	if c.Role != RoleRelay {
		c.readBond(t)
	}
	switch c.Role {
	case RoleGateway:
		c.readGatewayRole(t)
	case RoleExit:
		c.readExitRole(t)
	case RoleRelay:
		c.readRelay(t)
	default: // say what else is wrong, whatever it is going to be
		c.readGatewayRole(t)
		c.readExitRole(t)
		c.readForwarding(t)
		return
	}
	t.foreignTo()
}

// readBond reads what both ends of a bond have.
func (c *Config) readBond(t *table) {
	t.text("private_key_file", `"/etc/bondd/key"`, nonEmpty(&c.PrivateKeyFile))
	if tun := t.table("tun"); tun != nil {
		tun.text("name", `"bondd0"`, nonEmpty(&c.TUN.Name))
		tun.number("mtu", "1400", &c.TUN.MTU)
	}
	t.texts("web", `"127.0.0.1:7180"`, localTo(&c.Web))
	c.readStream(t)
	c.readDNS(t)
}

// fieldsOf are the fields at the top of the file that not every role has.
var fieldsOf = []struct {
	role   Role
	fields []string
}{
	{RoleGateway, []string{"exit", "uplink", "lan", "bypass", "rule", "forward", "state_dir", "policy", "private_key_file", "tun", "web", "stream", "dns"}},
	{RoleExit, []string{"listen", "inner", "gateway"}},
	{RoleRelay, []string{"exit", "listen", "relay"}},
}

// foreignTo notes fields at the top that have a meaning only in other roles than the file's own.
func (t *table) foreignTo() {
	for _, r := range fieldsOf {
		t.foreign(r.role, slices.DeleteFunc(slices.Clone(r.fields), func(name string) bool { return slices.Contains(t.known, name) }))
	}
}

// foreign notes fields that have a meaning only in the other role.
func (t *table) foreign(role Role, names []string) {
	for _, name := range names {
		if _, ok := t.get(name); ok {
			t.d.problem(t.field(name), "%s belongs to role %q; this file has another role", t.field(name), role)
		}
	}
}

func (c *Config) readGatewayRole(t *table) {
	c.readExits(t)
	for _, u := range t.tables("uplink") {
		c.Uplinks = append(c.Uplinks, readUplink(u))
	}
	if lan := t.table("lan"); lan != nil {
		lan.texts("interfaces", `"eth0"`, appendTo(&c.LAN.Interfaces))
	}
	for _, b := range t.tables("bypass") {
		c.Bypass = append(c.Bypass, readBypass(b))
	}
	for _, r := range t.tables("rule") {
		c.Rules = append(c.Rules, readRule(r))
	}
	for _, f := range t.tables("forward") {
		c.Forwards = append(c.Forwards, readForward(f, RoleGateway))
	}
	t.text("state_dir", `"/var/lib/bondd"`, nonEmpty(&c.StateDir))
	t.text("policy", `"redundant"`, func(s string) error {
		c.Policy = Policy(s)
		return checkPolicy(c.Policy)
	})
}

func (c *Config) readListen(t *table) {
	t.texts("listen", `":7117"`, func(s string) error {
		a, err := ParseListen(s)
		if err == nil {
			c.Listen = append(c.Listen, a)
		}
		return err
	})
}

func (c *Config) readExitRole(t *table) {
	c.readListen(t)
	c.Inner = Inner{IPv4: DefaultInner4, IPv6: DefaultInner6}
	if in := t.table("inner"); in != nil {
		in.text("ipv4", `"10.177.0.0/16"`, setInner(&c.Inner.IPv4))
		in.text("ipv6", `"fd77:b0dd::/64"`, setInner(&c.Inner.IPv6))
		if len(c.Inner.prefixes()) == 0 {
			t.d.problem("inner", "inner: both families are off, which leaves nothing to carry; leave one of ipv4, ipv6 on")
		}
	}
	for i, g := range t.tables("gateway") {
		c.Gateways = append(c.Gateways, readGateway(g, i))
	}
}

func readGateway(t *table, i int) Gateway {
	g := Gateway{Name: fmt.Sprintf("gateway%d", i+1)}
	t.text("name", `"home"`, nonEmpty(&g.Name))
	t.text("key", "the output of \"bondd pubkey\"", setKey(&g.Key))
	t.texts("addresses", `"10.177.0.2"`, func(s string) error {
		p, err := parseInnerAddress(s)
		if err == nil {
			g.Addresses = append(g.Addresses, p)
		}
		return err
	})
	t.texts("allow", `"192.168.7.0/24"`, networkTo(&g.Allow))
	t.number("max_streams", "4096", &g.MaxStreams)
	t.number("max_rate", "500", &g.MaxRate)
	t.number("max_memory", "64", &g.MaxMemory)
	for _, f := range t.tables("forward") {
		g.Forwards = append(g.Forwards, readForward(f, RoleExit))
	}
	return g
}

func (c *Config) setRole(s string) error {
	c.Role = Role(s)
	return checkRole(c.Role)
}

// logLevels are the words of log_level.
var logLevels = []struct {
	name  string
	level slog.Level
}{{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}}

func (c *Config) setLogLevel(s string) error {
	var names []string
	for _, l := range logLevels {
		if s == l.name {
			c.LogLevel = l.level
			return nil
		}
		names = append(names, l.name)
	}
	return notOneOf(s, names)
}

// notOneOf is the error for a word that is not in the list.
func notOneOf(s string, words []string) error {
	if best, ok := Nearest(s, words); ok {
		return fmt.Errorf("unknown word %q; did you mean %q?", s, best)
	}
	return fmt.Errorf("unknown word %q; write one of %s", s, strings.Join(words, ", "))
}

func nonEmpty(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return fmt.Errorf("the string is empty; leave the field out or fill it in")
		}
		*to = s
		return nil
	}
}

func appendTo(to *[]string) func(string) error {
	return func(s string) error {
		*to = append(*to, s)
		return checkInterface(s)
	}
}

func setKey(to *control.PublicKey) func(string) error {
	return func(s string) (err error) {
		*to, err = control.ParsePublicKey(s)
		return err
	}
}

func setRate(to *Rate) func(string) error {
	return func(s string) (err error) {
		*to, err = ParseRate(s)
		return err
	}
}

// setInner reads an inner prefix; "off" leaves the family out.
func setInner(to *netip.Prefix) func(string) error {
	return func(s string) error {
		if s == "off" {
			*to = netip.Prefix{}
			return nil
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("%q is not a prefix; write one like %q, or \"off\"", s, DefaultInner4)
		}
		*to = p
		return nil
	}
}

// parseInnerAddress reads the inner address of a gateway: an address, or an
// address with a prefix length.
func parseInnerAddress(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address; write one like \"10.177.0.2\" or \"10.177.4.1/24\"", s)
	}
	return p, nil
}

func checkRole(r Role) error {
	return checkWord(string(r), string(RoleGateway), string(RoleExit), string(RoleRelay))
}

func checkMode(m Mode) error {
	return checkWord(string(m), string(ModeAlways), string(ModeBackup), string(ModeDrain), string(ModeOff))
}

func checkWord(s string, words ...string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return notOneOf(s, words)
}
