package cc

import (
	"math"
	"time"
)

const (
	// rttWindow is how long the smallest round trip is believed (BBR: 10 s).
	rttWindow = 10 * time.Second
	// A standing queue is the minimum over a moment that holds a few grants of
	// a radio scheduler (20 ms each) where there is jitter, so that jitter is
	// not taken for a queue, and a short moment where there is none.
	standMin    = 20 * time.Millisecond
	standMax    = 140 * time.Millisecond
	standJitter = 16
	// firstJitter is assumed until the path has shown its own.
	firstJitter = 5 * time.Millisecond
	// epochMin is the shortest time judged: it averages over such grants.
	epochMin = 60 * time.Millisecond
	// topDecay is what is left after a second of the largest rate seen: gone
	// when a link has really become slow, still there when a neighbour has
	// only just taken it.
	topDecay = 0.7
	topEmpty = 0.001 // the same, while no queue but our own bursts is seen
	// maxBurst bounds the queue excused as our own burst of two datagrams: on
	// thinner links the moment's minimum sees the first of the burst.
	maxBurst = 12 * time.Millisecond
	// A rate that fell below volatile of its estimate is probed again soon.
	volatile = 0.9
	soon     = 150 * time.Millisecond
	// maxNoise bounds how much jitter the controller makes room for.
	maxNoise = 50 * time.Millisecond
	// maxExtra bounds the room made for delay that is no queue on our way: the
	// ACK road may hold a long queue of its own.
	maxExtra = time.Second
)

// measure brings one acknowledgement's samples into the model.
func (c *BBR) measure(now time.Duration, a Ack) {
	if a.RTT > 0 {
		rtt := a.RTT
		if c.rival.level != polite {
			rtt = min(rtt, c.base) // a neighbour's queue must not become our base
		}
		c.rtt.add(now, rttWindow, rtt)
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
		c.rival.bias = min(c.rival.bias, a.Queue)
		return a.Queue - c.rival.bias, true
	case a.RTT > 0:
		return max(0, a.RTT-c.base-c.noise), true
	}
	return 0, false
}

// packetTime is the time of n full datagrams at the rate of the link, as far
// as it was seen: a small share of a fast link must not pass for a slow link.
func (c *BBR) packetTime(n float64) time.Duration {
	return time.Duration(n / 2 * float64(c.burst(max(c.bw.value(), c.top))))
}

// burst is the time of two full datagrams at a rate.
func (c *BBR) burst(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return min(time.Duration(2*float64(c.mss)/rate*1e9), time.Second)
}

// low is the queue that counts as none: pacing bursts, rounding, jitter.
func (c *BBR) low() time.Duration {
	return 2*time.Millisecond + min(c.packetTime(2), maxBurst) + c.jitter
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
	oneWay     bool // the one-way delay was known
	slow       bool // sent below the estimate at some time
}

// account files the acknowledgement in the epoch and closes the epoch when it
// is long enough.
func (c *BBR) account(now time.Duration, a Ack, round bool) {
	e := &c.epoch
	c.testing = c.testing && now < c.testTill
	if !e.open {
		*e = epoch{open: true, start: now, queueMin: never, slow: c.slow()}
		return // the bytes of this one were delivered before the epoch
	}
	e.delivered += a.Delivered
	e.lost += a.Lost
	e.appLimited = e.appLimited || a.AppLimited
	e.slow = e.slow || c.slow()
	e.oneWay = e.oneWay || a.Queue >= 0
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
	queue := e.queueSum / time.Duration(e.samples)
	if c.rival.level == polite {
		keep := topDecay
		if burst := min(c.burst(c.bw.value()), maxBurst); e.queueMin <= 2*time.Millisecond+burst+c.jitter {
			keep = topEmpty // a queue of our own packets only: this is the link's rate
		}
		c.top = max(c.top*math.Pow(keep, (now-e.start).Seconds()), c.bw.value())
	}
	if c.state == cruise && !e.slow {
		c.jitter += (min(queue-e.queueMin, maxNoise) - c.jitter) / 4
	}
	if e.rtts > 0 && c.rival.level == polite && (e.oneWay || c.state == cruise && !e.slow) {
		extra := e.rttSum/time.Duration(e.rtts) - c.base - queue + c.jitter
		if !e.oneWay {
			extra = e.rttSum/time.Duration(e.rtts) - c.base - e.queueMin
		}
		c.noise += (min(max(0, extra), maxExtra) - c.noise) / 4
	}
	rate := float64(e.delivered) / (now - e.start).Seconds()
	c.weighLoss(now, e, rate)
	// A queue that stood the whole epoch: what came through is what the path
	// (or our share of it) carries. Where we sent less than the estimate the
	// queue must be beyond doubt.
	sure := c.low()
	if e.slow {
		sure += 3 * time.Millisecond
	}
	if !e.appLimited && e.queueMin > sure && c.state != startup && c.state != probeRTT && c.rival.level == polite {
		if rate < volatile*c.bw.value() {
			// What fell may rise again soon.
			c.nextUp = min(c.nextUp, now+max(2*c.base, soon))
		}
		c.bw.limit(max(rate, c.bw.value()/2))
	}
}
