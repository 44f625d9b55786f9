package nft

import (
	"net/netip"
	"strings"
	"testing"
)

var (
	gateway = Config{Role: Gateway, TUN: "bondd0"}
	exit    = Config{Role: Exit, TUN: "bondd0", Inner: []netip.Prefix{
		netip.MustParsePrefix("10.177.0.0/16"),
		netip.MustParsePrefix("fd77:b0dd::/64"),
		netip.MustParsePrefix("10.178.3.4/32"),
		netip.MustParsePrefix("10.179.0.0/19"),
		netip.MustParsePrefix("fd78::1/128"),
		netip.MustParsePrefix("fd79::/61"),
	}}
	gatewayWithAll = Config{Role: Gateway, TUN: "bondd0", DNS: 5353, DNSFrom: []string{"eth0", "wlan0"}, Forwards: []Forward{
		{First: 5000, Last: 5010, To: netip.MustParseAddr("192.168.1.10")},
		{TCP: true, First: 443, Last: 443, To: netip.MustParseAddr("fd00::10"), Port: 8443},
	}}
	exitWithAll = Config{Role: Exit, TUN: "bondd0", Inner: []netip.Prefix{netip.MustParsePrefix("10.177.0.0/16")}, Forwards: []Forward{
		{First: 5000, Last: 5010, To: netip.MustParseAddr("10.177.0.2")},
		{TCP: true, First: 443, Last: 443, To: netip.MustParseAddr("10.177.0.2"), Port: 8443},
	}}
	gatewayWithRules = Config{Role: Gateway, TUN: "bondd0", Exits: []ExitTUN{{1, "bondd0-2"}, {2, "bondd0-3"}},
		Forwards: []Forward{{TCP: true, First: 443, Last: 443, To: netip.MustParseAddr("192.168.1.10")}},
		Choices: []Choice{
			{Sources: []netip.Prefix{netip.MustParsePrefix("192.168.1.10/32"), netip.MustParsePrefix("192.168.1.64/26")},
				Destinations: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.7/32")}, Exit: 1},
			{MACs: [][6]byte{{0x02, 0x11, 0x22, 0x33, 0x44, 0x55}}, Ports: []Ports{{53, 53}}, UDP: true, Exit: 2},
			{Mark: 0x10, Mask: 0xff, TCP: true, Exit: 1},
			{Mark: 7, Mask: 0xffffffff, Destinations: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}},
			{Sources: []netip.Prefix{netip.MustParsePrefix("fd00::10/128")}, Ports: []Ports{{6000, 6100}}, Exit: 2},
		}}
	exitByDevice = Config{Table: "bondd_second", Role: Exit, TUN: "tun1"}
)

func TestTextOfGateway(t *testing.T) {
	want := `table inet bondd {
	chain forward {
		type filter hook forward priority mangle; policy accept;
		iifname "bondd0" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
		oifname "bondd0" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "bondd0" masquerade
	}
}
`
	if got := Text(gateway); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTextOfExit(t *testing.T) {
	got := Text(exit)
	for _, line := range []string{
		`ip saddr 10.177.0.0/16 oifname != "bondd0" masquerade`,
		`ip6 saddr fd77:b0dd::/64 oifname != "bondd0" masquerade`,
		`ip saddr 10.178.3.4 oifname != "bondd0" masquerade`,
	} {
		if !strings.Contains(got, "\t\t"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	if got := Text(exitByDevice); !strings.Contains(got, `iifname "tun1" oifname != "tun1" masquerade`) ||
		!strings.HasPrefix(got, "table inet bondd_second {") {
		t.Errorf("got\n%s", got)
	}
}

func TestTextOfTargets(t *testing.T) {
	for _, c := range []struct {
		cfg   Config
		lines []string
	}{
		{gatewayWithAll, []string{
			`iifname "eth0" udp dport 53 redirect to :5353`, `iifname "wlan0" tcp dport 53 redirect to :5353`,
			`iifname "bondd0" meta nfproto ipv4 fib daddr type local udp dport 5000-5010 dnat ip to 192.168.1.10`,
			`iifname "bondd0" meta nfproto ipv6 fib daddr type local tcp dport 443 dnat ip6 to [fd00::10]:8443`,
		}},
		{exitWithAll, []string{`iifname != "bondd0" meta nfproto ipv4 fib daddr type local tcp dport 443 dnat ip to 10.177.0.2:8443`}},
	} {
		for _, line := range c.lines {
			if got := Text(c.cfg); !strings.Contains(got, "\t\t"+line+"\n") {
				t.Errorf("no line %q in\n%s", line, got)
			}
		}
	}
}

func TestTextOfRules(t *testing.T) {
	for _, want := range []string{
		"\tchain rule1_1 {\n\t\tip daddr 192.0.2.0/24 ct mark set 0xb0df0001 meta mark set 0xb0df0001 accept\n" +
			"\t\tip daddr 198.51.100.7 ct mark set 0xb0df0001 meta mark set 0xb0df0001 accept\n\t}\n",
		"\t\tip saddr 192.168.1.10 jump rule1_1\n\t\tip saddr 192.168.1.64/26 jump rule1_1\n" +
			"\t\tether saddr 02:11:22:33:44:55 udp dport 53 ct mark set 0xb0df0002 meta mark set 0xb0df0002 accept\n",
		"\t\tmeta mark 0x00000007 ip6 daddr 2001:db8::/32 ct mark set 0xb0df0000 accept\n",
		"\t\tip6 saddr fd00::10 tcp dport 6000-6100 ct mark set 0xb0df0002 meta mark set 0xb0df0002 accept\n",
		"\t\tip6 saddr fd00::10 udp dport 6000-6100 ct mark set 0xb0df0002 meta mark set 0xb0df0002 accept\n",
		"\t\toifname \"bondd0-3\" masquerade\n",
	} {
		if got := Text(gatewayWithRules); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for _, c := range []Config{
		{},
		{TUN: "sixteenlettersss"},
		{TUN: `a"b`},
		{TUN: "tun*"},
		{TUN: "t", Table: "a b"},
		{TUN: "t", Role: Exit, Inner: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		{TUN: "t", Role: Exit, Inner: []netip.Prefix{{}}},
		{TUN: "t", DNS: 53, DNSFrom: []string{"a b"}},
		{TUN: "t", Forwards: []Forward{{First: 5, Last: 4, To: netip.MustParseAddr("192.168.1.10")}}},
		{TUN: "t", Forwards: []Forward{{First: 5, Last: 5}}},
		{TUN: "t", Exits: []ExitTUN{{1, ""}}},
		{TUN: "t", Choices: []Choice{{Ports: []Ports{{5, 4}}}}},
		{TUN: "t", Choices: []Choice{{Sources: []netip.Prefix{{}}}}},
	} {
		if Apply(c) == nil || Remove(c) == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}
