package endpoints

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/tunnel"
)

// echoServer sends back what it gets, and ends when the client does.
func echoServer(c *memConn) {
	io.Copy(c, c)
	c.CloseWrite()
	c.Close()
}

// pattern is data that a lost, doubled or moved byte shows in.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// streamBubble runs f with both nodes running and connections intercepted.
func streamBubble(t *testing.T, f func(w *world)) {
	inBubble(t, func(w *world) {
		defer w.exit.dialer.wg.Wait()
		w.waitEcho(5 * time.Second)
		if w.gateway.taking() == nil {
			t.Fatal("nothing is intercepted")
		}
		f(w)
	})
}

// open connects from the LAN.
func (w *world) open(target netip.AddrPort) *memConn {
	w.t.Helper()
	c := w.gateway.taking().connect(target)
	if c == nil {
		w.t.Fatal("nothing is intercepted")
	}
	return c
}

// quiet expects that nothing of streams is left at either node.
func (w *world) quiet() {
	w.t.Helper()
	time.Sleep(2 * time.Second)
	synctest.Wait()
	for _, m := range []*machineTest{w.gateway, w.exit} {
		st := m.status()
		if st.Streams.Open != 0 || st.Streams.Waiting != 0 {
			w.t.Errorf("the %s has %d connections open and %d bytes waiting", m.cfg.Role, st.Streams.Open, st.Streams.Waiting)
		}
		for _, s := range st.Sessions {
			if s.Stats != nil && (s.Stats.Streams != 0 || s.Stats.Held != 0) {
				w.t.Errorf("a session of the %s has %d streams and holds %d bytes", m.cfg.Role, s.Stats.Streams, s.Stats.Held)
			}
		}
	}
}

func TestRequestAndResponse(t *testing.T) {
	streamBubble(t, func(w *world) {
		to := w.exit.dialer.at(80, echoServer)
		c := w.open(to)
		begin := time.Now()
		c.Write([]byte("hello"))
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
		// Opening and data are one trip, 20 ms there and back by the quicker uplink.
		if took := time.Since(begin); took > 25*time.Millisecond {
			t.Errorf("the first answer took %v", took)
		}
		// Half a megabyte, then the end of one direction, then that of the other.
		halfAMegabyte(t, c)
		w.quiet()
		st := w.gateway.status().Streams
		if st.Opened != 1 || len(st.Refused) != 0 || st.Interception != "on" {
			t.Errorf("streams of the gateway: %+v", st)
		}
	})
}

// A server that speaks first, and one that ends its direction first.
func TestServerSpeaksAndEndsFirst(t *testing.T) {
	streamBubble(t, func(w *world) {
		late := make(chan []byte, 1)
		to := w.exit.dialer.at(25, func(c *memConn) {
			c.Write([]byte("220 ready\r\n"))
			c.CloseWrite()
			got, _ := io.ReadAll(c)
			late <- got
			c.Close()
		})
		c := w.open(to)
		if got, err := io.ReadAll(c); err != nil || string(got) != "220 ready\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
		time.Sleep(time.Minute) // the other direction goes on as long as it likes
		if _, err := c.Write([]byte("still here")); err != nil {
			t.Error(err)
		}
		c.CloseWrite()
		if got := <-late; string(got) != "still here" {
			t.Errorf("the server got %q", got)
		}
		c.Close()
		w.quiet()
	})
}

func TestResets(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		streamBubble(t, func(w *world) {
			failed := make(chan error, 1)
			to := w.exit.dialer.at(80, func(c *memConn) {
				_, err := io.Copy(io.Discard, c)
				failed <- err
				c.Close()
			})
			c := w.open(to)
			c.Write(pattern(1000, 1))
			time.Sleep(time.Second)
			c.abort()
			if err := <-failed; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server saw %v, want a reset", err)
			}
			w.quiet()
		})
	})
	t.Run("by the server", func(t *testing.T) {
		streamBubble(t, func(w *world) {
			answer := pattern(30_000, 2)
			to := w.exit.dialer.at(80, func(c *memConn) { // answers and resets at once, as one does with a request it does not want
				c.Write(answer)
				for c.delivered() < len(answer) {
					time.Sleep(time.Millisecond)
				}
				c.abort()
			})
			c := w.open(to)
			go c.Write(pattern(200_000, 1)) // ends with the reset
			got := make([]byte, len(answer))
			if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, answer) {
				t.Errorf("got %d bytes of the answer, %v", n, err)
			}
			if _, err := io.ReadFull(c, got); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client saw %v, want a reset", err)
			}
			w.quiet()
		})
	})
	t.Run("of the client during the dial", func(t *testing.T) {
		streamBubble(t, func(w *world) {
			to := w.exit.dialer.at(80, nil)
			c := w.open(to)
			time.Sleep(time.Second)
			if n := w.exit.status().Streams.Open; n != 1 {
				t.Errorf("%d dials under way", n)
			}
			c.abort()
			w.quiet()
		})
	})
}

func TestRefusals(t *testing.T) {
	streamBubble(t, func(w *world) {
		unanswered := w.exit.dialer.at(81, nil)
		nobody := netip.AddrPortFrom(far, 9)
		begin := time.Now()
		for _, to := range []netip.AddrPort{nobody, unanswered} {
			c := w.open(to)
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v: the client saw %v, want a reset", to, err)
			}
			c.Close()
		}
		if took := time.Since(begin); took < dial.DefaultTimeout || took > dial.DefaultTimeout+time.Second {
			t.Errorf("both took %v", took)
		}
		synctest.Wait()
		i := w.gateway.taking()
		i.mu.Lock()
		if !slices.Equal(i.refused, []netip.AddrPort{nobody}) || len(i.unreachable) != 0 {
			t.Errorf("the kernel was told that %v refuse and %v are unreachable", i.refused, i.unreachable)
		}
		i.mu.Unlock()
		for _, m := range []*machineTest{w.gateway, w.exit} {
			if st := m.status().Streams; st.Refused["refused"] != 1 || st.Refused["timeout"] != 1 || st.Opened != 0 {
				t.Errorf("streams of the %s: %+v", m.cfg.Role, st)
			}
		}
		w.quiet()
	})
}

// A client that does not read holds back its own stream and nothing else, and costs a bounded amount of memory.
func TestSlowReader(t *testing.T) {
	streamBubble(t, func(w *world) {
		data := pattern(8<<20, 3)
		big := w.exit.dialer.at(80, func(c *memConn) { c.Write(data); c.CloseWrite(); io.Copy(io.Discard, c); c.Close() })
		echo := w.exit.dialer.at(7, echoServer)
		slow := w.open(big)
		time.Sleep(10 * time.Second)
		st := w.gateway.status()
		if n := st.Streams.Waiting; n > flowWaiting+200_000 || n == 0 {
			t.Errorf("%d bytes wait for a connection that takes nothing, at most %d should", n, flowWaiting)
		}
		if n := st.Sessions[0].Stats.Held; n > 1<<20 {
			t.Errorf("the session holds %d bytes", n)
		}
		quick := w.open(echo)
		begin := time.Now()
		quick.Write([]byte("x"))
		if _, err := io.ReadFull(quick, make([]byte, 1)); err != nil || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("another stream answers after %v, %v", time.Since(begin), err)
		}
		quick.Close()
		got, err := io.ReadAll(slow)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d of %d bytes, %v", len(got), len(data), err)
		}
		slow.Close()
		w.quiet()
	})
}

// chatter sends numbered lines over a connection and keeps what comes back.
type chatter struct {
	conn  *memConn
	end   chan struct{}
	wg    sync.WaitGroup
	broke chan error // why nothing comes any more

	mu        sync.Mutex
	sent, got []byte
}

func chat(c *memConn) *chatter {
	h := &chatter{conn: c, end: make(chan struct{}), broke: make(chan error, 1)}
	h.wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			h.mu.Lock()
			h.got = append(h.got, b[:n]...)
			h.mu.Unlock()
			if err != nil {
				h.broke <- err
				return
			}
		}
	})
	h.wg.Go(func() {
		for i := 0; ; i++ {
			line := fmt.Appendf(nil, "line %d\n", i)
			h.mu.Lock()
			h.sent = append(h.sent, line...)
			h.mu.Unlock()
			if _, err := c.Write(line); err != nil {
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-h.end:
				c.CloseWrite()
				return
			}
		}
	})
	return h
}

// heard is how much has come back so far.
func (h *chatter) heard() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

// stop ends the connection, which may be broken, and tells how it went.
func (h *chatter) stop() (whole bool) {
	close(h.end)
	h.wg.Wait()
	h.conn.Close()
	return bytes.Equal(h.sent, h.got)
}

// All uplinks are out for less than the grace period: connections live on, with every byte.
func TestOutageIsSurvived(t *testing.T) {
	for _, announced := range []bool{false, true} {
		t.Run(fmt.Sprintf("announced %v", announced), func(t *testing.T) {
			streamBubble(t, func(w *world) {
				c := w.open(w.exit.dialer.at(7, echoServer))
				h := chat(c)
				time.Sleep(5 * time.Second)
				index := w.gateway.status().Sessions[0].Index
				for range 2 {
					w.setCut(true, "one", "two")
					if announced {
						w.uplinks()
					}
					time.Sleep(20 * time.Second)
					w.setCut(false, "one", "two")
					if announced {
						w.uplinks(w.one, w.two)
					}
					before := h.heard()
					time.Sleep(5 * time.Second)
					if h.heard() == before {
						t.Error("nothing moves 5 s after the uplinks are back")
					}
				}
				if i := w.gateway.status().Sessions[0].Index; i != index {
					t.Error("there is another session")
				}
				if n := len(w.exit.status().Sessions); n != 1 {
					t.Errorf("the exit has %d sessions", n)
				}
				if whole := h.stop(); !whole || <-h.broke != io.EOF {
					t.Errorf("%d bytes were sent, %d came back, or others", len(h.sent), len(h.got))
				}
				w.quiet()
			})
		})
	}
}

// They are out for longer: connections are reset at both ends, not before, and new ones work when the uplinks are back.
func TestOutageIsTooLong(t *testing.T) {
	streamBubble(t, func(w *world) {
		server := make(chan error, 1)
		to := w.exit.dialer.at(80, func(c *memConn) {
			_, err := io.Copy(c, c)
			server <- err
			c.Close()
		})
		c := w.open(to)
		h := chat(c)
		defer h.stop()
		time.Sleep(2 * time.Second)
		w.setCut(true, "one", "two")
		begin := time.Now()
		var ends [2]error
		for range 2 {
			select {
			case ends[0] = <-h.broke:
			case ends[1] = <-server:
			}
			if took := time.Since(begin); took < streamGrace || took > streamGrace+5*time.Second {
				t.Errorf("reset after %v", took)
			}
		}
		for _, err := range ends {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("an end saw %v, want a reset", err)
			}
		}
		w.quiet()

		// A connection that is made meanwhile waits, as it would for its SYN to be answered.
		w.exit.dialer.at(80, echoServer)
		waiting := w.open(to)
		waiting.Write([]byte("x"))
		time.Sleep(20 * time.Second)
		w.setCut(false, "one", "two")
		back := time.Now()
		if _, err := io.ReadFull(waiting, make([]byte, 1)); err != nil || time.Since(back) > 8*time.Second {
			t.Errorf("a connection that waited: answered after %v, %v", time.Since(back), err)
		}
		waiting.Close()
		w.quiet()
	})
}

// Without a session a connection waits for one, and is reset when none comes.
func TestNoSessionComes(t *testing.T) {
	streamBubble(t, func(w *world) {
		w.ended(w.exit)
		time.Sleep(time.Second)
		begin := time.Now()
		c := w.open(netip.AddrPortFrom(far, 80))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if took := time.Since(begin); took < streamGrace || took > streamGrace+time.Second {
			t.Errorf("reset after %v", took)
		}
		synctest.Wait() // the reset comes before the books are closed
		if st := w.gateway.status().Streams; st.Refused["session_lost"] != 1 || st.Open != 0 {
			t.Errorf("streams of the gateway: %+v", st)
		}
		w.exit.start()
	})
}

// The exit starts again: it knows the session no more, so there is a new one soon, and the connections of the old one are reset.
func TestExitLosesTheSession(t *testing.T) {
	streamBubble(t, func(w *world) {
		c := w.open(w.exit.dialer.at(7, echoServer))
		h := chat(c)
		defer h.stop()
		time.Sleep(2 * time.Second)
		w.exit.crash()
		w.exit.start()
		begin := time.Now()
		if err := <-h.broke; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("reset after %v", took)
		}
		again := w.open(netip.AddrPortFrom(far, 7))
		again.Write([]byte("x"))
		if _, err := io.ReadFull(again, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		again.Close()
		w.quiet()
	})
}

// The gateway ends: both ends of its connections are reset.
func TestGatewayEndsWithConnections(t *testing.T) {
	streamBubble(t, func(w *world) {
		server := make(chan error, 1)
		c := w.open(w.exit.dialer.at(7, func(c *memConn) {
			_, err := io.Copy(c, c)
			server <- err
			c.Close()
		}))
		h := chat(c)
		defer h.stop()
		time.Sleep(time.Second)
		w.ended(w.gateway)
		if err := <-h.broke; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if err := <-server; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server saw %v, want a reset", err)
		}
		w.gateway.start()
	})
}

func TestManyConnections(t *testing.T) {
	streamBubble(t, func(w *world) {
		echo := w.exit.dialer.at(7, echoServer)
		cut := w.exit.dialer.at(8, func(c *memConn) { c.Read(make([]byte, 10)); c.abort() })
		nobody := netip.AddrPortFrom(far, 9)
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%50) * 20 * time.Millisecond)
				switch i % 5 {
				case 0:
					c := w.open(nobody)
					c.Write([]byte("x"))
					c.Read(make([]byte, 1))
					c.Close()
				case 1:
					c := w.open(cut)
					c.Write([]byte("request"))
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("connection %d ended with %v", i, err)
					}
					c.Close()
				case 2:
					c := w.open(echo)
					c.Write(pattern(10_000, byte(i)))
					time.Sleep(time.Duration(i) * time.Millisecond)
					c.abort()
				default:
					c := w.open(echo)
					data := pattern(1000*(i%40), byte(i))
					wg.Go(func() { c.Write(data); c.CloseWrite() })
					if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
						t.Errorf("connection %d: %d of %d bytes, %v", i, len(got), len(data), err)
					}
					c.Close()
				}
			})
		}
		wg.Wait()
		w.quiet()
		if st := w.gateway.status().Streams; st.Opened+st.Refused["refused"] < 450 || st.Refused["refused"] != 100 {
			t.Errorf("streams of the gateway: %+v", st)
		}
	})
}

// What the exit can do decides what is intercepted.
func TestInterceptionFollowsTheExit(t *testing.T) {
	streamBubble(t, func(w *world) {
		first := w.gateway.taking()
		if first.ipv6 {
			t.Error("IPv6 is taken though the exit has none")
		}
		again := func(change func(c *config.Config)) {
			w.ended(w.exit)
			change(w.exit.cfg)
			w.exit.start()
			time.Sleep(5 * time.Second)
		}
		again(func(c *config.Config) { c.Stream.Off = true })
		if first.connect(exitListen) != nil {
			t.Error("connections are taken though the exit carries no streams")
		}
		if s := w.gateway.status().Streams.Interception; !strings.Contains(s, "no streams") {
			t.Errorf("interception %q", s)
		}
		again(func(c *config.Config) { c.Stream.Off = false })
		if w.gateway.taking() == first || w.gateway.status().Streams.Interception != "on" {
			t.Error("connections are not taken again")
		}
	})
}

// Somebody else removes the interception; it is put back.
func TestInterceptionIsPutBack(t *testing.T) {
	streamBubble(t, func(w *world) {
		i := w.gateway.taking()
		i.mu.Lock()
		i.removed = true
		i.mu.Unlock()
		time.Sleep(2 * syncPause)
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.restored != 1 {
			t.Errorf("restored %d times", i.restored)
		}
	})
}

func TestInterceptionIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gateway.cfg.Stream.InterceptOff = true
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		w.waitEcho(5 * time.Second)
		if w.gateway.taking() != nil {
			t.Error("connections are taken")
		}
	})
}

// A peer that opens what it may not, or asks for nonsense, gets a reset.
func TestStreamsThatAreNotWanted(t *testing.T) {
	streamBubble(t, func(w *world) {
		target, _ := appendTarget(nil, addrTarget("192.0.2.1:80"))
		g := (&wayOut{g: &gateway{}}).streamOpened
		s := &scripted{}
		g(&engine{s: s}, 0, 1, target)
		a := &association{x: &exit{}, gateway: &config.Gateway{}}
		a.streamOpened(&engine{s: s}, 0, 2, []byte("nonsense"))
		a.streamOpened(&engine{s: s}, 0, 4, target) // its gateway has no dialer
		want := []string{"reset 4 of 1", "reset 4 of 2", "reset 4 of 4"}
		if !slices.Equal(s.calls, want) {
			t.Errorf("did %q, want %q", s.calls, want)
		}
	})
}

func socksBubble(t *testing.T, f func(w *world, at netip.AddrPort)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := netip.MustParseAddrPort("127.0.0.1:1080")
		w.gateway.cfg.Stream.SOCKS = []netip.AddrPort{at}
		defer w.exit.dialer.wg.Wait()
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		w.waitEcho(5 * time.Second)
		f(w, at)
	})
}

// socks connects to a name through the proxy and returns the reply code.
func (w *world) socks(at netip.AddrPort, name string, port byte) (net.Conn, byte) {
	w.t.Helper()
	c, err := w.tcp.dial(context.Background(), at)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Write([]byte{5, 1, 0})
	io.ReadFull(c, make([]byte, 2))
	c.Write(append(append([]byte{5, 1, 0, 3, byte(len(name))}, name...), 0, port))
	reply := make([]byte, 10)
	if _, err := io.ReadFull(c, reply); err != nil {
		w.t.Fatal(err)
	}
	return c, reply[1]
}

func TestSOCKS(t *testing.T) {
	socksBubble(t, func(w *world, at netip.AddrPort) {
		w.exit.dialer.at(7, echoServer)
		c, code := w.socks(at, "server.example", 7)
		if code != 0 {
			t.Fatalf("reply %d", code)
		}
		data := pattern(300_000, 5)
		go func() { // ends with the write
			c.Write(data)
			c.(*memConn).CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d of %d bytes came back, %v", len(got), len(data), err)
		}
		c.Close()
		if _, code := w.socks(at, "server.example", 9); code != 5 {
			t.Errorf("reply %d for a port that refuses, want 5", code)
		}
		if _, code := w.socks(at, "none.example", 7); code != 4 {
			t.Errorf("reply %d for a name that does not exist, want 4", code)
		}
		w.quiet()
	})
}

// A client of the proxy that goes away ends the stream, and a stream that is reset the client.
func TestSOCKSResets(t *testing.T) {
	socksBubble(t, func(w *world, at netip.AddrPort) {
		failed := make(chan error, 1)
		w.exit.dialer.at(7, func(c *memConn) {
			_, err := io.Copy(io.Discard, c)
			failed <- err
			c.Close()
		})
		c, _ := w.socks(at, "server.example", 7)
		c.(*memConn).abort()
		if err := <-failed; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server saw %v, want a reset", err)
		}
		w.exit.dialer.at(8, func(c *memConn) { c.Read(make([]byte, 1)); c.abort() })
		c, _ = w.socks(at, "server.example", 8)
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		w.exit.dialer.at(9, nil)
		gone, err := w.tcp.dial(context.Background(), at)
		if err != nil {
			t.Fatal(err)
		}
		gone.Write([]byte{5, 1, 0, 5, 1, 0, 1, 100, 64, 9, 9, 0, 9})
		time.Sleep(time.Second)
		gone.(*memConn).abort()
		w.quiet()
		if st := w.exit.status().Streams; st.Refused["closed"] != 1 {
			t.Errorf("streams of the exit: %+v", st)
		}
	})
}

// The codes of both rooms say the same.
func TestResetCodes(t *testing.T) {
	for code, reset := range resetCodes {
		back := dialCode(reset)
		if code == dial.Failed || code == dial.Canceled {
			continue // said as something else
		}
		if back != code {
			t.Errorf("%v is sent as %d and comes as %v", code, reset, back)
		}
	}
	if len(resetCodes) != dial.Codes {
		t.Errorf("%d codes of %d can be sent", len(resetCodes), dial.Codes)
	}
	for code := range uint64(numResets) {
		if resetNames[code] == "" || strings.Contains(resetReason(code), "not known") {
			t.Errorf("code %d has no name", code)
		}
	}
	if _, _ = tunnel.ResetSession, resetReason(99); resetReason(99) == "" {
		t.Error("no words for a code that is not known")
	}
}

// Uplinks flap and the exit starts again while connections come and go: each brings back every byte once and in order, or is reset. None ends
// as if it were whole, and the second time nothing is held that the first did not hold.
func TestConnectionsThroughFaults(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 400 // the race detector takes half a minute for 2,000
	}
	streamBubble(t, func(w *world) {
		var held [2]int64
		for i := range held {
			whole, reset, most := w.storm(n)
			w.quiet()
			held[i] = heap()
			t.Logf("%d connections were whole, %d reset, %d open at once; the heap is %d kB", whole, reset, most, held[i]/1000)
			if whole < n/2 || reset == 0 || most < n/4 {
				t.Errorf("%d of %d connections were whole, %d reset, %d open at once", whole, n, reset, most)
			}
		}
		// The storm opens 400 to 900 at once: what each left behind would be less than a kilobyte.
		if more := held[1] - held[0]; more > 400_000 {
			t.Errorf("the heap grew by %d kB", more/1000)
		}
	})
}

// storm opens and ends n connections within ten seconds of faults. It returns how many brought back everything, how many were reset, and how
// many were open at the same time.
func (w *world) storm(n int) (whole, reset, most int) {
	echo := w.exit.dialer.at(7, echoServer)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range n {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 10 * time.Second / time.Duration(n))
			c := w.open(echo)
			data := pattern(1+i*211%60_000, byte(i))
			wg.Go(func() {
				for rest := data; len(rest) > 0; {
					part := min(len(rest), 5000)
					if _, err := c.Write(rest[:part]); err != nil {
						return
					}
					rest = rest[part:]
					time.Sleep(time.Duration(i%7) * 100 * time.Millisecond)
				}
				c.CloseWrite()
			})
			got, err := io.ReadAll(c)
			c.Close()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case !bytes.HasPrefix(data, got):
				w.t.Errorf("connection %d brought back other bytes", i)
			case errors.Is(err, syscall.ECONNRESET):
				reset++
			case err != nil || len(got) != len(data):
				w.t.Errorf("connection %d ended with %d of %d bytes and %v", i, len(got), len(data), err)
			default:
				whole++
			}
		})
	}
	for i := range 12 {
		time.Sleep(900 * time.Millisecond)
		w.setCut(true, []string{"one", "two"}[i%2])
		most = max(most, w.gateway.status().Streams.Open)
		if i%4 == 3 {
			w.setCut(true, "one", "two")
			time.Sleep(1500 * time.Millisecond)
		}
		if i == 6 {
			w.exit.crash()
			w.exit.start()
		}
		time.Sleep(300 * time.Millisecond)
		w.setCut(false, "one", "two")
	}
	wg.Wait()
	return whole, reset, most
}

// heap is what is in use once all that nobody holds has been freed, in bytes.
func heap() int64 {
	for range 2 { // pools give up what they hold after two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// echoConn is a connection to a server that sends back what it gets.
type echoConn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// halfAMegabyte goes out on c and comes back, with the end of each direction behind it.
func halfAMegabyte(t *testing.T, c echoConn) {
	t.Helper()
	data := pattern(500_000, 1)
	go func() { // ends with the write
		c.Write(data)
		c.CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(back, data) {
		t.Errorf("%d of %d bytes came back, error %v", len(back), len(data), err)
	}
	c.Close()
}
