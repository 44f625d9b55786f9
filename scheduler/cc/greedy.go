package cc

import (
	"math"
	"time"
)

const (
	// CUBIC (RFC 9438 §4).
	cubicC    = 0.4
	cubicBeta = 0.7
	// nearFull is the part of the largest recent queue at which loss counts
	// as overflow.
	nearFull = 0.7
)

// cubicWindow is CUBIC's window, in bytes and seconds.
type cubicWindow struct {
	window, most, k, friendly float64
	slow                      bool // still in its slow start
	growing                   bool // an epoch runs since
	since                     time.Duration
	recover                   uint64 // overflow among data sent before does not count again
}

// cutWindow is the answer to overflow.
func (c *BBR) cutWindow(a Ack) {
	r := &c.rival
	r.cubic.recover = a.DeliveredTotal
	if r.cubic.window < r.cubic.most { // fast convergence
		r.cubic.most = r.cubic.window * (1 + cubicBeta) / 2
	} else {
		r.cubic.most = r.cubic.window
	}
	r.cubic.window = max(r.cubic.window*cubicBeta, 4*float64(c.mss))
	r.cubic.slow, r.cubic.growing, r.elastic.phase = false, false, 0
}

// onGreedy is CUBIC's window (RFC 9438 §4.2-4.7), with overflow as its only loss.
func (c *BBR) onGreedy(now time.Duration, a Ack, lapped bool) {
	r := &c.rival
	if a.AppLimited {
		// What we do not use says nothing, and must not grow.
		r.elastic.phase, r.cubic.growing = elasticIdle, false
		return
	}
	if lapped {
		// A share that is known to be small needs no measuring, and no cut.
		if r.elastic.phase != elasticIdle || !c.smallShare() {
			c.probeElastic(now, a)
		}
		if r.level != greedy {
			return
		}
		c.steerWindow(now)
		if r.level != greedy {
			return
		}
	}
	if c.overflow(now, a) && a.DeliveredAtSend >= r.cubic.recover {
		c.cutWindow(a)
		return
	}
	if r.elastic.phase != elasticIdle || float64(a.Inflight+a.Delivered) < 0.8*r.cubic.window {
		return
	}
	if r.cubic.slow {
		r.cubic.window += float64(a.Delivered)
		if r.peak > 0 && r.cubic.window >= r.peak*(c.base+r.laps.past[0].queue).Seconds()/2 {
			r.cubic.slow = false
		}
		return
	}
	mss := float64(c.mss)
	if !r.cubic.growing {
		r.cubic.growing, r.cubic.since, r.cubic.friendly = true, now, r.cubic.window
		r.cubic.most = max(r.cubic.most, r.cubic.window)
		r.cubic.k = math.Cbrt((r.cubic.most - r.cubic.window) / mss / cubicC)
	}
	t := (now - r.cubic.since + c.base + r.laps.past[0].queue).Seconds() - r.cubic.k
	target := min(r.cubic.most+cubicC*t*t*t*mss, 1.5*r.cubic.window)
	got := float64(a.Delivered)
	r.cubic.friendly += 3 * (1 - cubicBeta) / (1 + cubicBeta) * got / r.cubic.window * mss
	if target > r.cubic.window {
		r.cubic.window += (target - r.cubic.window) / r.cubic.window * got
	}
	r.cubic.window = min(max(r.cubic.window, r.cubic.friendly), maxWindow)
}
