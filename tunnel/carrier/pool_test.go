package carrier

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// pool runs a Pool whose carriers end in a network, until the test is over.
func (n *network) pool(warm, most int) (*Pool, *atomic.Int32) {
	dials := new(atomic.Int32)
	p := NewPool(PoolConfig{Warm: warm, Max: most, Dial: func(ctx context.Context) (net.Conn, error) {
		dials.Add(1)
		return n.dial(ctx)
	}})
	p.Switch(true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	n.t.Cleanup(func() { cancel(); <-done })
	return p, dials
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this has not come about: " + what)
		}
	}
}

func (p *Pool) idleCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle())
}

// TestPoolReuse: a carrier is used again, the one that was used last; with two in use there are more; off there are none.
func TestPoolReuse(t *testing.T) {
	n := newNetwork(t)
	p, dials := n.pool(2, 8)
	until(t, "two warm carriers", func() bool { return p.idleCount() == 2 })
	first, err := p.Open([]byte("a"), false)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a third carrier", func() bool { return p.idleCount() == 2 })
	used := first.conn
	far := n.next()
	first.Close()
	far.Close()
	until(t, "three idle carriers", func() bool { return p.idleCount() == 3 })
	again, err := p.Open([]byte("b"), false)
	if err != nil {
		t.Fatal(err)
	}
	if again.conn != used {
		t.Error("another carrier than the one that was used last")
	}
	if got := dials.Load(); got != 3 {
		t.Errorf("%d dials", got)
	}
	n.next().Close()
	p.Switch(false)
	until(t, "only the carrier in use", func() bool { return len(p.Conns()) == 1 })
	if _, err := p.Open(nil, true); !errors.Is(err, ErrNone) {
		t.Errorf("open while switched off: %v", err)
	}
}

// TestPoolBulk: nothing is put beside a bulk transfer; small ones share when they have to.
func TestPoolBulk(t *testing.T) {
	n := newNetwork(t)
	p, _ := n.pool(1, 1)
	bulk, err := p.Await(t.Context(), []byte("bulk"), true) // before there is a carrier
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(nil, false); !errors.Is(err, ErrNone) {
		t.Errorf("a second stream without sharing: %v", err)
	}
	small, err := p.Open([]byte("small"), true)
	if err != nil {
		t.Fatal(err)
	}
	far := n.next()
	go io.Copy(io.Discard, far)
	write(t, bulk, make([]byte, bulkAfter))
	if _, err := p.Open(nil, true); !errors.Is(err, ErrNone) {
		t.Errorf("a stream beside a bulk transfer: %v", err)
	}
	bulk.Close()
	small.Close()
	if s, err := p.Open(nil, false); err != nil {
		t.Errorf("after the bulk transfer: %v", err)
	} else {
		s.Close()
	}
}

// TestPoolRecovers: carriers that break are replaced, and one that is found broken is not the caller's trouble.
func TestPoolRecovers(t *testing.T) {
	n := newNetwork(t)
	p, dials := n.pool(2, 4)
	until(t, "two carriers", func() bool { return p.idleCount() == 2 })
	until(t, "their other ends", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.conns) == 2 })
	n.closeServers()
	until(t, "two more", func() bool { return dials.Load() >= 4 && p.idleCount() == 2 })
	s, err := p.Open([]byte("a"), false)
	if err != nil {
		t.Fatal(err)
	}
	if far := n.next(); far.target != "a" {
		t.Errorf("target %q", far.target)
	}
	s.Close()
}

// TestPoolRetires: a carrier that was retired keeps its stream, gets no other one, and is closed behind it; another one takes its place.
func TestPoolRetires(t *testing.T) {
	n := newNetwork(t)
	p, dials := n.pool(1, 4)
	s, err := p.Await(t.Context(), []byte("a"), false)
	if err != nil {
		t.Fatal(err)
	}
	far := n.next()
	s.conn.Retire()
	until(t, "another carrier", func() bool { return dials.Load() == 2 && p.idleCount() == 1 })
	write(t, s, []byte("x"))
	if _, err := far.Read(make([]byte, 1)); err != nil {
		t.Errorf("a stream of a retired carrier: %v", err)
	}
	s.Close()
	p.knock()
	until(t, "the end of the retired one", s.conn.ended)
	again, err := p.Open([]byte("b"), true)
	if err != nil {
		t.Fatal(err)
	}
	if again.conn == s.conn {
		t.Error("a stream on a retired carrier")
	}
}
