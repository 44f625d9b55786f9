package cc

import "time"

const (
	startupGain = 2.77 // 4·ln 2: the smallest that doubles per round (BBRv3)
	drainGain   = 0.5
	growth      = 1.25 // a round that grows less is flat
	flatRounds  = 3
	startupLoss = 0.03 // loss of a round that ends start-up when the rate does not grow or a queue does
	// A path so thin that what little the flow has to send floods it: overflowLoss of at least overflowSeen datagrams, whoever limits the rate.
	overflowLoss = maxLoss
	overflowSeen = 20
)

// onStartup leaves when the rate stops growing, when loss comes with a queue
// or without growth, or when a queue stands.
func (c *BBR) onStartup(now time.Duration, a Ack, round bool) {
	bw := c.bw.value()
	if bw <= 0 {
		return
	}
	if c.seed > 0 && c.rounds >= 3 {
		c.seed = 0
	}
	// A third of the bound: on a long path the news is a round trip old, and
	// what is sent meanwhile comes on top.
	full := c.stand-c.found > max(c.bound()/3, c.packetTime(3)+5*time.Millisecond)+c.jitter || a.CE > 0
	if a.Inflight+a.Delivered < minWindow*c.mss {
		// A few probes on an idle path: whatever they waited behind was not ours, and is not our doing later on.
		full, c.found = false, c.stand
	}
	if seen := c.roundLost + c.roundGot; round && a.AppLimited && seen >= overflowSeen*c.mss && float64(c.roundLost) > overflowLoss*float64(seen) {
		full = true
	}
	if round && !a.AppLimited {
		grew := bw >= c.full*growth
		lossy := c.roundLost >= 3*c.mss && float64(c.roundLost) > startupLoss*float64(c.roundLost+c.roundGot)
		if lossy && (!grew || c.stand > c.low()) {
			full = true
		}
		if grew {
			c.full, c.flat = bw, 0
		} else if c.flat++; c.flat >= flatRounds {
			c.early = false
			c.leaveStartup(now)
			return
		}
	}
	if full {
		c.early = true
		c.leaveStartup(now)
	}
}

// leaveStartup drains what start-up has queued. Where a queue stood before we came it is a neighbour's, and would not be drained: the contest
// is on.
func (c *BBR) leaveStartup(now time.Duration) {
	if c.found > c.bound() {
		c.rival.best = c.bw.value()
		c.compete(now, firm)
		return
	}
	c.enter(now, drain)
}

// onDrain ends when no more than the path itself holds is in flight.
func (c *BBR) onDrain(now time.Duration) {
	if c.drained() || c.rounds >= 4 {
		c.seed = 0
		c.enter(now, cruise)
		c.nextUp = now + c.interval()
		if c.early {
			c.nextUp = now + c.base
		}
	}
}

// drained reports whether what is in flight fits the path without a queue.
func (c *BBR) drained() bool {
	return float64(c.inflight) <= max(c.bw.value()*(c.base+c.noise).Seconds(), 2*float64(c.mss))
}
