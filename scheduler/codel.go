package scheduler

import (
	"math"
	"time"
)

// codel is the controlled-delay state of one flow queue (RFC 8289 §5).
type codel struct {
	firstAbove time.Duration // when the delay will have been above target for an interval; 0: it is below
	dropNext   time.Duration
	count      int
	lastCount  int
	dropping   bool
}

// limits of a flow's standing queue: what counts as one, and for how long it is tolerated.
type codelLimits struct{ target, interval time.Duration }

// aboveTarget is the test of RFC 8289 §5.4 for a packet that waited for sojourn while backlog bytes remain behind it.
func (c *codel) aboveTarget(now, sojourn time.Duration, backlog int, lim codelLimits) bool {
	// A queue of one full packet can never be shortened by dropping.
	if sojourn < lim.target || backlog <= maxPacket {
		c.firstAbove = 0
		return false
	}
	if c.firstAbove == 0 {
		c.firstAbove = now + lim.interval
		return false
	}
	return now >= c.firstAbove
}

// drop decides about the packet at the head of the queue: true means drop (or mark) it and ask again about the next.
func (c *codel) drop(now, sojourn time.Duration, backlog int, lim codelLimits) bool {
	above := c.aboveTarget(now, sojourn, backlog, lim)
	if c.dropping {
		switch {
		case !above:
			c.dropping = false
		case now >= c.dropNext:
			c.count++
			c.dropNext = c.control(c.dropNext, lim)
			return true
		}
		return false
	}
	if !above {
		return false
	}
	c.dropping = true
	// If dropping stopped only a moment ago, go on near the rate that controlled the queue then (RFC 8289 §5.4).
	if delta := c.count - c.lastCount; delta > 1 && now-c.dropNext < 16*lim.interval {
		c.count = delta
	} else {
		c.count = 1
	}
	c.dropNext = c.control(now, lim)
	c.lastCount = c.count
	return true
}

// control is the control law: the next drop comes an interval later, divided by the root of the drop count.
func (c *codel) control(t time.Duration, lim codelLimits) time.Duration {
	return t + time.Duration(float64(lim.interval)/math.Sqrt(float64(c.count)))
}
