package uplink

import (
	"context"
	"sync"
)

// Feed is a Monitor whose snapshots are given by its owner: for systems
// without netlink, for fixed set-ups, and for tests (it works inside synctest
// bubbles). Set may be called from any goroutine.
type Feed struct {
	mu     sync.Mutex
	now    Snapshot
	wake   chan struct{} // closed and replaced at every change; guarded by mu
	closed bool

	seen bool     // owned by the caller of Next
	last Snapshot // owned by the caller of Next
}

// NewFeed returns a Monitor that reports s until Set is called.
func NewFeed(s Snapshot) *Feed { return &Feed{now: s, wake: make(chan struct{})} }

// Set changes the picture.
func (f *Feed) Set(s Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.now = s
	close(f.wake)
	f.wake = make(chan struct{})
}

// Next implements Monitor.
func (f *Feed) Next(ctx context.Context) (Snapshot, error) {
	for {
		f.mu.Lock()
		now, wake, closed := f.now, f.wake, f.closed
		f.mu.Unlock()
		if closed {
			return Snapshot{}, ErrClosed
		}
		if !f.seen || !now.Equal(f.last) {
			f.seen, f.last = true, now
			return now, nil
		}
		select {
		case <-ctx.Done():
			return Snapshot{}, ctx.Err()
		case <-wake:
		}
	}
}

// SetOptions does nothing: the owner says what the uplinks are.
func (f *Feed) SetOptions(WatchOptions) {}

// Close implements Monitor.
func (f *Feed) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.wake)
	}
	return nil
}
