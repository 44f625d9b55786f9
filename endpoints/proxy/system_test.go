package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// startReal starts a server with a real dialer and returns its address.
func startReal(t *testing.T, p Protocol, o dial.Options) string {
	t.Helper()
	d, err := dial.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(Config{Dialer: d})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := d.Stats().Open; got != 0 {
			t.Errorf("%d connections of the dialer are left", got)
		}
	})
	return l.Addr().String()
}

// TestTheStandardClient lets net/http go through both, with TLS, which sends
// first.
func TestTheStandardClient(t *testing.T) {
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello from "+r.URL.Path)
	}))
	defer web.Close()
	for p, scheme := range map[Protocol]string{SOCKS5: "socks5", HTTPConnect: "http"} {
		transport := web.Client().Transport.(*http.Transport).Clone()
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: scheme, Host: startReal(t, p, dial.Options{Allow: loopback})})
		client := http.Client{Transport: transport, Timeout: patience}
		resp, err := client.Get(web.URL + "/here")
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "hello from /here" || err != nil {
			t.Errorf("%s: %q %v", p, b, err)
		}
		transport.CloseIdleConnections()

		transport.Proxy = http.ProxyURL(&url.URL{Scheme: scheme, Host: startReal(t, p, dial.Options{})})
		_, err = client.Get(web.URL)
		if want := map[Protocol]string{SOCKS5: "not allowed", HTTPConnect: "Forbidden"}[p]; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s to a closed place: %v, want %q", p, err, want)
		}
	}
}

func connectTo(t *testing.T, at string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func TestResetsComeThrough(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := startReal(t, HTTPConnect, dial.Options{Allow: loopback})
	for _, fromClient := range []bool{true, false} {
		c := connectTo(t, at)
		io.WriteString(c, "CONNECT "+l.Addr().String()+" HTTP/1.0\r\n\r\nearly")
		target, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		target.SetDeadline(time.Now().Add(patience))
		expect(t, target, "early")
		expect(t, c, okHTTP)
		one, other := net.Conn(c), target
		if !fromClient {
			one, other = target, c
		}
		one.(*net.TCPConn).SetLinger(0)
		one.Close()
		wantEnd(t, other, syscall.ECONNRESET)
	}
	// A client that resets while it waits ends the dial: nothing is left open
	// when the server's cleanup looks.
	l.Close()
	c := connectTo(t, at)
	io.WriteString(c, "CONNECT "+l.Addr().String()+" HTTP/1.0\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("nobody listens: %+v %v", resp, err)
	}
}

// TestTheAnswerComesBeforeTheEnd leaves bytes unread at the server, whose close
// would then be a reset.
func TestTheAnswerComesBeforeTheEnd(t *testing.T) {
	c := connectTo(t, startReal(t, HTTPConnect, dial.Options{}))
	io.WriteString(c, "POST / HTTP/1.0\r\n\r\n"+strings.Repeat("x", 5000))
	if got := all(t, c); !strings.HasPrefix(got, "HTTP/1.1 405 ") {
		t.Errorf("got %q", got)
	}
}

// udpEcho answers every datagram with itself.
func udpEcho(t *testing.T) netip.AddrPort {
	t.Helper()
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	go func() { // ends with the socket
		b := make([]byte, 65536)
		for {
			n, from, err := s.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			s.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return s.LocalAddr().(*net.UDPAddr).AddrPort()
}

// names answers all look-ups with loopback.
type names struct{}

func (names) LookupNetIP(_ context.Context, network, _ string) ([]netip.Addr, error) {
	if network == "ip6" {
		return nil, &net.DNSError{IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func TestAssociate(t *testing.T) {
	echo := udpEcho(t)
	at := startReal(t, SOCKS5, dial.Options{Allow: loopback, Resolver: names{}})
	open := func(port uint16) (*net.TCPConn, netip.AddrPort) {
		c := connectTo(t, at)
		io.WriteString(c, "\x05\x01\x00")
		expect(t, c, "\x05\x00")
		c.Write(appendAddress([]byte{5, commandAssociate, 0}, Target{Addr: netip.IPv4Unspecified(), Port: port}))
		var b [10]byte
		if _, err := io.ReadFull(c, b[:]); err != nil || b[1] != 0 || b[3] != addressIPv4 {
			t.Fatalf("%x %v", b, err)
		}
		return c, netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[8])<<8|uint16(b[9]))
	}
	socket := func(from string, to netip.AddrPort) *net.UDPConn {
		u, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
		u.SetDeadline(time.Now().Add(patience))
		return u
	}
	big := strings.Repeat("x", 60_000)
	exchange := func(u *net.UDPConn, to Target, payload string) {
		t.Helper()
		if _, err := u.Write(append(appendDatagramHeader(nil, to), payload...)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 65536)
		n, err := u.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		from, got, err := parseDatagram(b[:n])
		if err != nil || string(got) != payload || from != dial.TargetOf(echo) {
			t.Errorf("%.20q from %s, %v, want %.20q from %s", got, from, err, payload, echo)
		}
	}

	c, relay := open(0)
	u := socket("127.0.0.1:0", relay)
	// What comes from another address is dropped, and what is no datagram for us.
	socket("127.0.0.2:0", relay).Write(append(appendDatagramHeader(nil, dial.TargetOf(echo)), "stranger"...))
	for _, junk := range []string{"", "\x00", "\x00\x00\x01\x01\x7f\x00\x00\x01\x00\x01x", "\x00\x00\x00\x09xxxxxx"} {
		u.Write([]byte(junk))
	}
	exchange(u, dial.TargetOf(echo), "hello")
	exchange(u, Target{Host: "echo.example", Port: echo.Port()}, "by name")
	exchange(u, dial.TargetOf(echo), "")
	exchange(u, dial.TargetOf(echo), big)
	// Another port of the same address is another program.
	socket("127.0.0.1:0", relay).Write(append(appendDatagramHeader(nil, dial.TargetOf(echo)), "stranger"...))
	u.Write(append(appendDatagramHeader(nil, target("10.0.0.1:53")), "forbidden"...))
	exchange(u, dial.TargetOf(echo), "again")

	// The association lives as long as its connection.
	c.CloseWrite()
	wantEnd(t, c, io.EOF)
	for deadline := time.Now().Add(patience); ; {
		if _, err := u.Write([]byte("x")); errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the socket of the association is still open")
		}
	}

	// A client that says where it will send from.
	mine := socket("127.0.0.1:0", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 9))
	here := mine.LocalAddr().(*net.UDPAddr).AddrPort()
	mine.Close()
	_, relay = open(here.Port())
	socket("127.0.0.1:0", relay).Write(append(appendDatagramHeader(nil, dial.TargetOf(echo)), "stranger"...))
	exchange(socket(here.String(), relay), dial.TargetOf(echo), "mine")
}

func TestAbortFindsTheSocket(t *testing.T) {
	a, b := tcpPair(t)
	if err := Abort(&ahead{Conn: &ahead{Conn: b}}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, a, syscall.ECONNRESET)
	var closed bytes.Buffer
	if err := Abort(plain{&closed}); err != nil || closed.String() != "closed" {
		t.Errorf("%v %q", err, closed.String())
	}
}

// plain is a stream that knows of no reset.
type plain struct{ log *bytes.Buffer }

func (p plain) Close() error                  { p.log.WriteString("closed"); return nil }
func (plain) Read([]byte) (int, error)        { return 0, io.EOF }
func (plain) Write([]byte) (int, error)       { return 0, io.EOF }
func (plain) LocalAddr() net.Addr             { return nil }
func (plain) RemoteAddr() net.Addr            { return nil }
func (plain) SetDeadline(time.Time) error     { return nil }
func (plain) SetReadDeadline(time.Time) error { return nil }
func (plain) SetWriteDeadline(time.Time) error {
	return nil
}
