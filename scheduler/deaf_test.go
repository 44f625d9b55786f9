package scheduler

import (
	"testing"
	"time"
)

// listen feeds a hearing with one window after the other: a rate in bytes/s, and the part of it that was surplus.
func listen(h *hearing, from time.Duration, rate, share float64) time.Duration {
	const packets = 100
	surplus := 0
	for i := range packets {
		size := int(rate * deafWindow.Seconds() / packets)
		surplus = h.arrive(from+time.Duration(i)*deafWindow/packets, size, surplus, 24*time.Millisecond) + int(share*float64(size))
	}
	h.arrive(from+deafWindow, 0, surplus, 24*time.Millisecond)
	return from + deafWindow
}

// A sender of 24 Mb/s on a line of 10 that does not care is deaf after three seconds, and is so until three have passed without a surplus.
func TestDeaf(t *testing.T) {
	var h hearing
	now := 10 * time.Second
	h.arrive(now, 1, 0, 24*time.Millisecond)
	for i := 1; i <= 5; i++ {
		now = listen(&h, now, 3e6, .58)
		if h.deaf != (i >= deafProof) {
			t.Errorf("after %d s: deaf %v", i, h.deaf)
		}
	}
	for i := 1; i <= 4; i++ {
		now = listen(&h, now, 1e6, 0)
		if h.deaf != (i < deafLapse) {
			t.Errorf("%d s after the surplus has ended: deaf %v", i, h.deaf)
		}
	}
}

// What answers is never deaf, and what has answered is so no longer.
func TestNotDeaf(t *testing.T) {
	for _, c := range []struct {
		name   string
		rates  []float64 // bytes/s
		shares []float64
		deaf   bool // at the end
	}{
		{"a slow start that overshoots", []float64{2e6, 1.1e6, 1.2e6, 1.2e6, 1.2e6}, []float64{.3, .012, .001, .001, .001}, false},
		{"CUBIC that is cut each second", []float64{3e6, 2.1e6, 1.5e6, 1.03e6, .72e6}, []float64{.1, .1, .1, .1, .1}, false},
		{"a sender of a tenth of a line, on which everybody loses as much", []float64{125e3, 125e3, 125e3, 125e3, 125e3}, []float64{.05, .05, .05, .05, .05}, false},
		{"a stream that just fits", []float64{1.2e6, 1.2e6, 1.2e6, 1.2e6, 1.2e6}, []float64{.005, .005, .005, .005, .005}, false},
		{"deaf", []float64{3e6, 2.8e6, 3.2e6}, []float64{.5, .5, .5}, true},
		{"deaf, with a scene that is still", []float64{3e6, 3e6, 3e6, 1e6}, []float64{.5, .5, .5, 0}, true},
		{"deaf, then it answers", []float64{3e6, 3e6, 3e6, 2e6}, []float64{.5, .5, .5, .3}, false},
	} {
		var h hearing
		now := 10 * time.Second
		h.arrive(now, 1, 0, 24*time.Millisecond)
		for i, r := range c.rates {
			now = listen(&h, now, r, c.shares[i])
		}
		if h.deaf != c.deaf {
			t.Errorf("%s: deaf %v", c.name, h.deaf)
		}
	}
	// After a pause it is another sender's turn.
	h := hearing{deaf: true, since: time.Second}
	if h.arrive(10*time.Second, 1000, 5000, 24*time.Millisecond); h.deaf {
		t.Error("deaf after a pause")
	}
}
