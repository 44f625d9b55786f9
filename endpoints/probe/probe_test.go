package probe

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := 0
	by := func(string, string, syscall.RawConn) error { asked++; return nil }
	if err := Ask(t.Context(), l.Addr().String(), by); err != nil || asked != 1 {
		t.Errorf("a listener: %v, the socket was controlled %d times", err, asked)
	}
	l.Close()
	if err := Ask(t.Context(), l.Addr().String(), by); err != nil {
		t.Errorf("a port that refuses is an answer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ask(ctx, l.Addr().String(), by); !errors.Is(err, ErrSilent) {
		t.Errorf("without time to answer: %v", err)
	}
}

func TestEcho(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "::1"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := Ask(ctx, a, nil)
		cancel()
		if errors.Is(err, fs.ErrPermission) {
			t.Skipf("no right to a raw socket: %v", err)
		}
		if err != nil {
			if _, e := net.Listen("tcp", "[::1]:0"); a == "::1" && e != nil {
				continue // no IPv6 here
			}
			t.Errorf("%s: %v", a, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	// What is reserved for documentation (RFC 5737) answers nobody; that there may be no route to it is no answer either.
	if err := Echo(ctx, netip.MustParseAddr("192.0.2.77"), nil); !errors.Is(err, ErrSilent) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestMessage(t *testing.T) {
	m := message(echo4, 0xfffe, true)
	sum := uint32(0)
	for i := 0; i < len(m); i += 2 {
		sum += uint32(m[i])<<8 | uint32(m[i+1])
	}
	if sum = sum&0xffff + sum>>16; sum != 0xffff {
		t.Errorf("checksum: the words add up to %#x (RFC 1071)", sum)
	}
	m[0] = reply4
	if !isReply(m, reply4, 0xfffe) || isReply(m, reply4, 1) || isReply(m[:7], reply4, 0xfffe) || isReply(m, reply6, 0xfffe) {
		t.Error("replies are not told from each other")
	}
}
