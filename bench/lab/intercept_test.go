package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	testOps = map[string]operation{
		"test.connect":   op(testConnect),
		"test.associate": op(testAssociate),
		"test.echo":      op(testEcho),
		"test.whom":      op(testWhom),
		"test.ask":       op(testAsk),
		"test.resolver":  op(testResolver),
		"test.resolve":   op(testResolve),
	}
}

// testConnect connects and reads, and tells how that went: "" when bytes or the end came.
func testConnect(ctx context.Context, to netip.AddrPort) (string, error) {
	say := func(what string, err error) (string, error) {
		for text, code := range map[string]error{"refused": unix.ECONNREFUSED, "no route": unix.EHOSTUNREACH, "reset": unix.ECONNRESET} {
			if errors.Is(err, code) {
				return what + ": " + text, nil
			}
		}
		return what + ": " + err.Error(), nil
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return say("connect", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != nil && err != io.EOF {
		return say("read", err)
	}
	return "", nil
}

type associateArgs struct {
	Proxy, To netip.AddrPort
}

// testAssociate sends a datagram through a SOCKS5 proxy and returns what comes back.
func testAssociate(_ context.Context, a associateArgs) (string, error) {
	c, err := net.DialTimeout("tcp", a.Proxy.String(), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
	reply := make([]byte, 12)
	if _, err := io.ReadFull(c, reply); err != nil || reply[3] != 0 {
		return "", fmt.Errorf("the proxy says %x, %v", reply, err)
	}
	relay := netip.AddrPortFrom(netip.AddrFrom4([4]byte(reply[6:10])), uint16(reply[10])<<8|uint16(reply[11]))
	u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		return "", err
	}
	defer u.Close()
	head := append([]byte{0, 0, 0, 1}, a.To.Addr().AsSlice()...)
	if a.To.Addr().Is6() {
		head[3] = 4
	}
	head = append(head, byte(a.To.Port()>>8), byte(a.To.Port()))
	buf := make([]byte, 1500)
	for range 10 { // a datagram may be lost
		if _, err := u.Write(append(head, "hello"...)); err != nil {
			return "", err
		}
		u.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if n, err := u.Read(buf); err == nil {
			return string(buf[min(n, len(head)):n]), nil
		}
	}
	return "", errors.New("nothing has come back through the relay at " + relay.String())
}

// testEcho answers datagrams at a port with their sender's address, until the host ends.
func testEcho(_ context.Context, port int) (struct{}, error) {
	u, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return struct{}{}, err
	}
	go func() { // ends with the process
		b := make([]byte, 1500)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort(fmt.Appendf(nil, "%s from %s", b[:n], from.Addr().Unmap()), from)
		}
	}()
	return struct{}{}, nil
}

// TestInterception is what the interception and the proxies promise, through both daemons on real kernels: connections of the LAN and of the
// gateway itself, IPv6 where the exit has it, refusals that look like what they are, and datagrams of SOCKS clients.
func TestInterception(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true, Mode: "auto", Extra: "[stream]\nmode = \"bond\"\nsocks = [\"192.168.77.1:1080\"]\n"})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(l.Explain(err))
		}
	}
	// The exit reaches the world by IPv6 as well.
	exit6, server6 := "2001:db8:518::1", netip.MustParseAddr("2001:db8:518::2")
	must(l.Exit.net(ctx, addr(serverIf, exit6+"/64"), netStep{Do: "route", Addr: "::/0", Via: server6.String()}))
	must(l.Server.net(ctx, addr(serverIf, server6.String()+"/64")))
	must(l.StartBond(ctx))
	must(l.WaitStreams(ctx, 2*time.Second))
	opened := func() uint64 {
		t.Helper()
		st, err := l.Status(ctx, l.Gateway)
		must(err)
		return st.Streams.Opened
	}
	fetch := func(what string, from *Host, server netip.Addr) {
		t.Helper()
		before := opened()
		var f Fetches
		must(from.call(ctx, "tcp.fetch", FetchSpec{Server: server, Bytes: 20_000, Count: 2, Every: time.Millisecond, Timeout: 5 * time.Second}, &f))
		must(f.Err())
		if n := opened() - before; n != 2 {
			t.Errorf("%s: %d of 2 connections went as streams", what, n)
		}
	}
	fetch("the LAN", l.LAN, Server4)
	fetch("the gateway itself", l.Gateway, Server4)
	if haveIPv6() {
		fetch("the LAN, IPv6", l.LAN, server6)
	}

	connect := func(to string) (how string) {
		t.Helper()
		must(l.LAN.call(ctx, "test.connect", netip.MustParseAddrPort(to), &how))
		return how
	}
	// A port that refuses and a network that is not there: a reset first, the truth from then on. And what the exit does not allow.
	for to, want := range map[string][2]string{
		"198.18.1.2:9": {"reset", "connect: refused"},
		"192.0.2.1:80": {"reset", "connect: no route"},
		"198.18.1.1:9": {"reset", "reset"}, // the exit itself
	} {
		if how := connect(to); !strings.HasSuffix(how, want[0]) {
			t.Errorf("%s, the first time: %q, want %q", to, how, want[0])
		}
		var how string
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); { // the kernel is told behind the reset
			if how = connect(to); strings.HasSuffix(how, want[1]) {
				break
			}
		}
		if !strings.HasSuffix(how, want[1]) {
			t.Errorf("%s, again: %q, want %q", to, how, want[1])
		}
	}

	must(l.Server.call(ctx, "test.echo", 7000, nil))
	var answer string
	must(l.LAN.call(ctx, "test.associate", associateArgs{netip.MustParseAddrPort("192.168.77.1:1080"), netip.MustParseAddrPort("198.18.1.2:7000")}, &answer))
	if answer != "hello from 198.18.1.1" {
		t.Errorf("through the proxy came %q; the exit is 198.18.1.1", answer)
	}
	must(l.StopBond(ctx))
}
