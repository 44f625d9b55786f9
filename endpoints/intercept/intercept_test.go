package intercept

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBadConfigIsRefused(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	for name, c := range map[string]Config{
		"name of the TUN":     {TUN: "sixteenlettersss"},
		"name of a LAN":       {LAN: []string{`a"b`}},
		"empty name":          {LAN: []string{""}},
		"the TUN as LAN":      {TUN: "bondd0", LAN: []string{"bondd0"}},
		"short memory":        {NegativeTTL: time.Millisecond},
		"long memory":         {NegativeTTL: time.Hour},
		"all of it":           {Bypass: []Bypass{{Prefixes: []netip.Prefix{prefix}}, {Service: Direct}}},
		"no prefix":           {Bypass: []Bypass{{Prefixes: []netip.Prefix{{}}}}},
		"mapped prefix":       {Bypass: []Bypass{{Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}}},
		"port 0":              {Bypass: []Bypass{{Ports: []PortRange{{0, 5}}}}},
		"ports the wrong way": {Bypass: []Bypass{{Ports: []PortRange{{5, 4}}}}},
		"no such service":     {Bypass: []Bypass{{Ports: []PortRange{{5, 5}}, Service: 2}}},
		"too long a list":     {Bypass: []Bypass{{Ports: slices.Repeat([]PortRange{{5, 5}}, maxBypass+1)}}},
	} {
		if err := c.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			t.Log(err)
		}
		if i, err := Open(c); err == nil {
			i.Close()
			t.Errorf("%s: opened", name)
		}
		if !strings.HasPrefix(Text(c), "# intercept: ") {
			t.Errorf("%s: text %q", name, Text(c))
		}
	}
}

func TestText(t *testing.T) {
	got := Text(Config{
		TUN: "bondd0", Own: true, NegativeTTL: 1500 * time.Millisecond,
		Bypass: []Bypass{
			{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}, Service: Direct},
			{Ports: []PortRange{{22, 22}, {6881, 6889}}},
		},
	})
	for _, want := range []string{
		"table inet bondd_intercept {\n",
		"\t\telements = { ipv4 }\n",
		"\t\ttype ipv4_addr . inet_service\n\t\tsize 4096\n\t\tflags timeout\n\t\ttimeout 1500ms\n",
		"\t\telements = { 192.0.2.0/24 }\n",
		"\t\telements = { 22, 6881-6889 }\n",
		"\t\tip6 daddr @bypass1_ip6 meta mark set 0xb0de0003 accept\n",
		"\t\tmeta l4proto { tcp, udp } th dport @bypass2_port accept\n",
		"\t\tip daddr . tcp dport @refused_ip reject with tcp reset\n",
		"\t\tmeta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:7118 meta mark set 0xb0de0001 accept\n",
		"\t\tmeta mark 0xb0de0003 oifname != \"bondd0\" masquerade\n",
		"}\n# ip route add local default dev lo table 45998 proto 178\n",
		"# ip -6 rule add pref 17691 fwmark 0xb0de0001 lookup 45998 protocol 178\n",
		"# ip rule add pref 17690 fwmark 0xb0de0001 iif lo lookup main protocol 178\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	// The TUN device is the only condition on the way out for own traffic.
	if small := Text(Config{TUN: "bondd0"}); strings.Contains(small, "chain output") || strings.Contains(small, "masquerade") || strings.Contains(small, "17692") {
		t.Errorf("too much in\n%s", small)
	}
}

func TestSpans(t *testing.T) {
	parse := func(list string) (out []netip.Prefix) {
		for _, s := range strings.Fields(list) {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct {
		in   string
		v6   bool
		want string
	}{
		{"", false, ""},
		{"10.0.0.0/8 2001:db8::/32", true, "2001:db8::/32"},
		{"10.1.2.3/8", false, "10.0.0.0/8"},
		{"10.0.0.0/8 10.1.0.0/16 10.255.255.255/32", false, "10.0.0.0/8"},
		{"11.0.0.0/8 10.0.0.0/8", false, "10.0.0.0/7"},
		{"11.0.0.0/8 12.0.0.0/8", false, "11.0.0.0-12.255.255.255"},
		{"0.0.0.0/0 255.255.255.255/32", false, "0.0.0.0/0"},
		{"255.255.255.255/32 255.255.255.254/32 0.0.0.0/32", false, "0.0.0.0 255.255.255.254/31"},
		{"::/1 8000::/1", true, "::/0"},
	} {
		var got []string
		for _, s := range prefixSpans(parse(c.in), c.v6) {
			got = append(got, s.text())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.in, got, c.want)
		}
	}
	var got []string
	for _, s := range portSpans([]PortRange{{80, 90}, {1, 1}, {85, 100}, {2, 2}, {65535, 65535}, {101, 101}}) {
		got = append(got, s.text())
	}
	if strings.Join(got, " ") != "1-2 80-101 65535" {
		t.Errorf("ports %v", got)
	}
}
