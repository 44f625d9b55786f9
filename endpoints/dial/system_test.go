package dial

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

const patience = 5 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func newDialer(t *testing.T, o Options) *Dialer {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRealConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := TargetOf(l.Addr().(*net.TCPAddr).AddrPort())

	// The real list of own addresses closes the way to ourselves.
	if _, err := newDialer(t, Options{}).DialTarget(t.Context(), to); CodeOf(err) != Forbidden {
		t.Errorf("loopback: %v", err)
	}
	own, err := new(ownAddrs).get()
	if err != nil || len(own) == 0 {
		t.Fatalf("own addresses %v %v", own, err)
	}
	for _, a := range own {
		if _, err := newDialer(t, Options{}).DialTarget(t.Context(), Target{Addr: a, Port: to.Port}); CodeOf(err) != Forbidden {
			t.Errorf("own address %s: %v", a, err)
		}
	}

	d := newDialer(t, Options{Allow: loopback})
	c, err := d.DialTarget(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(far); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
	if _, ok := c.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn); !ok {
		t.Error("there is no TCP connection below")
	}
	c.Close()

	if c, err = d.DialTarget(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := c.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
		t.Error(err)
	}
	c.Close()
	far.SetDeadline(time.Now().Add(patience))
	if _, err := far.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after a reset: %v", err)
	}
	l.Close()
	if _, err := d.DialTarget(t.Context(), to); CodeOf(err) != Refused {
		t.Errorf("nobody listens: %v", err)
	}
	if got := d.Stats(); got.Open != 0 || got.Opened != 2 || got.Failed[Refused] != 1 {
		t.Errorf("%+v", got)
	}
}

// echo answers every datagram, from where it came in.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	go func() { // ends with the socket
		b := make([]byte, 2048)
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

func TestAssociation(t *testing.T) {
	server := echo(t)
	n := &network{names: map[string]record{"ip4 server.": {addrs: "10.0.0.1 127.0.0.1"}, "ip6 server.": {addrs: "::1"}, "ip6 private.": {addrs: "fd00::1"}}}
	d := newDialer(t, Options{Allow: loopback, MaxOpen: 1, Resolver: n})
	p, err := d.Associate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Associate(t.Context()); CodeOf(err) != Busy {
		t.Errorf("a second one: %v", err)
	}
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2048)
	// By address, by a name that is new, and by the same one once it is known.
	for i, to := range []Target{TargetOf(server), {Host: "server", Port: server.Port()}, {Host: "server", Port: server.Port()}} {
		msg := []byte{byte(i)}
		if n, err := p.WriteTo(msg, to); n != 1 || err != nil {
			t.Fatalf("%s: %d %v", to, n, err)
		}
		got, from, err := p.ReadFrom(b)
		if err != nil || got != 1 || b[0] != byte(i) || from != TargetOf(server) {
			t.Fatalf("%s: %d bytes from %s, %v", to, got, from, err)
		}
	}
	for _, to := range []Target{{Addr: netip.MustParseAddr("10.0.0.1"), Port: 53}, {Addr: netip.MustParseAddr("::ffff:10.0.0.1"), Port: 53}} {
		if _, err := p.WriteTo([]byte("x"), to); CodeOf(err) != Forbidden {
			t.Errorf("%s: %v", to, err)
		}
	}
	for host, want := range map[string]Code{"private": Forbidden, "nosuch": NoSuchName} {
		for deadline := time.Now().Add(patience); ; { // the first ones are dropped silently
			_, err := p.WriteTo([]byte("x"), Target{Host: host, Port: 53})
			if CodeOf(err) == want {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s: %v, want %v", host, err, want)
			}
			<-time.After(time.Millisecond)
		}
	}
	if _, err := p.WriteTo([]byte("x"), Target{Host: "a b", Port: 53}); CodeOf(err) != NoSuchName {
		t.Errorf("no name: %v", err)
	}

	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	for _, to := range []Target{TargetOf(server), {Host: "later", Port: 1}} {
		if _, err := p.WriteTo([]byte("x"), to); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to %s after Close: %v", to, err)
		}
	}
	p.Close()
	if got := d.Stats(); got.Open != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWhatComesFromClosedPlacesIsDropped(t *testing.T) {
	d := newDialer(t, Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	p, err := d.Associate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	port := p.(*packets).sock.LocalAddr().(*net.UDPAddr).Port
	for _, from := range []byte{1, 2} { // the first is not allowed
		s, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, from)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Skip(err)
		}
		defer s.Close()
		if _, err := s.Write([]byte{from}); err != nil {
			t.Fatal(err)
		}
	}
	p.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 10)
	if n, from, err := p.ReadFrom(b); err != nil || n != 1 || b[0] != 2 {
		t.Errorf("%d bytes from %s: %v", n, from, err)
	}
}

func TestNamesOfAnAssociationAreBounded(t *testing.T) {
	n := &network{names: map[string]record{}}
	d := newDialer(t, Options{Resolver: n})
	pc, err := d.Associate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := pc.(*packets)
	name := func(i int) string { return "n" + string(rune('a'+i/26)) + string(rune('a'+i%26)) }
	known := func() (names, waiting int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.names {
			waiting += len(e.waiting)
		}
		return len(p.names), waiting
	}
	for i := range 26 * 26 { // answered sooner or later
		pc.WriteTo([]byte("x"), Target{Host: name(i), Port: 53})
		if names, _ := known(); names > maxNames {
			t.Fatalf("%d names", names)
		}
	}
	pc.Close()

	// None is ever answered.
	for i := range 26 * 26 {
		for _, network := range []string{"ip4 ", "ip6 "} {
			n.names[network+name(i)+"."] = record{after: time.Hour}
		}
	}
	pc, err = d.Associate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p = pc.(*packets)
	for i := range 26 * 26 {
		for range maxWaiting + 3 {
			if n, err := pc.WriteTo([]byte("x"), Target{Host: name(i), Port: 53}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
	}
	if names, waiting := known(); names != maxNames || waiting != maxNames*maxWaiting {
		t.Errorf("%d names, %d datagrams wait", names, waiting)
	}
	pc.Close()
}
