package cc

import (
	"math"
	"time"
)

// watchRoad compares round trips between which more was sent. When as much
// more comes through and the queue does not grow, there is no queue: the road
// is longer. (One with a small share of a full link would see the same, so it
// speaks only from half the old rate on.)
func (c *BBR) watchRoad(now time.Duration) {
	r := &c.rival
	// What a lap shows of rate and queue was sent one lap earlier.
	was, is := r.laps.past[2], r.laps.past[0]
	before, more := r.laps.past[3].inflight, r.laps.past[1].inflight-r.laps.past[3].inflight
	if was.rate <= 0 || before <= 0 || more < 0.15*before || more < 3*float64(c.mss) {
		return
	}
	grown := float64(is.queue - was.queue)
	if r.peak <= 0 || is.rate < 0.45*r.peak {
		return
	}
	for _, l := range r.laps.past {
		if l.lossy {
			r.free = 0 // a queue has overflowed, so there is one; more may come through because the neighbour has cut its window
			return
		}
	}
	expected := more / max(is.rate, r.peak) * 1e9
	switch {
	case is.rate < was.rate*(1+0.6*more/before) || math.Abs(grown) > 0.3*expected:
		r.free = 0
	case expected > float64(20*time.Millisecond+4*c.jitter):
		r.free += 2 // beyond doubt
	default:
		r.free++
	}
	if r.free >= 2 {
		c.rebase(now)
	}
}

// trust leaves the contest because the link was found to be ours.
func (c *BBR) trust(now time.Duration) {
	r := &c.rival
	if now-r.trusted > time.Minute {
		r.trusts = 0
	}
	r.trusted = now
	r.trusts++
	c.compete(now, polite)
}

// rebase accepts the present queue as part of the road.
func (c *BBR) rebase(now time.Duration) {
	r := &c.rival
	delta := r.laps.past[0].low
	r.bias += delta
	c.rtt.reset()
	c.rtt.add(now, rttWindow, c.base+delta)
	c.base += delta
	c.standing.reset()
	c.stand = 0
	c.epoch.open = false
	if r.level != polite {
		c.compete(now, polite)
	}
	r.trusts, r.pressed, r.pressLaps = 0, 0, 0
	c.enter(now, cruise)
	c.nextUp = now
}
