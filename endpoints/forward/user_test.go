package forward

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

var realNetwork = Network{
	ListenUDP: udp.Listen,
	ListenTCP: func(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, "tcp", at.String())
	},
	DialTCP: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", to.String())
	},
}

// echoServer answers on TCP and UDP of one port of the loopback.
func echoServer(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp4", l.Addr().String())
	if err != nil {
		t.Skipf("the port is taken for UDP: %v", err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	serveEcho(l, u)
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// serveEcho answers until both are closed.
func serveEcho(l net.Listener, u net.PacketConn) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			u.WriteTo(b[:n], from)
		}
	}()
}

// freePort is a port that was free for both a moment ago.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func open(t *testing.T, c Config) *Relay {
	t.Helper()
	r, err := Open(t.Context(), c, realNetwork)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// askUDP sends a datagram and returns whether it came back within the time.
func askUDP(t *testing.T, c net.Conn, within time.Duration) bool {
	t.Helper()
	c.Write([]byte("hello"))
	c.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 100)
	n, err := c.Read(b)
	return err == nil && string(b[:n]) == "hello"
}

func dialUDP(t *testing.T, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("udp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const patience = 10 * time.Second

func TestRelayPassesBoth(t *testing.T) {
	r := open(t, Config{Listen: freePort(t), To: echoServer(t), Flows: 10, PerSource: 10})
	for range 3 {
		c := dialUDP(t, r.cfg.Listen)
		for range 2 {
			if !askUDP(t, c, patience) {
				t.Fatal("UDP does not come back")
			}
		}
	}
	c, err := net.Dial("tcp4", r.cfg.Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() { c.Write(text); c.(*net.TCPConn).CloseWrite() }()
	c.SetDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, text) {
		t.Errorf("TCP: %d bytes came back of %d, %v", len(got), len(text), err)
	}
	if s := r.Stats(); s.Flows != 3 || s.Refused != 0 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRelayHasBounds(t *testing.T) {
	r := open(t, Config{Listen: freePort(t), To: echoServer(t), Flows: 10, PerSource: 2})
	first := dialUDP(t, r.cfg.Listen)
	for _, c := range []net.Conn{first, dialUDP(t, r.cfg.Listen)} {
		if !askUDP(t, c, patience) {
			t.Fatal("within the bounds it does not come back")
		}
	}
	if askUDP(t, dialUDP(t, r.cfg.Listen), 50*time.Millisecond) {
		t.Error("a third flow of one source passes")
	}
	if s := r.Stats(); s.Flows != 2 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	if !askUDP(t, first, patience) {
		t.Error("the first flow suffers from it")
	}
	for i := range 3 {
		c, err := net.Dial("tcp4", r.cfg.Listen.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		c.Write([]byte("x"))
		if n, _ := c.Read(make([]byte, 1)); (n == 1) != (i < 2) {
			t.Errorf("connection %d: %d bytes came back", i, n)
		}
	}
}

// Another target: what went to the old one ends, what comes goes to the new one.
func TestRelayIsRetargeted(t *testing.T) {
	old, next := echoServer(t), echoServer(t)
	r := open(t, Config{Listen: freePort(t), To: old, Flows: 10, PerSource: 10})
	c := dialUDP(t, r.cfg.Listen)
	if !askUDP(t, c, patience) {
		t.Fatal("UDP does not come back")
	}
	tcp, err := net.Dial("tcp4", r.cfg.Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcp.SetDeadline(time.Now().Add(patience))
	tcp.Write([]byte("x"))
	if _, err := tcp.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Retarget(next)
	if _, err := tcp.Read(make([]byte, 1)); err == nil {
		t.Error("a connection to the old target goes on")
	}
	if !askUDP(t, c, patience) {
		t.Error("UDP does not come back from the new target")
	}
	r.mu.Lock()
	for _, f := range r.flows {
		if f.to != next {
			t.Errorf("a flow goes to %v", f.to)
		}
	}
	r.mu.Unlock()
}

// What does not come from the target is not passed back.
func TestRelayPassesNobodyElse(t *testing.T) {
	r := open(t, Config{Listen: freePort(t), To: echoServer(t), Flows: 10, PerSource: 10})
	c := dialUDP(t, r.cfg.Listen)
	if !askUDP(t, c, patience) {
		t.Fatal("UDP does not come back")
	}
	r.mu.Lock()
	var port uint16
	for _, f := range r.flows {
		port = f.sock.LocalAddr().Port()
	}
	r.mu.Unlock()
	stranger := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
	stranger.Write([]byte("knock"))
	if !askUDP(t, c, patience) { // an answer in place of the knock
		t.Error("a stranger's datagram was passed back")
	}
}
