package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memory is a stream in memory, for bubbles: each direction is a pipe of its own, so that
// one can end before the other.
type memory struct {
	in, out net.Conn
	// reset is common to both ends.
	reset  *atomic.Bool
	closed *atomic.Bool
	local  net.Addr
}

var errReset = errors.New("connection reset by peer")

func memoryPair() (a, b *memory) {
	a1, b1 := net.Pipe()
	a2, b2 := net.Pipe()
	reset := new(atomic.Bool)
	return &memory{a1, a2, reset, new(atomic.Bool), &net.TCPAddr{}}, &memory{b2, b1, reset, new(atomic.Bool), &net.TCPAddr{}}
}

func (m *memory) fix(err error) error {
	if err != nil && m.reset.Load() && !m.closed.Load() {
		return errReset
	}
	return err
}

func (m *memory) Read(p []byte) (int, error) {
	n, err := m.in.Read(p)
	return n, m.fix(err)
}

func (m *memory) Write(p []byte) (int, error) {
	n, err := m.out.Write(p)
	return n, m.fix(err)
}

func (m *memory) CloseWrite() error { return m.out.Close() }

func (m *memory) Close() error {
	m.closed.Store(true)
	m.out.Close()
	return m.in.Close()
}

func (m *memory) Reset() error {
	m.reset.Store(true)
	return m.Close()
}

func (m *memory) LocalAddr() net.Addr                { return m.local }
func (m *memory) RemoteAddr() net.Addr               { return m.local }
func (m *memory) SetReadDeadline(t time.Time) error  { return m.in.SetReadDeadline(t) }
func (m *memory) SetWriteDeadline(t time.Time) error { return m.out.SetWriteDeadline(t) }
func (m *memory) SetDeadline(t time.Time) error {
	return errors.Join(m.in.SetReadDeadline(t), m.out.SetWriteDeadline(t))
}

// listener gives out streams in memory.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Err: net.ErrClosed}
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// dialer answers with dial, and notes what it was asked for.
type dialer struct {
	dial      func(ctx context.Context, t Target) (Conn, error)
	associate func(ctx context.Context) (PacketConn, error)
	mu        sync.Mutex
	asked     []Target
}

func (d *dialer) DialTarget(ctx context.Context, t Target) (Conn, error) {
	d.mu.Lock()
	d.asked = append(d.asked, t)
	d.mu.Unlock()
	return d.dial(ctx, t)
}

func (d *dialer) Associate(ctx context.Context) (PacketConn, error) { return d.associate(ctx) }

// serve starts a server in the bubble and returns how to connect to it.
func serve(t *testing.T, c Config, p Protocol) (connect func() *memory, s *Server) {
	t.Helper()
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	l := newListener()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if open := s.Stats().Open; open != 0 {
			t.Errorf("%d connections are left", open)
		}
	})
	return func() *memory {
		a, b := memoryPair()
		l.conns <- b
		return a
	}, s
}
