package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestPolicy(t *testing.T) {
	closedOnes := []string{
		"127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
		"169.254.169.254", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "192.0.0.192", "198.51.100.1",
		"::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "2001:db8::1%eth0", "fec0::1", "fc00::1", "fdff::1", "ff02::1", "64:ff9b:1::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:198.51.100.1", "::ffff:0.0.0.0",
		"64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "::ffff:0:192.168.0.1", "2002:7f00:1::1", "2002:c0a8:1::", "64:ff9b::198.51.100.1",
	}
	openOnes := []string{
		"192.0.2.1", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "198.51.100.2", "9.255.255.255", "11.0.0.1",
		"223.255.255.255", "169.253.0.1", "::ffff:192.0.2.1", "2001:db8::1", "2606:4700::1111", "64:ff9b::192.0.2.1", "2002:c000:201::1", "fe00::1", "1::",
	}
	n := &network{}
	d := n.dialer(t, Options{})
	try := func(d *Dialer, a string) error {
		c, err := d.DialTarget(t.Context(), Target{Addr: netip.MustParseAddr(a), Port: 80})
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, a := range closedOnes {
		if err := try(d, a); CodeOf(err) != Forbidden {
			t.Errorf("%s: %v, want forbidden", a, err)
		}
	}
	if len(n.log) != 0 {
		t.Errorf("connected to %v", n.log)
	}
	for _, a := range openOnes {
		if err := try(d, a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}

	d = n.dialer(t, Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("fd00::/16")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
	})
	for a, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "127.0.0.1": true, "198.51.100.1": true, "fd00::1": true,
		"10.9.1.1": false, "127.0.0.2": false, "192.0.2.1": false, "::ffff:192.0.2.1": false, "64:ff9b::192.0.2.1": false, "2001:db8::1": false, "fd01::1": false,
	} {
		if err := try(d, a); (err == nil) != want || err != nil && CodeOf(err) != Forbidden {
			t.Errorf("%s: %v", a, err)
		}
	}

	unknown := n.dialer(t, Options{Own: func() ([]netip.Addr, error) { return nil, errors.New("no answer") }})
	if err := try(unknown, "192.0.2.1"); CodeOf(err) != Forbidden {
		t.Errorf("own addresses unknown: %v", err)
	}
}

func TestNamesAreCheckedByTheirAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{names: map[string]record{
			"ip4 rebind.":    {addrs: "127.0.0.1 169.254.169.254"},
			"ip6 rebind.":    {addrs: "::1 ::ffff:10.0.0.1 fd00::1"},
			"ip4 half.":      {addrs: "10.0.0.1 192.0.2.1"},
			"ip6 localhost.": {addrs: "::1"},
		}}
		d := n.dialer(t, Options{})
		for _, host := range []string{"rebind", "localhost", "127.0.0.1", "::1", "rebind."} {
			if _, err := d.DialTarget(t.Context(), name(host)); CodeOf(err) != Forbidden {
				t.Errorf("%s: %v", host, err)
			} else {
				t.Log(err)
			}
		}
		if len(n.log) != 0 {
			t.Errorf("connected: %v", n.log)
		}
		c, err := d.DialTarget(t.Context(), name("half"))
		if err != nil || len(n.log) != 1 || !strings.HasSuffix(n.log[0], " 192.0.2.1:443") {
			t.Fatalf("%v %v", err, n.log)
		}
		c.Close()
	})
}

func TestWhatIsNoTarget(t *testing.T) {
	n := &network{}
	d := n.dialer(t, Options{Rate: 1, Burst: 1})
	for _, bad := range []Target{
		{}, name(""), name("."), name("a..b"), name(".a"), name(strings.Repeat("a", 64)), name(strings.Repeat("a.", 127) + "aa"),
		name("a b"), name("a\x00b"), name("b\u00fccher"), name("[::1]"), name("127.1"), name("2130706433"), name("0x7f000001"), name("a.0x"), name("1.2.3.4.5"),
		{Host: "example.org"}, {Addr: netip.MustParseAddr("192.0.2.1")},
	} {
		if _, err := d.DialTarget(t.Context(), bad); CodeOf(err) != NoSuchName {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"a", "a.", "xn--bcher-kva.example", "_srv._tcp.example.org", "3com.com", "0x7f.example", "1.2.3.4.5a", strings.Repeat("a.", 126) + "a"} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	if s := (Target{Addr: netip.MustParseAddr("2001:db8::1"), Host: "x", Port: 1}).String(); s != "[2001:db8::1]:1" {
		t.Error(s)
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		d := n.dialer(t, Options{MaxOpen: 3, Rate: 2, Burst: 4})
		var open []Conn
		try := func() error {
			c, err := d.DialTarget(t.Context(), addr("192.0.2.1:80"))
			if err == nil {
				open = append(open, c)
			}
			return err
		}
		drop := func() {
			open[0].Close()
			open[0].Close() // counts once
			open = open[1:]
		}
		for range 3 {
			if err := try(); err != nil {
				t.Fatal(err)
			}
		}
		err := try()
		if CodeOf(err) != Busy || !strings.Contains(err.Error(), "3 connections open") {
			t.Errorf("a fourth one: %v", err)
		}
		drop()
		if err := try(); err != nil { // and the bucket is empty
			t.Error(err)
		}
		drop()
		err = try()
		if CodeOf(err) != Busy || !strings.Contains(err.Error(), "2 connections a second") {
			t.Errorf("too fast: %v", err)
		}
		t.Log(err)
		time.Sleep(500 * time.Millisecond)
		if err := try(); err != nil {
			t.Error(err)
		}
		drop()
		if err := try(); CodeOf(err) != Busy {
			t.Errorf("only one per half second: %v", err)
		}
		time.Sleep(time.Hour)
		for range 10 { // not more than the burst after a rest
			if err := try(); err == nil {
				drop()
			}
		}
		if got := d.Stats(); got.Opened != 3+1+1+4 || got.Failed[Busy] != 1+1+1+6 || got.Open != 2 {
			t.Errorf("%+v", got)
		}
		if err := d.Update(Options{MaxOpen: 1, Resolver: n, connect: n.connect}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := try(); CodeOf(err) != Busy {
			t.Errorf("after a lower limit: %v", err)
		}
		for len(open) > 0 {
			drop()
		}
		if err := try(); err != nil || d.Stats().Open != 1 {
			t.Errorf("%v %+v", err, d.Stats())
		}
		drop()
	})
	for _, o := range []Options{{MaxOpen: -1}, {Rate: -1}, {Burst: 0.5}, {Timeout: -1}, {Allow: []netip.Prefix{{}}}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v accepted", o)
		}
	}
}

func TestCodeOf(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, c := range []struct {
		err  error
		want Code
	}{
		{op(syscall.ECONNREFUSED), Refused}, {op(syscall.EHOSTUNREACH), Unreachable}, {op(syscall.ENETUNREACH), Unreachable},
		{op(syscall.ETIMEDOUT), Timeout}, {op(syscall.EMFILE), Busy}, {op(syscall.EACCES), Unreachable}, {op(syscall.EPROTO), Failed},
		{context.DeadlineExceeded, Timeout}, {context.Canceled, Canceled}, {errors.New("x"), Failed}, {nil, Failed},
		{&net.DNSError{IsNotFound: true}, NoSuchName}, {&net.DNSError{IsTimeout: true}, Timeout}, {&net.DNSError{}, Failed},
		{fmt.Errorf("stream: %w", &Error{Code: Forbidden}), Forbidden},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	var all []string
	for c := range Code(Codes) {
		all = append(all, c.String())
	}
	if slices.Contains(all, "") || Code(99).String() != "failed with code 99" {
		t.Error(all)
	}
	// A peer may send any code.
	if better(&Error{Code: 200}, &Error{Code: Refused}).(*Error).Code != Refused {
		t.Error("an unknown code is no better than a refusal")
	}
}
