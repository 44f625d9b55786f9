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
	// An exit with proxies may be told to take over, and one without does.
	both := read(t, `role = "gateway"`, `[[exit]]`, `address = "192.0.2.1"`, `key = "`+keyA+`"`,
		`[[exit]]`, `address = "192.0.2.2"`, `key = "`+keyB+`"`, `http = "127.0.0.1:8080"`, `failover = true`)
	if both.Others[0].Apart || both.Others[0].Name != "exit2" {
		t.Errorf("told to take over: %+v", both.Others[0])
	}
	if one := read(t, `role = "gateway"`, `[[exit]]`, `address = "192.0.2.1"`, `key = "`+keyA+`"`); one.Exit.Title() != "exit" || one.Others != nil {
		t.Errorf("one [[exit]] is %+v", one.Exits())
	}
}
