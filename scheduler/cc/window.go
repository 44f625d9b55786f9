package cc

import (
	"math"
	"time"
)

const (
	initialWindow = 10 // datagrams (RFC 6928)
	seededWindow  = 32 // at most, where a rate is remembered
	minWindow     = 4  // datagrams: below, acknowledgements come too seldom to steer by
	// firstRTT spreads the first window where no round trip is known: between
	// a burst and a wait.
	firstRTT = 25 * time.Millisecond
	// minRate, bytes/s: one datagram in a few hundred milliseconds. Pacing
	// must never stop.
	minRate = 4000
	// maxWindow, bytes: more than 2 × 10 Gb/s × 700 ms.
	maxWindow = 1 << 31
)

// gain is the pacing gain of the state.
func (c *BBR) gain() float64 {
	switch c.state {
	case startup:
		return startupGain
	case drain:
		return drainGain
	case up:
		return c.upGainNow()
	case down:
		if c.stand > c.bound() {
			return drainGain
		}
		return downGain
	}
	return 1
}

// PacingRate is the rate at which datagrams may leave, in bytes/s; always
// positive and finite.
func (c *BBR) PacingRate() float64 {
	bw := c.bw.value()
	var rate float64
	switch {
	case bw <= 0:
		rtt := firstRTT
		if c.base > 0 {
			rtt = min(max(c.base/2, time.Millisecond), firstRTT)
		}
		rate = max(c.seed, initialWindow*float64(c.mss)/rtt.Seconds())
		if c.seed > 0 {
			rate = c.seed
		}
	case c.state == startup && c.seed > bw*startupGain:
		rate = c.seed
	case c.testing && c.state == cruise:
		rate = testGain * min(bw, c.granted)
	default:
		rate = c.gain() * bw * c.surplus()
	}
	rate = max(rate, minRate)
	if c.maxRate > 0 {
		rate = min(rate, c.maxRate)
	}
	return min(rate, math.MaxFloat64/1e12)
}

// target is the window the model asks for, in bytes.
func (c *BBR) target() int {
	bw := max(c.bw.value(), c.seed)
	if bw <= 0 || c.base <= 0 {
		n := initialWindow
		if c.seed > 0 {
			n = seededWindow
		}
		return n * c.mss
	}
	path := bw * c.base.Seconds()
	noise := bw * c.noise.Seconds()
	var w float64
	switch {
	case c.state == probeRTT:
		w = path/2 + noise/2
	case c.state != startup && c.stand > c.bound():
		w = 1.1*path + noise
	default:
		w = 2*path + noise
	}
	floor := minWindow
	if c.state == startup {
		floor = initialWindow
	}
	w *= c.surplus()
	return int(min(max(w, float64(floor*c.mss)), maxWindow))
}

// Window is the number of bytes that may be in flight; never less than two
// datagrams.
func (c *BBR) Window() int {
	w := c.target()
	if c.allowance > 0 {
		w = min(w, c.allowance)
	}
	return max(w, 2*c.mss)
}

// Rate is the estimate of what the path carries, in bytes/s; 0 before the
// first sample.
func (c *BBR) Rate() float64 { return c.bw.value() }

// MinRTT is the smallest recent round trip; 0 before the first sample.
func (c *BBR) MinRTT() time.Duration { return c.base }

// State names the phase, for people.
func (c *BBR) State() string {
	names := [...]string{startup: "startup", drain: "drain", cruise: "cruise", up: "up", down: "down", probeRTT: "probe-rtt"}
	return names[c.state]
}
