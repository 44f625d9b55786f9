package endpoints

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/bondd/bondd/endpoints/dial"
)

func addrTarget(s string) dial.Target { return dial.TargetOf(netip.MustParseAddrPort(s)) }

func TestTargetSurvives(t *testing.T) {
	for _, c := range []struct {
		give, want dial.Target
		bytes      string
	}{
		{addrTarget("192.0.2.1:443"), addrTarget("192.0.2.1:443"), "\x04\x00\x01\xbb\xc0\x00\x02\x01"},
		{addrTarget("[2001:db8::1]:80"), addrTarget("[2001:db8::1]:80"), "\x06\x00\x00\x50\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
		{dial.Target{Addr: netip.MustParseAddr("::ffff:192.0.2.1"), Port: 1}, addrTarget("192.0.2.1:1"), "\x04\x00\x00\x01\xc0\x00\x02\x01"},
		{dial.Target{Host: "192.0.2.1", Port: 1}, addrTarget("192.0.2.1:1"), "\x04\x00\x00\x01\xc0\x00\x02\x01"},
		{dial.Target{Host: "example.org", Port: 65535}, dial.Target{Host: "example.org", Port: 65535}, "\x00\x00\xff\xffexample.org"},
	} {
		b, err := appendTarget(nil, c.give)
		if err != nil || string(b) != c.bytes {
			t.Errorf("%v is written %q, %v; want %q", c.give, b, err, c.bytes)
		}
		if got, err := parseTarget(b); err != nil || got != c.want {
			t.Errorf("%q is read as %v, %v; want %v", b, got, err, c.want)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, c := range []dial.Target{
		{}, {Host: "example.org"}, {Host: "a b", Port: 1}, {Host: strings.Repeat("a.", 200), Port: 1}, {Host: "1.2.3", Port: 1},
		{Addr: netip.MustParseAddr("fe80::1%eth0"), Port: 1}, {Addr: netip.MustParseAddr("192.0.2.1")},
	} {
		if b, err := appendTarget(nil, c); err == nil {
			t.Errorf("%v is written %q, want an error", c, b)
		}
	}
	for _, s := range []string{
		"", "\x04\x00\x01\xbb", "\x04\x00\x00\x00\xc0\x00\x02\x01", "\x04\x01\x01\xbb\xc0\x00\x02\x01", "\x04\x00\x01\xbb\xc0\x00\x02",
		"\x04\x00\x01\xbb\xc0\x00\x02\x01\x00", "\x05\x00\x01\xbb\xc0\x00\x02\x01", "\x06\x00\x01\xbb\xc0\x00\x02\x01",
		"\x06\x00\x01\xbb\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01",
		"\x00\x00\x01\xbb192.0.2.1", "\x00\x00\x01\xbba b", "\x00\x00\x01\xbba..b", "\x00\x00\x01\xbb1.2", "\x00\x80\x01\xbbexample.org",
	} {
		if got, err := parseTarget([]byte(s)); err == nil {
			t.Errorf("%q is read as %v, want an error", s, got)
		}
	}
}

// What is read is written back the same, byte by byte.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"\x04\x00\x01\xbb\xc0\x00\x02\x01", "\x00\x00\xff\xffexample.org", "\x00\x00\x00\x01fe80::1%eth0"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		target, err := parseTarget(b)
		if err != nil {
			return
		}
		if again, err := appendTarget(nil, target); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is read as %v and written %q, %v", b, target, again, err)
		}
	})
}

func TestPortSurvives(t *testing.T) {
	b := appendPort(nil, 8443)
	if port, err := parsePort(b); err != nil || port != 8443 || string(b) != "\x01\x00\x20\xfb" {
		t.Errorf("%q is read as %d, %v", b, port, err)
	}
	for _, s := range []string{"", "\x01\x00\x20", "\x01\x01\x20\xfb", "\x04\x00\x20\xfb", "\x01\x00\x20\xfb\x00"} {
		if _, err := parsePort([]byte(s)); err == nil {
			t.Errorf("%q is read as a port", s)
		}
	}
	if _, err := parseTarget(b); err == nil {
		t.Error("an exit would take a port for an address")
	}
}
