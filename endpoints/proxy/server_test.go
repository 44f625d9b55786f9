package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
)

// connected answers every dial with a stream whose far end comes out of the channel.
func connected() (*dialer, chan *memory) {
	far := make(chan *memory, 1)
	return &dialer{dial: func(context.Context, Target) (Conn, error) {
		a, b := memoryPair()
		far <- b
		return a, nil
	}}, far
}

func fails(err error) *dialer {
	return &dialer{
		dial:      func(context.Context, Target) (Conn, error) { return nil, err },
		associate: func(context.Context) (PacketConn, error) { return nil, err },
	}
}

// write sends without waiting for a reader, which a pipe does.
func write(c net.Conn, s string) { go io.WriteString(c, s) }

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(c, b)
	if string(b[:n]) != want {
		t.Fatalf("got %q (%v), want %q", b[:n], err, want)
	}
}

// all reads to the end.
func all(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%q, then %v", b, err)
	}
	return string(b)
}

const (
	askSOCKS = "\x05\x01\x00\x03\x0bexample.org\x01\xbb"
	askHTTP  = "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
	okSOCKS  = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	okHTTP   = "HTTP/1.1 200 Connection established\r\n\r\n"
)

// ask goes through the handshake up to the request, which is sent with what follows.
func ask(t *testing.T, c net.Conn, p Protocol, more string) {
	t.Helper()
	if p == HTTPConnect {
		write(c, askHTTP+more)
		return
	}
	write(c, "\x05\x02\x00\x02")
	expect(t, c, "\x05\x00")
	write(c, askSOCKS+more)
}

var answers = map[Protocol]string{SOCKS5: okSOCKS, HTTPConnect: okHTTP}

func TestConnect(t *testing.T) {
	for p, ok := range answers {
		for _, early := range []string{"", "early"} {
			t.Run(p.String()+" "+early, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, far := connected()
					connect, s := serve(t, Config{Dialer: d}, p)
					c := connect()
					ask(t, c, p, early)
					target := <-far
					expect(t, c, ok)
					expect(t, target, early)
					say(t, c, target, "up")
					time.Sleep(24 * time.Hour) // no deadline of the handshake is left
					say(t, target, c, "down")
					c.CloseWrite()
					wantEnd(t, target, io.EOF)
					say(t, target, c, "still")
					target.Reset()
					synctest.Wait()
					if !c.reset.Load() {
						t.Error("the target's reset did not come through")
					}
					c.Close()
					if len(d.asked) != 1 || d.asked[0] != target443 {
						t.Errorf("asked for %v", d.asked)
					}
					if got := s.Stats(); got.Accepted != 1 || got.Open != 0 || got.Malformed != 0 {
						t.Errorf("%+v", got)
					}
				})
			})
		}
	}
}

var target443 = Target{Host: "example.org", Port: 443}

func TestFailuresAreTold(t *testing.T) {
	for _, c := range []struct {
		code  dial.Code
		reply byte
		http  string
		field string
	}{
		{dial.Refused, 5, "502 Bad Gateway", "connection_refused"},
		{dial.Unreachable, 4, "502 Bad Gateway", "destination_ip_unroutable"},
		{dial.Timeout, 6, "504 Gateway Timeout", "connection_timeout"},
		{dial.Forbidden, 2, "403 Forbidden", "destination_ip_prohibited"},
		{dial.NoSuchName, 4, "502 Bad Gateway", "dns_error"},
		{dial.Busy, 1, "503 Service Unavailable", "connection_limit_reached"},
		{dial.Failed, 1, "502 Bad Gateway", "proxy_internal_error"},
		{dial.Canceled, 1, "502 Bad Gateway", "proxy_internal_error"},
	} {
		t.Run(c.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := fails(&dial.Error{Code: c.code, Target: "example.org:443"})
				connect, _ := serve(t, Config{Dialer: d}, SOCKS5)
				conn := connect()
				ask(t, conn, SOCKS5, "early data that nobody wants")
				if got := all(t, conn); got != "\x05"+string(rune(c.reply))+"\x00\x01\x00\x00\x00\x00\x00\x00" {
					t.Errorf("SOCKS: %q", got)
				}
				conn.Close()

				connect, _ = serve(t, Config{Dialer: d}, HTTPConnect)
				conn = connect()
				ask(t, conn, HTTPConnect, "early data that nobody wants")
				got := all(t, conn)
				if !strings.HasPrefix(got, "HTTP/1.1 "+c.http+"\r\n") || !strings.Contains(got, "\r\nProxy-Status: bondd; error="+c.field+"\r\n") ||
					!strings.HasSuffix(got, "\r\n\r\nconnect to example.org:443: "+c.code.String()+"\n") || !strings.Contains(got, "\r\nConnection: close\r\n") {
					t.Errorf("HTTP: %q", got)
				}
				conn.Close()
			})
		})
	}
}

func TestWrongHandshakes(t *testing.T) {
	for _, c := range []struct {
		p        Protocol
		in, want string
	}{
		{SOCKS5, "\x05\x01\x02", "\x05\xff"},
		{SOCKS5, "\x04\x01\x00\x50\xc0\x00\x02\x01", ""},
		{SOCKS5, "GET / HTTP/1.1\r\n\r\n", ""},
		{SOCKS5, "\x05\x01\x00\x05\x02\x00\x01\xc0\x00\x02\x01\x01\xbb", "\x05\x00\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		{SOCKS5, "\x05\x01\x00\x05\x01\x00\x09", "\x05\x00\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		{SOCKS5, "\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", "\x05\x00\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"}, // the dialer fails
		{HTTPConnect, "\x05\x01\x00", "HTTP/1.1 400 Bad Request\r\n"},
		{HTTPConnect, "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n"},
		{HTTPConnect, "CONNECT example.org HTTP/1.1\r\nHost: example.org\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{HTTPConnect, "CONNECT a:1 HTTP/1.1\r\nX: " + strings.Repeat("y", maxHead), "HTTP/1.1 431 Request Header Fields Too Large\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			connect, s := serve(t, Config{Dialer: fails(errors.New("no"))}, c.p)
			conn := connect()
			start := time.Now()
			write(conn, c.in)
			got := all(t, conn)
			if c.p == SOCKS5 && got != c.want || !strings.HasPrefix(got, c.want) {
				t.Errorf("%s %.30q: %q, want %q", c.p, c.in, got, c.want)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("%s %.30q: answered after %v", c.p, c.in, took)
			}
			conn.Close()
			synctest.Wait()
			if s.Stats().Open != 0 {
				t.Errorf("%+v", s.Stats())
			}
		})
	}
}

func TestSlowHandshakesEnd(t *testing.T) {
	for p := range answers {
		for _, in := range []string{"", "\x05", "\x05\x01\x00", "CONNECT "} {
			synctest.Test(t, func(t *testing.T) {
				connect, s := serve(t, Config{Dialer: fails(errors.New("no"))}, p)
				conn := connect()
				start := time.Now()
				write(conn, in)
				all(t, conn)
				if took := time.Since(start); took > DefaultHandshake+lastWords || in == "" && took != DefaultHandshake {
					t.Errorf("%s %q: ended after %v", p, in, took)
				}
				conn.Close()
				synctest.Wait()
				if got := s.Stats(); got.Open != 0 || got.Malformed != 1 {
					t.Errorf("%s %q: %+v", p, in, got)
				}
			})
		}
	}
}

// TestARefusedClientCannotHoldOn sends on and never reads, or does nothing.
func TestARefusedClientCannotHoldOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect, s := serve(t, Config{Dialer: fails(errors.New("no"))}, HTTPConnect)
		conn := connect()
		ask(t, conn, HTTPConnect, "")
		all(t, conn)
		time.Sleep(lastWords)
		synctest.Wait()
		if s.Stats().Open != 0 {
			t.Error("a refused client holds on by doing nothing")
		}
		conn.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		connect, s := serve(t, Config{Dialer: fails(errors.New("no"))}, HTTPConnect)
		conn := connect()
		start := time.Now()
		go func() {
			for {
				if _, err := conn.Write([]byte(askHTTP)); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		for s.Stats().Accepted == 0 || s.Stats().Open > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(start); took > DefaultHandshake+lastWords+time.Second {
			t.Errorf("held on for %v", took)
		}
		conn.Close()
	})
}

func TestTheClientGoesAway(t *testing.T) {
	for p := range answers {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan error, 1)
			d := &dialer{dial: func(ctx context.Context, _ Target) (Conn, error) {
				<-ctx.Done()
				ended <- ctx.Err()
				return nil, ctx.Err()
			}}
			connect, _ := serve(t, Config{Dialer: d}, p)
			conn := connect()
			ask(t, conn, p, "some bytes")
			time.Sleep(time.Hour) // a dial may take its time
			select {
			case <-ended:
				t.Fatal("canceled for nothing")
			default:
			}
			conn.Reset()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAClientThatOnlyListens has said all it has to say before it is answered.
func TestAClientThatOnlyListens(t *testing.T) {
	for p, ok := range answers {
		synctest.Test(t, func(t *testing.T) {
			far := make(chan *memory, 1)
			d := &dialer{dial: func(context.Context, Target) (Conn, error) {
				time.Sleep(time.Second)
				a, b := memoryPair()
				far <- b
				return a, nil
			}}
			connect, _ := serve(t, Config{Dialer: d}, p)
			conn := connect()
			ask(t, conn, p, "question")
			synctest.Wait()
			conn.CloseWrite()
			target := <-far
			expect(t, conn, ok)
			if got := all(t, target); got != "question" {
				t.Errorf("got %q", got)
			}
			write(target, "answer")
			expect(t, conn, "answer")
			target.CloseWrite()
			wantEnd(t, conn, io.EOF)
		})
	}
}

func TestTooManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := connected()
		connect, s := serve(t, Config{Dialer: d, MaxConns: 2}, SOCKS5)
		first, second, third := connect(), connect(), connect()
		synctest.Wait()
		if !third.reset.Load() || first.reset.Load() || second.reset.Load() {
			t.Error("the third one is to be turned away")
		}
		first.Close()
		synctest.Wait()
		fourth := connect()
		write(fourth, "\x05\x01\x00")
		expect(t, fourth, "\x05\x00")
		if got := s.Stats(); got.Open != 2 || got.TurnedAway != 1 || got.Accepted != 3 {
			t.Errorf("%+v", got)
		}
	})
	for _, c := range []Config{{}, {Dialer: fails(nil), MaxConns: -1}, {Dialer: fails(nil), Handshake: -1}} {
		if _, err := NewServer(c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

func TestServeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, far := connected()
		s, err := NewServer(Config{Dialer: d})
		if err != nil {
			t.Fatal(err)
		}
		l := newListener()
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- s.Serve(ctx, l, HTTPConnect) }()
		a, b := memoryPair() // relaying
		l.conns <- b
		ask(t, a, HTTPConnect, "")
		target := <-far
		expect(t, a, okHTTP)
		a2, b2 := memoryPair() // in the handshake
		l.conns <- b2
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v", err)
		}
		if s.Stats().Open != 0 || !target.reset.Load() {
			t.Errorf("%+v, target reset: %t", s.Stats(), target.reset.Load())
		}
		a.Close()
		a2.Close()
		target.Close()

		l = newListener()
		go func() { ended <- s.Serve(t.Context(), l, HTTPConnect) }()
		synctest.Wait()
		l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		l = newListener()
		go func() { ended <- s.Serve(t.Context(), l, HTTPConnect) }()
		p, _ := net.Pipe()
		l.conns <- p
		if err := <-ended; err == nil {
			t.Error("a stream without CloseWrite was accepted")
		}
	})
}
