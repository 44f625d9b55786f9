package proxy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

type outcome struct {
	Transfer
	err error
}

// joined relays between the far ends of two streams; the near ones are returned.
func joined(r Relayer) (a, b *memory, end chan outcome) {
	a, a2 := memoryPair()
	b, b2 := memoryPair()
	end = make(chan outcome, 1)
	go func() {
		t, err := r.Relay(a2, b2)
		end <- outcome{t, err}
	}()
	return a, b, end
}

func say(t *testing.T, from, to net.Conn, s string) {
	t.Helper()
	go io.WriteString(from, s) // ends with the read, or with the test
	b := make([]byte, len(s))
	if _, err := io.ReadFull(to, b); err != nil || string(b) != s {
		t.Fatalf("%q arrives as %q, %v", s, b, err)
	}
}

func wantEnd(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d, %v, want %v", n, err, want)
	}
}

func TestRelayHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, end := joined(Relayer{})
		say(t, a, b, "question")
		a.CloseWrite()
		wantEnd(t, b, io.EOF)
		for range 3 { // the other direction goes on, at its own pace
			time.Sleep(DefaultHalfIdle - time.Second)
			say(t, b, a, "an answer")
		}
		b.CloseWrite()
		wantEnd(t, a, io.EOF)
		if got := <-end; got != (outcome{Transfer{8, 27}, nil}) {
			t.Errorf("%+v", got)
		}
		if _, err := a.Write([]byte("x")); err == nil {
			t.Error("still open")
		}
	})
}

func TestRelayPassesResetsOn(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(t *testing.T, a, b *memory)
	}{
		{"while both read", func(t *testing.T, a, b *memory) {}},
		{"while it is written to", func(t *testing.T, a, b *memory) {
			go io.Copy(b, bytes.NewReader(make([]byte, 1<<20)))
			synctest.Wait()
		}},
		{"after the other has ended", func(t *testing.T, a, b *memory) { b.CloseWrite(); wantEnd(t, a, io.EOF) }},
		{"after it has ended itself", func(t *testing.T, a, b *memory) { a.CloseWrite(); wantEnd(t, b, io.EOF) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, end := joined(Relayer{})
				say(t, a, b, "hello")
				c.act(t, a, b)
				if c.name == "after it has ended itself" {
					go b.Write([]byte("x")) // how a reset shows after that
				}
				a.Reset()
				got := <-end
				if got.err == nil || got.AToB != 5 {
					t.Errorf("%+v", got)
				}
				if !b.reset.Load() {
					t.Error("the other stream was not reset")
				}
				b.Close()
			})
		})
	}
}

func TestRelayIdle(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Relayer
		act  func(t *testing.T, a, b *memory)
		took time.Duration
	}{
		{"quiet", Relayer{Idle: time.Minute}, func(t *testing.T, a, b *memory) {}, time.Minute},
		{"one direction is busy", Relayer{Idle: time.Minute}, func(t *testing.T, a, b *memory) {
			for range 10 {
				say(t, a, b, "x")
				time.Sleep(50 * time.Second)
			}
		}, 9*50*time.Second + time.Minute},
		{"half closed", Relayer{}, func(t *testing.T, a, b *memory) { time.Sleep(24 * time.Hour); a.CloseWrite() }, 24*time.Hour + DefaultHalfIdle},
		{"half closed from the other side", Relayer{HalfIdle: time.Second}, func(t *testing.T, a, b *memory) { say(t, a, b, "x"); b.CloseWrite() }, time.Second},
		{"half closed with idle", Relayer{Idle: time.Hour, HalfIdle: time.Second}, func(t *testing.T, a, b *memory) { say(t, a, b, "x"); b.CloseWrite() }, time.Second},
		{"half closed, nobody reads", Relayer{HalfIdle: time.Minute}, func(t *testing.T, a, b *memory) {
			go b.Write(make([]byte, 100_000))
			synctest.Wait()
			a.CloseWrite()
		}, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, end := joined(c.r)
				start := time.Now()
				c.act(t, a, b)
				got := <-end
				took := time.Since(start)
				if !errors.Is(got.err, ErrIdle) || took < c.took || took > c.took+c.took/2 {
					t.Errorf("%v after %v, want ErrIdle after %v", got.err, took, c.took)
				}
				if !a.reset.Load() || !b.reset.Load() {
					t.Error("not reset")
				}
				a.Close()
				b.Close()
			})
		})
	}
}

func TestRelayCarriesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, end := joined(Relayer{})
		rng := rand.New(rand.NewPCG(1, 2))
		send := func(to *memory, size int) (sum [32]byte) {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			go func() {
				for len(data) > 0 { // in pieces of many sizes
					n := min(len(data), 1+(len(data)*7919)%200_000)
					to.Write(data[:n])
					data = data[n:]
				}
				to.CloseWrite()
			}()
			return sha256.Sum256(data)
		}
		up, down := send(a, 3_000_001), send(b, 1_234_567)
		var both sync.WaitGroup
		for _, c := range []struct {
			from *memory
			want [32]byte
		}{{b, up}, {a, down}} {
			both.Go(func() {
				h := sha256.New()
				if _, err := io.Copy(h, c.from); err != nil || [32]byte(h.Sum(nil)) != c.want {
					t.Errorf("other bytes than were sent: %v", err)
				}
			})
		}
		both.Wait()
		if got := <-end; got != (outcome{Transfer{3_000_001, 1_234_567}, nil}) {
			t.Errorf("%+v", got)
		}
	})
}

// tcpPair is a connection over loopback.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{c, d} {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
	}
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// patience bounds what must happen; it is long because a busy machine is no error.
const patience = 5 * time.Second

func TestRelayOfTCP(t *testing.T) {
	for _, abort := range []bool{false, true} {
		a, a2 := tcpPair(t)
		b, b2 := tcpPair(t)
		for _, c := range []net.Conn{a2, b2} {
			c.SetDeadline(time.Time{})
		}
		end := make(chan outcome, 1)
		go func() {
			tr, err := Relay(&ahead{Conn: a2, data: []byte("early ")}, b2)
			end <- outcome{tr, err}
		}()
		if _, err := io.WriteString(a, "late"); err != nil {
			t.Fatal(err)
		}
		say(t, &net.TCPConn{}, b, "early late")
		if abort {
			b.SetLinger(0)
			b.Close()
			wantEnd(t, a, syscall.ECONNRESET)
			if got := <-end; !errors.Is(got.err, syscall.ECONNRESET) {
				t.Errorf("%+v", got)
			}
			continue
		}
		b.CloseWrite()
		wantEnd(t, a, io.EOF)
		a.CloseWrite()
		wantEnd(t, b, io.EOF)
		if got := <-end; got != (outcome{Transfer{10, 0}, nil}) {
			t.Errorf("%+v", got)
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	t := &testing.T{}
	a, a2 := tcpPair(t)
	c, c2 := tcpPair(t)
	for _, c := range []net.Conn{a, a2, c, c2} {
		c.SetDeadline(time.Time{})
	}
	go Relay(a2, c2)
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	go func() {
		for b.Loop() {
			a.Write(buf)
		}
		a.CloseWrite()
	}()
	io.Copy(io.Discard, c)
}
