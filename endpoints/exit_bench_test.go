package endpoints

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
)

// benchExit is a target on loopback that lets the given network ask.
func benchExit(t *testing.T, who string) *benchTarget {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := serveBench(ln, netip.MustParsePrefix(who))
	t.Cleanup(b.close)
	return b
}

func askBench(t *testing.T, b *benchTarget, line string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", b.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func TestBenchTargetSendsAndSwallows(t *testing.T) {
	b := benchExit(t, "127.0.0.1/8")
	if n, err := io.Copy(io.Discard, askBench(t, b, "down 1\n")); n < benchChunk || err != nil {
		t.Errorf("down: %d bytes, %v", n, err)
	}
	c := askBench(t, b, "up 1\n")
	if _, err := c.Write(make([]byte, 200_000)); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	var n, ms int64
	if _, err := fmt.Fscanf(bufio.NewReader(c), "%d %d\n", &n, &ms); n != 200_000 || err != nil {
		t.Errorf("up: it says %d bytes, %v", n, err)
	}
	for _, line := range []string{"down 61\n", "down 0\n", "sideways 1\n", "down\n"} {
		if n, _ := io.Copy(io.Discard, askBench(t, b, line)); n != 0 {
			t.Errorf("%q is answered with %d bytes", line, n)
		}
	}
}

func TestBenchTargetIsForGatewaysAlone(t *testing.T) {
	b := benchExit(t, "10.1.0.1/24")
	c, err := net.Dial("tcp", b.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "down 1\n") // may fail: it is closed at once
	if n, _ := io.Copy(io.Discard, c); n != 0 {
		t.Errorf("a stranger is sent %d bytes", n)
	}
}

func TestBenchTargetIsBounded(t *testing.T) {
	b := benchExit(t, "127.0.0.1/8")
	var held []*net.TCPConn
	for range benchFlows {
		c := askBench(t, b, "down 5\n")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if n, _ := io.Copy(io.Discard, askBench(t, b, "down 1\n")); n != 0 {
		t.Errorf("one more than %d is sent %d bytes", len(held), n)
	}
}

// refusing is a dialer that reaches nothing.
type refusing struct{}

func (refusing) DialTarget(_ context.Context, t dial.Target) (dial.Conn, error) {
	return nil, &dial.Error{Code: dial.Forbidden, Target: t.String()}
}

func TestStreamsReachTheBenchTargetAndNothingElse(t *testing.T) {
	b := benchExit(t, "127.0.0.1/8")
	at := netip.MustParseAddrPort("10.1.0.1:7119")
	d := benchDialer{refusing{}, at, &exitStreams{bench: b}}
	c, err := d.DialTarget(t.Context(), dial.Target{Addr: at.Addr(), Port: at.Port()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "down 1\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); n < benchChunk || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	c.Close()
	for _, other := range []dial.Target{{Addr: at.Addr(), Port: at.Port() + 1}, {Addr: netip.MustParseAddr("10.1.0.2"), Port: at.Port()}, {Host: "10.1.0.1", Port: at.Port()}} {
		if c, err := d.DialTarget(t.Context(), other); err == nil {
			c.Close()
			t.Errorf("%v is reached", other)
		}
	}
}
