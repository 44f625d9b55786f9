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
	} {
		if Apply(c) == nil || Remove(c) == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}
