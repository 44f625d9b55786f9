package config

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestBounds changes one thing at a time in a good configuration and looks at
// which fields have a problem then: those listed, and none where the list is
// empty.
func TestBounds(t *testing.T) {
	good := func(role Role) *Config {
		c := &Config{Role: role, PrivateKeyFile: "/key"}
		if role == RoleGateway {
			c.Exit = Exit{Addresses: []Address{{"exit.example.net", 7117}}, Key: publicKey(t, keyA)}
			c.Uplinks = []Uplink{{Interface: "eth1"}, {Interface: "eth2"}}
		} else {
			c.Gateways = []Gateway{{Name: "a", Key: publicKey(t, keyA)}, {Name: "b", Key: publicKey(t, keyB)}}
		}
		return c
	}
	check := func(role Role, what string, change func(c *Config), want ...string) {
		t.Helper()
		c := good(role)
		c.SetDefaults()
		change(c)
		var es Errors
		if err := c.Validate(); err != nil && !errors.As(err, &es) {
			t.Fatalf("%s: error of type %T", what, err)
		}
		var got []string
		for _, e := range es {
			got = append(got, e.Field)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: problems with %q, want %q\n%v", what, got, want, es)
		}
	}
	gateway := func(what string, change func(c *Config), want ...string) {
		t.Helper()
		check(RoleGateway, what, change, want...)
	}
	exit := func(what string, change func(c *Config), want ...string) {
		t.Helper()
		check(RoleExit, what, change, want...)
	}
	long := func(n int) string { return "/" + strings.Repeat("x", n-1) }

	gateway("nothing", func(c *Config) {})
	gateway("role", func(c *Config) { c.Role = "server" }, "role")
	gateway("no key file", func(c *Config) { c.PrivateKeyFile = "" }, "private_key_file")
	gateway("control of 107 bytes", func(c *Config) { c.Control = long(107) })
	gateway("control of 108 bytes", func(c *Config) { c.Control = long(108) }, "control")
	gateway("relative control", func(c *Config) { c.Control = "bondd.sock" }, "control")
	for mtu, ok := range map[int]bool{0: true, -1: false, 1279: false, 1280: true, 65535: true, 65536: false} {
		gateway("MTU", func(c *Config) { c.TUN.MTU = mtu }, unless(ok, "tun.mtu")...)
	}
	for name, ok := range map[string]bool{"x": true, strings.Repeat("x", 15): true, strings.Repeat("x", 16): false, "": false,
		".": false, "..": false, "...": true, "a/b": false, "a:b": false, "a b": false, "a\x7fb": false, "eth0.7": true} {
		gateway("TUN "+name, func(c *Config) { c.TUN.Name = name }, unless(ok, "tun.name")...)
	}

	gateway("same host, other port", func(c *Config) { c.Exit.Addresses = append(c.Exit.Addresses, Address{"exit.example.net", 1}) })
	gateway("same port, other host", func(c *Config) { c.Exit.Addresses = append(c.Exit.Addresses, Address{"192.0.2.1", 7117}) })
	gateway("same address", func(c *Config) { c.Exit.Addresses = append(c.Exit.Addresses, Address{"EXIT.example.net", 7117}) }, "exit.address[1]")
	gateway("no exit", func(c *Config) { c.Exit = Exit{} }, "exit.address", "exit.key")

	for name, ok := range map[string]bool{strings.Repeat("x", 32): true, strings.Repeat("x", 33): false, "a b": false, "": false, "größe": false, "a/b": true} {
		gateway("uplink name "+name, func(c *Config) { c.Uplinks[1].Name = name }, unless(ok, "uplink[1].name")...)
	}
	for rate, ok := range map[Rate]bool{0: true, MinRate: true, MinRate - 1: false, MaxRate: true, MaxRate + 1: false, -1: false} {
		gateway("max_up", func(c *Config) { c.Uplinks[0].MaxUp = rate }, unless(ok, "uplink[0].max_up")...)
		gateway("max_down", func(c *Config) { c.Uplinks[0].MaxDown = rate }, unless(ok, "uplink[0].max_down")...)
	}
	gateway("mode", func(c *Config) { c.Uplinks[0].Mode = "on" }, "uplink[0].mode")
	gateway("one uplink off", func(c *Config) { c.Uplinks[0].Mode = ModeOff })
	gateway("all uplinks off", func(c *Config) { c.Uplinks[0].Mode, c.Uplinks[1].Mode = ModeOff, ModeOff }, "uplink")
	gateway("only backups", func(c *Config) { c.Uplinks[0].Mode, c.Uplinks[1].Mode = ModeBackup, ModeBackup })
	gateway("an uplink in the LAN", func(c *Config) { c.LAN.Interfaces = []string{"eth1"} }) // a one-armed gateway
	gateway("a LAN without a name", func(c *Config) { c.LAN.Interfaces = []string{"eth0", ""} }, "lan.interfaces[1]")

	at := netip.MustParseAddrPort
	gateway("proxies", func(c *Config) {
		c.Stream.SOCKS, c.Stream.HTTP = []netip.AddrPort{at("127.0.0.1:1"), at("[::1]:1")}, []netip.AddrPort{at("127.0.0.1:2")}
	})
	gateway("two proxies in one place", func(c *Config) {
		c.Stream.SOCKS, c.Stream.HTTP = []netip.AddrPort{at("127.0.0.1:1")}, []netip.AddrPort{at("0.0.0.0:1")}
	}, "stream.http[0]")
	gateway("a proxy nowhere", func(c *Config) { c.Stream.SOCKS = []netip.AddrPort{{}} }, "stream.socks[0]")
	gateway("bypass of a port", func(c *Config) { c.Bypass = []Bypass{{Ports: []PortRange{{1, 65535}}, Via: ViaDirect}} })
	gateway("bypass of all", func(c *Config) { c.Bypass = []Bypass{{Via: ViaPacket}} }, "bypass[0]")
	gateway("bypass of wrong things", func(c *Config) {
		c.Bypass = []Bypass{{Prefixes: []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.1/8")}, Ports: []PortRange{{0, 1}, {2, 1}}, Via: "both"}}
	}, "bypass[0].cidr[0]", "bypass[0].cidr[1]", "bypass[0].port[0]", "bypass[0].port[1]", "bypass[0].via")
	for n, ok := range map[int]bool{-1: false, 0: true, 1: true, 65536: true, 65537: false} {
		exit("max_streams", func(c *Config) { c.Stream.MaxStreams = n }, unless(ok, "stream.max_streams")...)
	}
	for n, ok := range map[int]bool{-1: false, 0: true, 1: true, 100000: true, 100001: false} {
		exit("max_rate", func(c *Config) { c.Stream.MaxRate = n }, unless(ok, "stream.max_rate")...)
	}
	for n, ok := range map[int]bool{0: true, 3: false, 4: true, 4096: true, 4097: false} {
		exit("max_memory", func(c *Config) { c.Stream.MaxMemory = n }, unless(ok, "stream.max_memory")...)
	}
	exit("limits of one gateway", func(c *Config) { c.Gateways[1].MaxStreams, c.Gateways[1].MaxRate, c.Gateways[1].MaxMemory = 1, 1, 4 })
	exit("wrong limits of one gateway", func(c *Config) {
		c.Gateways[1].MaxStreams, c.Gateways[1].MaxRate, c.Gateways[1].MaxMemory = -1, 100001, 3
	},
		"gateway[1].max_streams", "gateway[1].max_rate", "gateway[1].max_memory")
	for list, wrong := range map[string][]string{"192.0.2.1 2001:db8::1": nil, "127.0.0.1": {"stream.announce[0]"}, "192.0.2.1 192.0.2.1": {"stream.announce[1]"},
		"10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 10.0.0.9": {"stream.announce[8]"}} {
		exit("announce "+list, func(c *Config) {
			for _, a := range strings.Fields(list) {
				c.Stream.Announce = append(c.Stream.Announce, netip.MustParseAddr(a))
			}
		}, wrong...)
	}
	exit("networks", func(c *Config) {
		c.Stream.Allow, c.Stream.Deny = prefixes("10.0.0.1/8"), []netip.Prefix{{}}
		c.Gateways[1].Allow = []netip.Prefix{netip.MustParsePrefix("::ffff:1.2.3.0/120")}
	}, "stream.allow[0]", "stream.deny[0]", "gateway[1].allow[0]")

	for list, ok := range map[string]bool{"[::]:1": true, "[::]:1 [::]:2": true, "[::]:1 0.0.0.0:1": false, "[::]:1 [2001:db8::1]:1": false,
		"[2001:db8::1]:1 [::]:1": false, "0.0.0.0:1 192.0.2.1:1": false, "0.0.0.0:1 [2001:db8::1]:1": true, "192.0.2.1:1 192.0.2.2:1": true,
		"192.0.2.1:1 192.0.2.1:2": true, "192.0.2.1:1 192.0.2.1:1": false, "192.0.2.1:1 [2001:db8::1]:1": true} {
		exit("listen "+list, func(c *Config) {
			c.Listen = nil
			for _, s := range strings.Fields(list) {
				c.Listen = append(c.Listen, netip.MustParseAddrPort(s))
			}
		}, unless(ok, "listen[1]")...)
	}
	for _, a := range []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.1:0"), netip.MustParseAddrPort("224.0.0.1:1")} {
		exit("listen "+a.String(), func(c *Config) { c.Listen = []netip.AddrPort{a} }, "listen[0]")
	}
	exit("no listen", func(c *Config) { c.Listen = nil }, "listen")
	exit("no gateway", func(c *Config) { c.Gateways = nil }, "gateway")
	exit("no family", func(c *Config) { c.Inner, c.Gateways = Inner{}, nil }, "inner", "gateway")

	for s, ok := range map[string]bool{"10.9.0.0/30": true, "10.9.0.0/31": false, "10.9.0.1/30": false, "127.0.0.0/8": false, "169.254.0.0/16": false,
		"224.0.0.0/8": false, "0.0.0.0/0": false, "100.64.0.0/10": true} {
		exit("inner "+s, func(c *Config) { c.Inner.IPv4, c.Gateways = netip.MustParsePrefix(s), nil }, append(unless(ok, "inner.ipv4"), "gateway")...)
	}
	for s, ok := range map[string]bool{"fd00::/126": true, "fd00::/127": false, "::1/128": false, "fe80::/64": false, "ff00::/8": false, "::/0": false} {
		exit("inner "+s, func(c *Config) { c.Inner.IPv6, c.Gateways = netip.MustParsePrefix(s), nil }, append(unless(ok, "inner.ipv6"), "gateway")...)
	}
	const six = "fd77:b0dd::9/128"
	for s, ok := range map[string]bool{"10.177.255.254/32": true, "10.177.255.255/32": false, "10.177.0.0/32": false, "10.177.0.1/32": false,
		"10.177.0.9/32": true, "10.177.9.0/24": true, "10.178.0.0/32": false, "10.177.128.1/17": true} {
		exit("address "+s, func(c *Config) { c.Gateways[1].Addresses = prefixes(s, six) }, unless(ok, "gateway[1].addresses")...)
	}
	exit("the whole prefix", func(c *Config) { c.Gateways[1].Addresses = prefixes("10.177.9.1/16", six) },
		"gateway[1].addresses", "gateway[1].addresses") // takes in the exit and the other gateway
	exit("more than the prefix", func(c *Config) { c.Gateways[1].Addresses = prefixes("10.177.9.1/15", six) },
		"gateway[1].addresses", "gateway[1].addresses", "gateway[1].addresses")
	exit("two of one family", func(c *Config) { c.Gateways[1].Addresses = prefixes("10.177.9.1/32", "10.177.9.2/32", six) }, "gateway[1].addresses")
	exit("no IPv6", func(c *Config) { c.Gateways[1].Addresses = prefixes("10.177.9.1/32") }, "gateway[1].addresses")
	exit("an address that is none", func(c *Config) { c.Gateways[1].Addresses = append(prefixes("10.177.9.1/32", six), netip.Prefix{}) },
		"gateway[1].addresses", "gateway[1].addresses") // it counts as a second IPv6 address
}

func unless(ok bool, field string) []string {
	if ok {
		return nil
	}
	return []string{field}
}
