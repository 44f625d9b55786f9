package endpoints

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// tcpPair is a connection over the loopback device, both ends.
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
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// The readers of sockets and of what is none behave the same.
func TestBlockReaders(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			a, b := tcpPair(t)
			var r blockReader = &plainReader{conn: b}
			if !plain {
				r = newBlockReader(b)
				if _, slow := r.(*plainReader); slow && runtime.GOOS == "linux" {
					t.Fatalf("a socket is read by %T", r)
				}
			}
			a.Write([]byte("few"))
			few, err := r.read(maxBlocks)
			if err != nil || len(few) != 1 || string(few[0]) != "few" || !plain && cap(few[0]) > 64 {
				t.Errorf("got %q, %v", few, err)
			}
			data := pattern(3<<20, 1)
			go func() { // ends with the write
				a.Write(data)
				a.CloseWrite()
			}()
			var got []byte
			for err == nil {
				var blocks [][]byte
				blocks, err = r.read(maxBlocks)
				for _, block := range blocks {
					if len(block) > maxBlock || len(block) == 0 {
						t.Errorf("a block of %d bytes", len(block))
					}
					got = append(got, block...)
				}
			}
			if err != io.EOF || !bytes.Equal(got, data) {
				t.Errorf("%d of %d bytes, %v", len(got), len(data), err)
			}

			c, d := tcpPair(t)
			r = newBlockReader(d)
			d.SetReadDeadline(longAgo)
			if _, err := r.read(maxBlocks); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("behind the deadline: %v", err)
			}
			d.SetReadDeadline(time.Time{})
			abort(c)
			if _, err := r.read(maxBlocks); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after a reset: %v", err)
			}
		})
	}
}

// The writers of sockets and of what is none behave the same, with a socket that takes little at a time.
func TestChainWriters(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			a, b := tcpPair(t)
			a.SetWriteBuffer(8 << 10)
			var w chainWriter = &plainWriter{conn: a}
			if !plain {
				w = newChainWriter(a)
				if _, slow := w.(*plainWriter); slow && runtime.GOOS == "linux" {
					t.Fatalf("a socket is written by %T", w)
				}
			}
			data := pattern(2_000_000, 2)
			got := make(chan []byte)
			go func() { // joined below
				all, _ := io.ReadAll(b)
				got <- all
			}()
			for rest := data; len(rest) > 0; {
				chain := []*buf.Buf{buf.Get()} // one is empty
				size := 0
				for len(chain) < 1100 && len(rest) > 0 {
					c := buf.Get()
					n := min(1300-len(chain)%7, len(rest))
					c.Append(rest[:n])
					chain, rest, size = append(chain, c), rest[n:], size+n
				}
				if n, err := w.write(chain); n != size || err != nil {
					t.Fatalf("wrote %d of %d bytes, %v", n, size, err)
				}
				releaseAll(chain)
			}
			a.CloseWrite()
			if all := <-got; !bytes.Equal(all, data) {
				t.Errorf("%d of %d bytes came", len(all), len(data))
			}
			chain := []*buf.Buf{buf.Get()}
			chain[0].Append(data[:1000])
			if _, err := w.write(chain); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("behind the end: %v", err)
			}
			c, d := tcpPair(t)
			w = newChainWriter(c)
			c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			var err error
			for err == nil {
				_, err = w.write(chain) // nobody reads
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("behind the deadline: %v", err)
			}
			d.Close()
			releaseAll(chain)
		})
	}
}

// flowRig is a rig with one flow that has a stream, and the far end of its connection.
func flowRig(t *testing.T) (*rig, *flow, *memConn) {
	r := newRig(t)
	r.do(func(time.Duration) { r.s.room, r.s.calls = 1, nil })
	f := newFlow(r.e, &r.flows, []byte("target"))
	r.flows.add(f)
	client, c := memPair(lanClient, exitListen)
	f.tell()
	f.start(c)
	synctest.Wait()
	return r, f, client
}

func (r *rig) calls() (calls []string) {
	r.do(func(time.Duration) { calls, r.s.calls = r.s.calls, nil })
	return calls
}

func (r *rig) event(e tunnel.StreamEvent) {
	r.do(func(time.Duration) { r.s.streamEvents = append(r.s.streamEvents, e) })
	synctest.Wait()
}

func (r *rig) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := r.calls(); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// While a stream has no room its connection is read for two blocks and no more.
func TestFlowHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, client := flowRig(t)
		defer r.end()
		r.expect(t, "opening", "open target")
		r.do(func(time.Duration) { r.s.room = 0 })
		go client.Write(make([]byte, 10*maxBlock)) // ends with the connection
		r.expect(t, "no room")
		taken := client.delivered()
		if taken > 2*maxBlock {
			t.Errorf("%d bytes were read ahead", taken)
		}
		r.do(func(time.Duration) { r.s.room = 1 })
		r.event(tunnel.StreamEvent{Kind: tunnel.StreamWritable})
		calls := r.calls()
		if len(calls) < 10 || !strings.HasPrefix(calls[0], "write") || client.delivered() != 10*maxBlock {
			t.Errorf("with room: %q, %d bytes read", calls, client.delivered())
		}
		client.CloseWrite()
		r.expect(t, "the end", "end 0")
	})
}

// Blocks that were read together are carried together, as far as there is room, and those of all flows are counted until they are, whatever
// becomes of their flow.
func TestBlocksAreCarriedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f, _ := flowRig(t)
		r.expect(t, "opening", "open target")
		f.give([][]byte{make([]byte, 3000), make([]byte, 200), make([]byte, 10)})
		r.expect(t, "with room", "write 3000 to 0", "write 200 to 0", "write 10 to 0")
		if n := r.flows.unread.Load(); n != 0 {
			t.Errorf("%d bytes are unread when all are carried", n)
		}
		r.do(func(time.Duration) { r.s.room = 0 })
		f.give([][]byte{make([]byte, 3000), make([]byte, 200)})
		r.expect(t, "without")
		if n := r.flows.unread.Load(); n != 3200 {
			t.Errorf("%d bytes are unread, want 3200", n)
		}
		f.fail(tunnel.ResetAborted)
		r.expect(t, "broken", "write 3000 to 0", "write 200 to 0", "abort 7 of 0")
		r.end()
		late := newFlow(r.e, &r.flows, []byte("late"))
		late.putBlocks(make([]byte, 77))
		late.fail(tunnel.ResetAborted) // its engine has ended
		if n := r.flows.unread.Load(); n != 0 {
			t.Errorf("%d bytes are unread in the end", n)
		}
		if n := r.flows.mayRead(); n != maxBlocks {
			t.Errorf("%d blocks may be read", n)
		}
		r.flows.unread.Add(flowsUnread + 1)
		if n := r.flows.mayRead(); n != 1 {
			t.Errorf("%d blocks may be read when too much is unread", n)
		}
	})
}

// What the connection does not take stays in the session, and is asked for again when it does.
func TestFlowDoesNotReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f, client := flowRig(t)
		defer r.end()
		r.do(func(time.Duration) { r.s.readable, r.s.readEnd = 5_000_000, true })
		r.event(tunnel.StreamEvent{Kind: tunnel.StreamReadable})
		left := 0
		r.do(func(time.Duration) { left = r.s.readable })
		if n := 5_000_000 - left; n > flowWaiting+memBuffer+2*batch*1000 || n < flowWaiting {
			t.Errorf("%d bytes were read ahead", n)
		}
		if n := r.flows.waiting.Load(); n > flowWaiting+batch*1000 || n < flowWaiting/2 {
			t.Errorf("%d bytes wait", n)
		}
		if got, err := io.ReadAll(client); len(got) != 5_000_000 || err != nil {
			t.Errorf("%d bytes came, %v", len(got), err)
		}
		synctest.Wait()
		if n := r.flows.waiting.Load(); n != 0 || f.waiting != 0 {
			t.Errorf("%d and %d bytes wait", n, f.waiting)
		}
	})
}

// When many connections are slow each may have less.
func TestFlowsShareTheirMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := flowRig(t)
		defer r.end()
		r.flows.waiting.Add(flowsWaiting)
		r.do(func(time.Duration) { r.s.readable = 5_000_000 })
		r.event(tunnel.StreamEvent{Kind: tunnel.StreamReadable})
		if n := r.flows.waiting.Load() - flowsWaiting; n > flowWaitingTight+batch*1000 {
			t.Errorf("%d bytes wait", n)
		}
		r.flows.waiting.Add(-flowsWaiting)
	})
}

// The end of a connection that broke is told when what it had brought has arrived.
func TestBrokenConnectionIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, client := flowRig(t)
		defer r.end()
		r.calls()
		r.do(func(time.Duration) { r.s.flying = true })
		client.Write(make([]byte, 100))
		synctest.Wait()
		client.abort()
		r.expect(t, "at once", "write 100 to 0", "abort 7 of 0")
		time.Sleep(partingTime - time.Millisecond)
		r.expect(t, "before the time")
		time.Sleep(2 * time.Millisecond)
		r.expect(t, "when it takes too long", "reset 7 of 0")
	})
	synctest.Test(t, func(t *testing.T) {
		r, _, client := flowRig(t)
		defer r.end()
		r.do(func(time.Duration) { r.s.flying = true })
		client.Write(make([]byte, 100))
		synctest.Wait()
		client.abort()
		synctest.Wait()
		r.event(tunnel.StreamEvent{Kind: tunnel.StreamDone})
		r.calls()
		time.Sleep(2 * partingTime)
		r.expect(t, "when it has arrived")
	})
	synctest.Test(t, func(t *testing.T) {
		r, _, client := flowRig(t)
		defer r.end()
		r.calls()
		client.abort()
		r.expect(t, "with nothing under way", "abort 7 of 0")
	})
}

// What has arrived before a reset is written before it, if the connection takes it.
func TestResetComesBehindData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, client := flowRig(t)
		defer r.end()
		r.do(func(time.Duration) {
			r.s.readable = memBuffer * 2
			r.s.streamEvents = []tunnel.StreamEvent{{Kind: tunnel.StreamReadable}, {Kind: tunnel.StreamReset, Code: tunnel.ResetAborted}}
		})
		synctest.Wait()
		if r.flows.len() != 1 {
			t.Error("the connection was reset while it had something to take")
		}
		got := make([]byte, memBuffer*2)
		n, err := io.ReadFull(client, got)
		if err != nil {
			t.Errorf("%d bytes came, %v", n, err)
		}
		if _, err := client.Read(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ended with %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // but it is not waited for long
		r, _, _ := flowRig(t)
		defer r.end()
		r.do(func(time.Duration) { r.s.readable = memBuffer * 4 })
		r.event(tunnel.StreamEvent{Kind: tunnel.StreamReadable})
		r.event(tunnel.StreamEvent{Kind: tunnel.StreamReset, Code: tunnel.ResetAborted})
		time.Sleep(drainTime + time.Millisecond)
		synctest.Wait()
		if r.flows.len() != 0 || r.flows.waiting.Load() != 0 {
			t.Errorf("%d connections are left, %d bytes wait", r.flows.len(), r.flows.waiting.Load())
		}
	})
}

// A new session ends the streams of the old one, and takes up what has waited for it.
func TestFlowsAcrossSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, client := flowRig(t)
		defer r.end()
		r.do(func(now time.Duration) { r.s.events = []tunnel.Event{{Kind: tunnel.PeerClosed}} })
		synctest.Wait()
		r.do(func(time.Duration) {}) // a turn that sees it
		if r.flows.len() != 1 {
			t.Error("the connection ended with the session, before there is another")
		}
		late := newFlow(r.e, &r.flows, []byte("late"))
		r.flows.add(late)
		other, c := memPair(lanClient, exitListen)
		late.tell()
		late.start(c)
		other.Write([]byte("early data"))
		synctest.Wait()
		next := &scripted{room: 1}
		r.do(func(now time.Duration) { r.e.swap(now, next) })
		r.s = next
		r.expect(t, "the new session", "open late", "write 10 to 0")
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the old connection ended with %v", err)
		}
		if st := r.flows.status(); st.Open != 1 || st.Refused["session_lost"] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// A session has only so many streams.
func TestNoMoreStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		r.do(func(time.Duration) { r.s.refuse = errors.New("no more") })
		f := newFlow(r.e, &r.flows, []byte("target"))
		r.flows.add(f)
		client, c := memPair(lanClient, exitListen)
		f.tell()
		f.start(c)
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ended with %v", err)
		}
		if st := r.flows.status(); st.Refused["limit"] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestStreamConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		f := newFlow(r.e, &r.flows, []byte("target"))
		r.flows.add(f)
		c := &streamConn{flow: f}
		f.tell()
		begin := time.Now()
		c.SetReadDeadline(begin.Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("read: %v after %v", err, time.Since(begin))
		}
		c.SetWriteDeadline(begin.Add(3 * time.Second))
		if n, err := c.Write(make([]byte, 3*maxBlock)); n != maxBlock || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("wrote %d: %v after %v", n, err, time.Since(begin))
		}
		c.SetDeadline(time.Time{})
		go func() { // ends with the connection
			time.Sleep(time.Second)
			c.Close()
		}()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed one: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed one: %v", err)
		}
		if r.flows.len() != 0 {
			t.Error("a closed one is kept")
		}
	})
}

// Nothing is left of connections that come when the node ends.
func TestFlowAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.end()
		f := newFlow(r.e, &r.flows, []byte("target"))
		if r.flows.add(f) {
			t.Error("a flow was added after the end")
		}
		client, c := memPair(lanClient, exitListen)
		f.start(c)
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("ended with %v", err)
		}
	})
}
