package cc

import "time"

const (
	// rttWindow is how long the smallest round trip is believed (BBR: 10 s).
	rttWindow = 10 * time.Second
	// A standing queue is the minimum over a moment that holds a few grants of
	// a radio scheduler (20 ms each) where there is jitter, so that jitter is
	// not taken for a queue, and a short moment where there is none.
	standMin    = 20 * time.Millisecond
	standMax    = 100 * time.Millisecond
	standJitter = 8
	// firstJitter is assumed until the path has shown its own.
	firstJitter = 5 * time.Millisecond
	// epochMin is the shortest time judged: it averages over such grants.
	epochMin = 60 * time.Millisecond
	// maxNoise bounds how much jitter the controller makes room for.
	maxNoise = 50 * time.Millisecond
)

// measure brings one acknowledgement's samples into the model.
func (c *BBR) measure(now time.Duration, a Ack) {
	if a.RTT > 0 {
		c.rtt.add(now, rttWindow, a.RTT)
		c.base = max(c.rtt.value(now), time.Microsecond)
	}
	if q, ok := c.queue(a); ok {
		c.standing.add(now, min(standMin+standJitter*c.jitter, standMax), q)
		if q <= time.Millisecond+c.jitter/4+c.base/50 {
			c.refreshed = now
		}
	}
	c.stand = 0
	if v := c.standing.value(now); v != never {
		c.stand = v
	}
	if a.Rate > 0 && (!a.AppLimited || a.Rate >= c.bw.value()) {
		c.bw.add(a.Rate)
	}
}

// queue is the queueing delay the newest sample met.
func (c *BBR) queue(a Ack) (time.Duration, bool) {
	switch {
	case a.Queue >= 0:
		return a.Queue, true
	case a.RTT > 0:
		return max(0, a.RTT-c.base-c.noise), true
	}
	return 0, false
}

// packetTime is the time of n full datagrams at the estimated rate.
func (c *BBR) packetTime(n float64) time.Duration {
	bw := c.bw.value()
	if bw <= 0 {
		return 0
	}
	return min(time.Duration(n*float64(c.mss)/bw*1e9), 500*time.Millisecond)
}

// low is the queue that counts as none: pacing bursts, rounding, jitter.
func (c *BBR) low() time.Duration {
	return 2*time.Millisecond + c.packetTime(2) + c.jitter
}

// bound is the queue beyond which the window closes to 1.1 of the path.
func (c *BBR) bound() time.Duration {
	return max(15*time.Millisecond, min(c.base/4, 60*time.Millisecond), c.packetTime(4)) + c.jitter
}

// epoch gathers one round trip, or epochMin where that is longer.
type epoch struct {
	open       bool
	start      time.Duration
	rounds     int
	delivered  int
	lost       int
	queueMin   time.Duration
	queueSum   time.Duration
	rttSum     time.Duration
	samples    int
	rtts       int
	appLimited bool
	slow       bool // sent below the estimate at some time
}

// account files the acknowledgement in the epoch and closes the epoch when it
// is long enough.
func (c *BBR) account(now time.Duration, a Ack, round bool) {
	e := &c.epoch
	if !e.open {
		*e = epoch{open: true, start: now, queueMin: never, slow: c.slow()}
		return // the bytes of this one were delivered before the epoch
	}
	e.delivered += a.Delivered
	e.lost += a.Lost
	e.appLimited = e.appLimited || a.AppLimited
	e.slow = e.slow || c.slow()
	if q, ok := c.queue(a); ok {
		e.queueMin = min(e.queueMin, q)
		e.queueSum += q
		e.samples++
	}
	if a.RTT > 0 {
		e.rttSum += a.RTT
		e.rtts++
	}
	if round {
		e.rounds++
	}
	if e.rounds >= 1 && now-e.start >= epochMin && e.samples >= 4 {
		c.judge(now, *e)
		*e = epoch{open: true, start: now, queueMin: never, slow: c.slow()}
	}
}

// slow reports whether the present state sends below the estimate.
func (c *BBR) slow() bool {
	return c.state == drain || c.state == down || c.state == probeRTT || c.allowance > 0 ||
		c.rounds < 2 && c.state == cruise
}

// judge draws the conclusions of one epoch.
func (c *BBR) judge(now time.Duration, e epoch) {
	spread := min(max(0, e.queueSum/time.Duration(e.samples)-e.queueMin), maxNoise)
	if c.state == cruise && !e.slow {
		c.jitter += (spread - c.jitter) / 4
		if e.rtts > 0 {
			extra := min(max(0, e.rttSum/time.Duration(e.rtts)-c.base-e.queueMin), 2*maxNoise)
			c.noise += (extra - c.noise) / 4
		}
	}
	rate := float64(e.delivered) / (now - e.start).Seconds()
	c.weighLoss(now, e, rate)
	// A queue that stood the whole epoch: what came through is what the path
	// (or our share of it) carries. Where we sent less than the estimate the
	// queue must be beyond doubt.
	sure := c.low()
	if e.slow {
		sure = max(c.bound(), c.low()+10*time.Millisecond)
	}
	if !e.appLimited && e.queueMin > sure && c.state != startup && c.state != probeRTT {
		c.bw.limit(max(rate, c.bw.value()/2))
	}
}
