package carrier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// patience bounds what a test waits for; it is reached only when something is broken.
const patience = 10 * time.Second

// served is a stream as the other end sees it.
type served struct {
	*Stream
	target string
	end    chan struct{} // closed by the test when its handler may return
}

// network is a listener on loopback whose carriers deliver their streams to the test.
type network struct {
	t       *testing.T
	l       net.Listener
	streams chan served
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns []*Conn
}

func newNetwork(t *testing.T) *network { return newNetworkWith(t, nil) }

func newNetworkWith(t *testing.T, memory Memory) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, l: l, streams: make(chan served, 64)}
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() {
				Serve(c, memory, func(c *Conn) {
					n.mu.Lock()
					n.conns = append(n.conns, c)
					n.mu.Unlock()
				}, func(s *Stream, target []byte) {
					end := make(chan struct{})
					n.streams <- served{s, string(target), end}
					<-s.conn.Done()
				})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.closeServers()
		n.wg.Wait()
	})
	return n
}

func (n *network) closeServers() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.shut()
	}
}

func (n *network) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", n.l.Addr().String())
}

func (n *network) client() *Conn {
	n.t.Helper()
	conn, err := n.dial(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := Client(conn)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// next is the stream that the other end has got.
func (n *network) next() served {
	n.t.Helper()
	select {
	case s := <-n.streams:
		return s
	case <-time.After(patience):
		n.t.Fatal("no stream has come")
		panic("unreachable")
	}
}

// open opens a stream and returns both its ends.
func (n *network) open(c *Conn, target string) (near *Stream, far served) {
	n.t.Helper()
	near, err := c.Open([]byte(target))
	if err != nil {
		n.t.Fatal(err)
	}
	far = n.next()
	if far.target != target {
		n.t.Errorf("target %q, want %q", far.target, target)
	}
	near.SetDeadline(time.Now().Add(patience))
	far.SetDeadline(time.Now().Add(patience))
	return near, far
}

func write(t *testing.T, s *Stream, b []byte) {
	t.Helper()
	if n, err := s.Write(b); err != nil || n != len(b) {
		t.Fatalf("wrote %d of %d: %v", n, len(b), err)
	}
}

// pattern is data of which every part is different.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// TestHalfClose: each direction ends for itself, and what was written before an end arrives, however late it is read. smux itself would
// throw away what is unread when both ends have said that they are done.
func TestHalfClose(t *testing.T) {
	n := newNetwork(t)
	near, far := n.open(n.client(), "example.net")
	question, answer := pattern(100_000), pattern(200_000) // both fit into the first window: nobody has to read
	write(t, near, question)
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	write(t, far.Stream, answer)
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		s    *Stream
		want []byte
	}{{far.Stream, question}, {near, answer}} {
		got, err := io.ReadAll(end.s)
		if err != nil || !bytes.Equal(got, end.want) {
			t.Errorf("read %d bytes of %d: %v", len(got), len(end.want), err)
		}
		if _, err := end.s.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write behind the end: %v", err)
		}
	}
	near.Close()
	far.Close()
	// The carrier is good for the next one.
	near, far = n.open(near.conn, "again")
	write(t, near, []byte("x"))
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func code(err error) uint64 {
	var r *ResetError
	if errors.As(err, &r) {
		return r.Code
	}
	return 999
}

// TestReset: what came before it is read, then its code is told; writing fails, also while it waits for room.
func TestReset(t *testing.T) {
	n := newNetwork(t)
	c := n.client()
	near, far := n.open(c, "a")
	write(t, far.Stream, []byte("last words"))
	blocked := make(chan error, 1)
	go func() {
		_, err := near.Write(make([]byte, 2*streamWindow)) // more than there is room for
		blocked <- err
	}()
	until(t, "a write under way", func() bool { return near.Moved() > 1<<16 })
	far.Fail(4)
	if got, err := io.ReadAll(near); string(got) != "last words" || code(err) != 4 {
		t.Errorf("read %q, %v", got, err)
	}
	select {
	case err := <-blocked:
		if code(err) != 4 {
			t.Errorf("a write that waited: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a write goes on waiting after a reset")
	}
	near.Close()
	// A Close before both directions have ended is a reset too; OnReset tells, although nobody reads.
	near, far = n.open(c, "b")
	told := make(chan uint64, 1)
	far.OnReset(func(code uint64) { told <- code })
	near.Close()
	select {
	case got := <-told:
		if got != Closed {
			t.Errorf("code %d", got)
		}
	case <-time.After(patience):
		t.Fatal("nobody is told of a reset")
	}
	if _, err := far.Write([]byte{1}); code(err) != Closed {
		t.Errorf("a write after a reset: %v", err)
	}
}

// TestAccept: the opener learns that the target was reached, or why not; and sends before it knows.
func TestAccept(t *testing.T) {
	n := newNetwork(t)
	c := n.client()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	near, far := n.open(c, "a")
	write(t, near, []byte("early"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(far, b); err != nil || string(b) != "early" {
		t.Fatal(err)
	}
	far.Accept()
	if err := near.Wait(ctx); err != nil {
		t.Error(err)
	}
	near, far = n.open(c, "b")
	far.Fail(1)
	if err := near.Wait(ctx); code(err) != 1 {
		t.Errorf("refused: %v", err)
	}
}

// TestSlowReader: a stream that nobody reads stops its writer and not the others.
func TestSlowReader(t *testing.T) {
	n := newNetwork(t)
	c := n.client()
	stuck, _ := n.open(c, "stuck")
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome)
	go func() {
		k, err := stuck.Write(make([]byte, 4*streamWindow))
		done <- outcome{k, err}
	}()
	until(t, "a full window", func() bool { return stuck.Moved() >= streamWindow/frameSize*frameSize })
	stuck.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if o := <-done; !errors.Is(o.err, os.ErrDeadlineExceeded) || o.n > streamWindow {
		t.Errorf("%d bytes were taken that nobody reads: %v", o.n, o.err)
	}
	stuck.SetWriteDeadline(time.Time{})
	if _, err := stuck.Write([]byte{1}); !errors.Is(err, ErrBroken) {
		t.Errorf("a write behind one of which a part may be missing: %v", err)
	}
	near, far := n.open(c, "free")
	want := pattern(streamWindow + 1<<20)
	go func() {
		near.Write(want)
		near.CloseWrite()
	}()
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
		t.Errorf("beside a stuck stream: %d bytes of %d, %v", len(got), len(want), err)
	}
}

func TestDeadlines(t *testing.T) {
	n := newNetwork(t)
	near, far := n.open(n.client(), "a")
	near.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	near.SetReadDeadline(time.Time{})
	write(t, far.Stream, []byte("x"))
	if k, err := near.Read(make([]byte, 1)); k != 1 || err != nil {
		t.Errorf("read after a deadline: %d, %v", k, err)
	}
}

// TestEnd: the end of a carrier is a reset of its streams, and Serve returns.
func TestEnd(t *testing.T) {
	n := newNetwork(t)
	c := n.client()
	near, far := n.open(c, "a")
	c.NetConn().Close()
	for _, s := range []*Stream{near, far.Stream} {
		if _, err := s.Read(make([]byte, 1)); code(err) != Gone {
			t.Errorf("read: %v", err)
		}
	}
	if _, err := c.Open([]byte("b")); !errors.Is(err, ErrBroken) {
		t.Errorf("open: %v", err)
	}
}

// TestEarlyMessages: what is said about a stream before it is taken counts.
func TestEarlyMessages(t *testing.T) {
	c := n0(t)
	c.early[7] = []message{{end, 7, 0}, {reset, 7, 3}}
	s, err := c.sess.OpenStream() // 5
	if err == nil {
		s, err = c.sess.OpenStream() // 7
	}
	if err != nil {
		t.Fatal(err)
	}
	st, ok := c.take(s)
	if !ok || s.ID() != 7 {
		t.Fatalf("stream %d, taken %v", s.ID(), ok)
	}
	if _, err := st.Write([]byte{1}); code(err) != 3 {
		t.Errorf("write: %v", err)
	}
	if len(c.early) != 0 {
		t.Error("early messages are kept")
	}
}

func n0(t *testing.T) *Conn { return newNetwork(t).client() }
