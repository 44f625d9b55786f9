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

func TestBadConfigIsRefused(t *testing.T) {
	for _, c := range []Config{
		{},
		{TUN: "sixteenlettersss"},
		{TUN: `a"b`},
		{TUN: "tun*"},
		{TUN: "t", Table: "a b"},
		{TUN: "t", Role: Exit, Inner: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		{TUN: "t", Role: Exit, Inner: []netip.Prefix{{}}},
	} {
		if Apply(c) == nil || Remove(c) == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}
