package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/bondd/bondd/endpoints/dial"
)

func target(s string) Target {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return dial.TargetOf(ap)
	}
	t, err := parseAuthority(s)
	if err != nil {
		panic(err)
	}
	return t
}

var requests = []struct {
	in      string
	command byte
	target  Target
	reply   byte // of a *socksError; 0 if there is none
	short   bool
}{
	{"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb", 1, target("192.0.2.1:443"), 0, false},
	{"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", 3, Target{Addr: netip.IPv4Unspecified()}, 0, false},
	{"\x05\x01\x00\x03\x0bexample.org\x00\x50", 1, target("example.org:80"), 0, false},
	{"\x05\x01\x00\x03\x09192.0.2.1\x00\x50", 1, target("192.0.2.1:80"), 0, false},
	{"\x05\x01\x00\x03\x03::1\x00\x50", 1, target("[::1]:80"), 0, false},
	{"\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50", 1, target("[2001:db8::1]:80"), 0, false},
	{"\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01\x00\x50", 1, target("192.0.2.1:80"), 0, false},
	{"\x05\x02\x00\x01\xc0\x00\x02\x01\x01\xbb", 2, target("192.0.2.1:443"), replyNoCommand, false},
	{"\x05\x00\x00\x01\xc0\x00\x02\x01\x01\xbb", 0, target("192.0.2.1:443"), replyNoCommand, false},
	{"\x05\x01\x00\x02\xc0\x00\x02\x01\x01\xbb", 0, Target{}, replyNoAddressType, false},
	{"\x05\x01\x01\x01\xc0\x00\x02\x01\x01\xbb", 0, Target{}, replyFailed, false},
	{"\x04\x01\x00\x01\xc0\x00\x02\x01\x01\xbb", 0, Target{}, replyFailed, false},
	{"\x05\x01\x00\x03\x00\x00\x50", 1, Target{Port: 80}, replyHostUnreach, false},
	{"\x05\x01\x00\x03\x03a b\x00\x50", 1, Target{Port: 80}, replyHostUnreach, false},
	{"\x05\x01\x00\x03\x05127.1\x00\x50", 1, Target{Port: 80}, replyHostUnreach, false},
	{"\x05\x01\x00\x03\x0cfe80::1%eth0\x00\x50", 1, Target{Port: 80}, replyHostUnreach, false},
	{"\x05\x01\x00\x01\xc0\x00\x02\x01\x01", 0, Target{}, 0, true},
	{"\x05\x01\x00\x03", 0, Target{}, 0, true},
	{"\x05\x01", 0, Target{}, 0, true},
	{"", 0, Target{}, 0, true},
}

func TestReadRequest(t *testing.T) {
	for _, c := range requests {
		r := strings.NewReader(c.in + "not ours")
		if c.short {
			r = strings.NewReader(c.in)
		}
		command, got, err := readRequest(r)
		var wrong *socksError
		switch {
		case c.short:
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %v", c.in, err)
			}
			continue
		case c.reply != 0:
			if !errors.As(err, &wrong) || wrong.reply != c.reply {
				t.Errorf("%q: %v, want reply %d", c.in, err, c.reply)
			}
			continue
		}
		if err != nil || command != c.command || got != c.target {
			t.Errorf("%q: %d %v %v", c.in, command, got, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "not ours" {
			t.Errorf("%q: %q is left", c.in, rest)
		}
		if again := appendAddress([]byte(c.in)[:3:3], got); len(c.in) == len(again) && string(again) != c.in {
			t.Errorf("%q is written as %q", c.in, again)
		}
	}
}

func TestReadGreeting(t *testing.T) {
	for in, want := range map[string]bool{"\x05\x01\x00": true, "\x05\x03\x02\x01\x00": true, "\x05\x01\x02": false, "\x05\x00": false} {
		if ok, err := readGreeting(strings.NewReader(in)); ok != want || err != nil {
			t.Errorf("%q: %t %v", in, ok, err)
		}
	}
	for _, in := range []string{"", "\x05", "\x05\x02\x00", "\x04\x01\x00", "GET / HTTP/1.1\r\n"} {
		if _, err := readGreeting(strings.NewReader(in)); err == nil {
			t.Errorf("%q accepted", in)
		}
	}
}

func TestParseDatagram(t *testing.T) {
	for _, want := range []Target{target("192.0.2.1:53"), target("[2001:db8::1]:53"), target("example.org:53"), {Host: strings.Repeat("a.", 126) + "a", Port: 1}} {
		b := append(appendDatagramHeader(nil, want), "payload"...)
		if len(b) > socksDatagramHeader+7 {
			t.Errorf("%s: the header has %d bytes", want, len(b)-7)
		}
		got, payload, err := parseDatagram(b)
		if err != nil || got != want || string(payload) != "payload" {
			t.Errorf("%s: %s %q %v", want, got, payload, err)
		}
		for n := range len(b) - 7 {
			if _, _, err := parseDatagram(b[:n]); err == nil {
				t.Errorf("%s: %d bytes accepted", want, n)
			}
		}
		b[2] = 1
		if _, _, err := parseDatagram(b); !errors.Is(err, errFragment) {
			t.Errorf("a fragment: %v", err)
		}
	}
}

func TestParseHead(t *testing.T) {
	const host = "Host: x\r\n"
	for in, want := range map[string]string{
		"CONNECT example.org:443 HTTP/1.1\r\n" + host:                                         "example.org:443",
		"CONNECT example.org:443 HTTP/1.0\r\n":                                                "example.org:443",
		"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n" + host:                                       "[2001:db8::1]:443",
		"CONNECT 192.0.2.1:65535 HTTP/1.1\r\nhost:\r\n":                                       "192.0.2.1:65535",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "Proxy-Connection: \tkeep-alive\r\nX-\xff: y\r\n": "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "User-Agent: \xc3\xbc, any text\r\n":              "a:1",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "Content-Length: 0\r\n":                           "a:1",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "Content-Length: 5\r\n":                           "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n":                  "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + host:                                              "400",
		"CONNECT a:1 HTTP/1.1\r\n":                                                            "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + " folded\r\n":                                     "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "A : b\r\n":                                       "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "no colon\r\n":                                    "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "A: b\nC: d\r\n":                                  "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "A: b\rC: d\r\n":                                  "400",
		"CONNECT a:1 HTTP/1.1\r\n" + host + "A: \x00\r\n":                                     "400",
		"CONNECT  a:1 HTTP/1.1\r\n" + host:                                                    "400",
		"CONNECT a:1  HTTP/1.1\r\n" + host:                                                    "400",
		"CONNECT a:1 HTTP/1.1 \r\n" + host:                                                    "400",
		" CONNECT a:1 HTTP/1.1\r\n" + host:                                                    "400",
		"CONNECT a:1\r\n" + host:                                                              "400",
		"CONNECT a:1 HTTP/2.0\r\n" + host:                                                     "505",
		"CONNECT a:1 http/1.1\r\n" + host:                                                     "400",
		"PRI * HTTP/2.0\r\n":                                                                  "505",
		"GET http://example.org/ HTTP/1.1\r\n" + host:                                         "405",
		"connect a:1 HTTP/1.1\r\n" + host:                                                     "405",
		"CONNECT a HTTP/1.1\r\n" + host:                                                       "400",
		"CONNECT a: HTTP/1.1\r\n" + host:                                                      "400",
		"CONNECT :1 HTTP/1.1\r\n" + host:                                                      "400",
		"CONNECT a:0 HTTP/1.1\r\n" + host:                                                     "400",
		"CONNECT a:65536 HTTP/1.1\r\n" + host:                                                 "400",
		"CONNECT a:+1 HTTP/1.1\r\n" + host:                                                    "400",
		"CONNECT u@a:1 HTTP/1.1\r\n" + host:                                                   "400",
		"CONNECT http://a:1 HTTP/1.1\r\n" + host:                                              "400",
		"CONNECT 2001:db8::1:443 HTTP/1.1\r\n" + host:                                         "400",
		"CONNECT [192.0.2.1]:443 HTTP/1.1\r\n" + host:                                         "400",
		"CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\n" + host:                                    "400",
		"CONNECT [::1:443 HTTP/1.1\r\n" + host:                                                "400",
		"CONNECT 127.1:443 HTTP/1.1\r\n" + host:                                               "400",
	} {
		got, err := parseHead([]byte(in + "\r\n"))
		var wrong *httpError
		if errors.As(err, &wrong) {
			if code := map[int]string{400: "400", 405: "405", 505: "505"}[wrong.status]; code != want {
				t.Errorf("%q: %v, want %s", in, err, want)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("%q: %s %v, want %s", in, got, err, want)
		}
	}
}

func TestReadHead(t *testing.T) {
	const head = "CONNECT a:1 HTTP/1.0\r\n\r\n"
	for _, piece := range []int{1, 2, 3, 5, 100} {
		got, rest, err := readHead(&slow{strings.NewReader(head + "\x16early\r\n\r\n"), piece})
		left := (head + "\x16early\r\n\r\n")[len(got)+len(rest):]
		if err != nil || string(got) != head || string(rest)+left != "\x16early\r\n\r\n" {
			t.Errorf("by %d: %q %q %v", piece, got, rest, err)
		}
	}
	if _, _, err := readHead(strings.NewReader(head[:len(head)-1])); !errors.Is(err, io.EOF) {
		t.Errorf("unfinished: %v", err)
	}
	for in, want := range map[string]int{"\x16\x03\x01": 400, "\x05\x01\x00": 400, "G" + strings.Repeat("x", maxHead): 431} {
		_, _, err := readHead(io.MultiReader(strings.NewReader(in), failing{t}))
		var wrong *httpError
		if !errors.As(err, &wrong) || wrong.status != want {
			t.Errorf("%.5q: %v, want %d", in, err, want)
		}
	}
	long := "CONNECT a:1 HTTP/1.0\r\nX: " + strings.Repeat("y", maxHead-31) + "\r\n\r\n"
	if got, _, err := readHead(strings.NewReader(long)); err != nil || len(got) != len(long) || len(long) > maxHead {
		t.Errorf("%d of %d bytes, %v", len(got), len(long), err)
	}
}

// slow reads a few bytes at a time.
type slow struct {
	r io.Reader
	n int
}

func (s *slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

// failing must not be read.
type failing struct{ t *testing.T }

func (f failing) Read([]byte) (int, error) {
	f.t.Error("read on after what was wrong")
	return 0, io.EOF
}

func FuzzSOCKS(f *testing.F) {
	for _, c := range requests {
		f.Add([]byte("\x05\x01\x00" + c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		if _, err := readGreeting(r); err != nil {
			return
		}
		command, got, err := readRequest(r)
		if err != nil {
			return
		}
		if command != commandConnect && command != commandAssociate || got.Host == "" != got.Addr.IsValid() {
			t.Fatalf("command %d, target %+v", command, got)
		}
		_, again, err := readRequest(bytes.NewReader(appendAddress([]byte{5, 1, 0}, got)))
		if err != nil || again != got {
			t.Fatalf("%v, written and read: %v %v", got, again, err)
		}
	})
}

func FuzzDatagram(f *testing.F) {
	f.Add(append(appendDatagramHeader(nil, target("192.0.2.1:53")), "payload"...))
	f.Add(append(appendDatagramHeader(nil, target("[2001:db8::1]:53")), "payload"...))
	f.Add(append(appendDatagramHeader(nil, target("example.org:53")), "payload"...))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, payload, err := parseDatagram(in)
		if err != nil {
			return
		}
		again, same, err := parseDatagram(append(appendDatagramHeader(nil, got), payload...))
		if err != nil || again != got || !bytes.Equal(same, payload) {
			t.Fatalf("%v, written and read: %v %v", got, again, err)
		}
	})
}

func FuzzHTTP(f *testing.F) {
	f.Add([]byte("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nUser-Agent: x\r\n\r\nhello"))
	f.Add([]byte("CONNECT [::1]:1 HTTP/1.0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		head, rest, err := readHead(&slow{bytes.NewReader(in), 7})
		if err != nil {
			return
		}
		if !bytes.HasPrefix(in, append(bytes.Clone(head), rest...)) {
			t.Fatalf("%q is read as %q and %q", in, head, rest)
		}
		got, err := parseHead(head)
		if err != nil {
			return
		}
		again, err := parseAuthority(got.String())
		if err != nil || again != got {
			t.Fatalf("%v, written and read: %v %v", got, again, err)
		}
	})
}
