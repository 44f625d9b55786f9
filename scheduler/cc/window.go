package cc

import "time"

const (
	// initialWindow, datagrams. RFC 6928 has 10, for a sender that stands
	// alone; here a new path joins others, and an inner TCP that is paced
	// below its own initial windows takes that for a full link (HyStart).
	initialWindow = 32
	minWindow     = 4 // datagrams: below, acknowledgements come too seldom to steer by
	// firstRTT spreads the first window where no round trip is known: between
	// a burst and a wait.
	firstRTT = 25 * time.Millisecond
	// leastRound is the shortest round trip that a window is made for: acknowledgements wait up to 1 ms, and the two ends for
	// their processors; over a bare wire the round trip itself is 50 µs.
	leastRound = time.Millisecond
	// minRate, bytes/s: one datagram in a few hundred milliseconds. Pacing
	// must never stop.
	minRate = 4000
	// maxWindow, bytes: more than 10 Gb/s × 700 ms, and an int everywhere.
	maxWindow = 1 << 30
	// maxRate, bytes/s: what no path carries; keeps sums finite.
	maxRate = 1e11
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
	case c.rival.level != polite:
		rate = c.rival.firm.pacing()
		if c.rival.level == greedy {
			rtt := c.base + c.rival.laps.past[0].queue
			rate = max(rate, 1.2*c.greed()/max(rtt, time.Millisecond).Seconds())
		}
	case c.testing && c.state == cruise:
		rate = testGain * min(bw, c.granted)
	default:
		rate = c.gain() * bw * c.surplus()
	}
	if c.state == startup && c.base > 0 && c.seed == 0 {
		// What little an idle path has carried says nothing about its rate.
		rate = max(rate, initialWindow*float64(c.mss)/c.base.Seconds())
	}
	rate = max(rate, minRate)
	if c.maxRate > 0 {
		rate = min(rate, c.maxRate)
	}
	return min(rate, maxRate)
}

// target is the window the model asks for, in bytes.
func (c *BBR) target() int {
	bw := max(c.bw.value(), c.seed)
	if bw <= 0 || c.base <= 0 {
		return initialWindow * c.mss
	}
	path := bw * max(c.base, leastRound).Seconds()
	noise := bw * c.noise.Seconds()
	var w float64
	switch {
	case c.state == probeRTT:
		w = path/2 + noise/2
	case c.state != startup && c.stand > c.bound() && c.rival.level == polite:
		w = 1.1*path + noise
	default:
		w = 2*path + noise
		if c.stand <= c.low() {
			// Twice what is on the way, jitter included: with room for one of it only, a short road with long jitter never
			// shows a rate above the estimate. Not while a queue stands: there it would be filled.
			w += bw * min(c.noise, 2*c.jitter).Seconds()
		}
	}
	floor := minWindow
	if c.state == startup {
		floor = initialWindow
	}
	w *= c.surplus()
	switch c.rival.level {
	case firm:
		w = c.rival.firm.window(c.mss)
	case greedy:
		w = c.greed()
	}
	return int(min(max(w, float64(floor*c.mss)), maxWindow))
}

// greed is the window of the greedy level.
func (c *BBR) greed() float64 {
	r := &c.rival
	if r.elastic.phase == elasticCut {
		return cutTo * r.elastic.before.inflight
	}
	return max(r.cubic.window, minWindow*float64(c.mss))
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
func (c *BBR) Rate() float64 {
	if c.rival.level != polite {
		return c.rival.firm.rate()
	}
	return c.bw.value()
}

// MinRTT is the smallest recent round trip; 0 before the first sample.
func (c *BBR) MinRTT() time.Duration { return c.base }

// Starting reports whether the controller is still looking for the rate of the path.
func (c *BBR) Starting() bool { return c.state == startup }

// State names the phase, for people.
func (c *BBR) State() string {
	names := [...]string{startup: "startup", drain: "drain", cruise: "cruise", up: "up", down: "down", probeRTT: "probe-rtt"}
	switch c.rival.level {
	case firm:
		return "firm"
	case greedy:
		return "greedy"
	}
	return names[c.state]
}
