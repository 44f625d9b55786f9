package uplink

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// picture is a kernel whose state is one number, the MTU of one uplink.
type picture struct {
	mtu   atomic.Int64
	looks int
}

func newPicture(mtu int64) *picture {
	p := new(picture)
	p.mtu.Store(mtu)
	return p
}

func (p *picture) take() (Snapshot, error) {
	p.looks++
	return Snapshot{Uplinks: []Uplink{{Name: "x", MTU: int(p.mtu.Load())}}}, nil
}

func wantNext(t *testing.T, d *debouncer, mtu int, after time.Duration) {
	t.Helper()
	start := time.Now()
	s, err := d.next(t.Context())
	if err != nil || len(s.Uplinks) != 1 || s.Uplinks[0].MTU != mtu {
		t.Fatalf("got %+v %v, want MTU %d", s, err, mtu)
	}
	if got := time.Since(start); got != after {
		t.Errorf("came after %v, want %v", got, after)
	}
}

func TestBurstIsOneSnapshotAfterQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicture(1)
		d := newDebouncer(p.take)
		wantNext(t, d, 1, 0)
		go func() {
			for p.mtu.Load() < 4 {
				p.mtu.Add(1)
				hint(d.normal)
				time.Sleep(20 * time.Millisecond)
			}
		}()
		wantNext(t, d, 4, 40*time.Millisecond+settle)
		if p.looks != 2 {
			t.Errorf("%d looks, want 2", p.looks)
		}
	})
}

func TestStormIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicture(1)
		d := newDebouncer(p.take)
		wantNext(t, d, 1, 0)
		var storm sync.WaitGroup
		storm.Go(func() {
			for range 100 {
				p.mtu.Store(7)
				hint(d.normal)
				time.Sleep(7 * time.Millisecond)
			}
		})
		wantNext(t, d, 7, settleMax)
		storm.Wait()
	})
}

func TestLossComesAtOnceAndTheBurstIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicture(1)
		d := newDebouncer(p.take)
		wantNext(t, d, 1, 0)
		hint(d.normal)
		synctest.Wait()
		p.mtu.Store(2)
		hint(d.urgent)
		wantNext(t, d, 2, 0)
		p.mtu.Store(3) // without another hint: what was to be awaited has come meanwhile
		wantNext(t, d, 3, settle)
	})
}

func TestSameAgainIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicture(1)
		d := newDebouncer(p.take)
		wantNext(t, d, 1, 0)
		hint(d.normal)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := d.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLostAndBackIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDebouncer(newPicture(1).take)
		wantNext(t, d, 1, 0)
		hint(d.urgent)
		wantNext(t, d, 1, 0)
	})
}

func TestEndOfHintsEndsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPicture(0)
		d := newDebouncer(p.take)
		wantNext(t, d, 0, 0)
		d.err = ErrClosed
		close(d.done)
		if _, err := d.next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFeed(home)
		if s, err := f.Next(t.Context()); err != nil || !s.Equal(home) {
			t.Fatalf("got %+v %v", s, err)
		}
		go func() {
			time.Sleep(time.Second)
			f.Set(home) // no news
			time.Sleep(time.Second)
			f.Set(Snapshot{})
		}()
		start := time.Now()
		if s, err := f.Next(t.Context()); err != nil || !s.Equal(Snapshot{}) || time.Since(start) != 2*time.Second {
			t.Fatalf("got %+v %v after %v", s, err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { f.Close(); f.Close() })
		if _, err := f.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}
