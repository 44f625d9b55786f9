package uplink

import (
	"context"
	"time"
)

const (
	// settle is how long the picture must be quiet before it is taken: a DHCP
	// client or a modem changes link, address and route one after the other
	// within some milliseconds.
	settle = 50 * time.Millisecond
	// settleMax bounds the wait in a storm of changes.
	settleMax = 4 * settle
)

// debouncer turns hints that something changed into snapshots. It holds no
// goroutine: the caller of next waits.
type debouncer struct {
	urgent chan struct{} // capacity 1: look now and report (something was lost)
	normal chan struct{} // capacity 1: look when it is quiet (something came)
	done   chan struct{} // closed when no more hints will come
	err    error         // why; valid after done is closed

	take func() (Snapshot, error)

	// Owned by the caller of next.
	seen bool
	last Snapshot
}

func newDebouncer(take func() (Snapshot, error)) *debouncer {
	return &debouncer{
		urgent: make(chan struct{}, 1),
		normal: make(chan struct{}, 1),
		done:   make(chan struct{}),
		take:   take,
	}
}

// hint wakes the waiter; a hint that is pending already says the same.
func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// look takes a snapshot and tells whether it is news. After a loss it is, even
// if all looks as before: the kernel has dropped routes in between.
func (d *debouncer) look(loss bool) (Snapshot, bool, error) {
	s, err := d.take()
	if err != nil {
		return Snapshot{}, false, err
	}
	if d.seen && !loss && s.Equal(d.last) {
		return Snapshot{}, false, nil
	}
	d.seen, d.last = true, s
	return s, true, nil
}

func (d *debouncer) next(ctx context.Context) (Snapshot, error) {
	select {
	case <-d.done:
		return Snapshot{}, d.err
	default:
	}
	if !d.seen {
		s, _, err := d.look(false)
		return s, err
	}
	quiet := time.NewTimer(settle)
	quiet.Stop()
	defer quiet.Stop()
	var first time.Time // of the burst; zero: no burst
	for {
		loss := false
		select {
		case <-ctx.Done():
			if !first.IsZero() {
				hint(d.normal) // the burst is not forgotten
			}
			return Snapshot{}, ctx.Err()
		case <-d.done:
			return Snapshot{}, d.err
		case <-d.normal:
			now := time.Now()
			if first.IsZero() {
				first = now
			}
			quiet.Reset(min(settle, max(0, settleMax-now.Sub(first))))
			continue
		case <-quiet.C:
			first = time.Time{}
		case <-d.urgent:
			// The burst goes on: what replaces the lost may still come.
			loss = true
		}
		s, news, err := d.look(loss)
		if err != nil {
			return Snapshot{}, err
		}
		if news {
			if !first.IsZero() {
				hint(d.normal)
			}
			return s, nil
		}
	}
}
