package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestExits(t *testing.T) {
	c := read(t, `role = "gateway"`,
		`[[exit]]`, `address = "192.0.2.1"`, `key = "`+keyA+`"`, `socks = "127.0.0.1:1080"`,
		`[[exit]]`, `name = "us"`, `address = "192.0.2.2"`, `key = "`+keyB+`"`, `http = "127.0.0.1:8080"`, `failover_after = "1m"`)
	want := []Exit{
		{Name: "exit1", Addresses: []Address{{"192.0.2.1", 7117}}, Key: publicKey(t, keyA), FailoverAfter: 10 * time.Second,
			SOCKS: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1080")}},
		{Name: "us", Addresses: []Address{{"192.0.2.2", 7117}}, Key: publicKey(t, keyB), FailoverAfter: time.Minute, Apart: true,
			HTTP: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080")}},
	}
	if got := c.Exits(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, line := range []string{"exit1: what everything leaves by", "us: for its own proxies only", "127.0.0.1:8080, by us"} {
		if !strings.Contains(c.Describe(), line) {
			t.Errorf("no %q in\n%s", line, c.Describe())
		}
	}
	if got := c.OwnTUN(); !reflect.DeepEqual(got, []int{0}) {
		t.Errorf("exits %v have a device of their own, want that with socks", got)
	}
	// An exit with proxies may be told to take over, and one without does.
	both := read(t, `role = "gateway"`, `[[exit]]`, `address = "192.0.2.1"`, `key = "`+keyA+`"`,
		`[[exit]]`, `address = "192.0.2.2"`, `key = "`+keyB+`"`, `http = "127.0.0.1:8080"`, `failover = true`)
	if both.Others[0].Apart || both.Others[0].Name != "exit2" {
		t.Errorf("told to take over: %+v", both.Others[0])
	}
	// One that a rule names needs no other use.
	ruled := read(t, `role = "gateway"`, `[[exit]]`, `address = "192.0.2.1"`, `key = "`+keyA+`"`,
		`[[exit]]`, `name = "us"`, `address = "192.0.2.2"`, `key = "`+keyB+`"`, `failover = false`,
		`[[rule]]`, `source = ["192.168.1.10", "192.168.1.64/26"]`, `mac = "00-11-22-33-44-55"`, `destination = "0.0.0.0/0"`, `protocol = "udp"`,
		`port = [53, "6000-6100"]`, `mark = "0x10/0xff"`, `exit = "us"`, `fallback = "none"`,
		`[[rule]]`, `mark = 16`, `exit = "default"`)
	rules := []Rule{
		{Source: []netip.Prefix{netip.MustParsePrefix("192.168.1.10/32"), netip.MustParsePrefix("192.168.1.64/26")}, MAC: []MAC{{0, 0x11, 0x22, 0x33, 0x44, 0x55}},
			Destination: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Protocol: "udp", Ports: []PortRange{{53, 53}, {6000, 6100}},
			Mark: Mark{0x10, 0xff}, Exit: "us", Fallback: FallbackNone},
		{Mark: Mark{16, 0xffffffff}, Exit: "default", Fallback: FallbackDefault},
	}
	if !reflect.DeepEqual(ruled.Rules, rules) || !reflect.DeepEqual(ruled.Ruled(), []int{1}) {
		t.Errorf("got  %+v, exits %v\nwant %+v", ruled.Rules, ruled.Ruled(), rules)
	}
	for _, line := range []string{"us: for its rules, and proxies of its own, only", "port 53, 6000-6100, mark 0x10/0xff: by us, or refused", "mark 0x10: by the default exit"} {
		if !strings.Contains(ruled.Describe(), line) {
			t.Errorf("no %q in\n%s", line, ruled.Describe())
		}
	}
	if one := read(t, `role = "gateway"`, `[[exit]]`, `address = "192.0.2.1"`, `key = "`+keyA+`"`, `socks = "127.0.0.1:1080"`); one.Exit.Title() != "exit" || one.Others != nil ||
		one.OwnTUN() != nil {
		t.Errorf("one [[exit]] is %+v", one.Exits())
	}
}
