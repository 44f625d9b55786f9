package cc

import "time"

const (
	// A probe begins small and grows while the rate follows, so that a full
	// path suffers little and an empty one is found soon.
	firstStep = 0.15
	upGain    = 1.25
	downGain  = 0.75
	// probeEvery is the mean time between probes for more: short enough to
	// follow a doubled link within 3 s, long enough to cost nothing.
	probeEvery = time.Second
	// gentle: a first probe adds about this much queue on a full path,
	// because the answer takes a round trip.
	gentle = 20 * time.Millisecond
)

// interval is the time to the next probe.
func (c *BBR) interval() time.Duration {
	d := time.Duration(float64(probeEvery) * (0.8 + 0.4*c.rng.Float64()))
	if c.policed {
		d *= 8
	}
	return max(d, 3*c.base)
}

// onCruise holds the rate, leaves the queue when one stands, and probes in time.
func (c *BBR) onCruise(now time.Duration, a Ack) {
	if c.stand > c.low() && c.rounds >= 1 || a.CE > 0 {
		c.enter(now, down)
		return
	}
	if now >= c.nextUp && a.Delivered > 0 && !a.AppLimited && !c.testing {
		if c.busy >= 3 {
			c.bw.advance()
		}
		c.busy = 0
		c.upFrom, c.upStep, c.stepAge = c.bw.value(), 0, 0
		c.enter(now, up)
	}
}

// upGainNow is the pacing gain of the probe's present step.
func (c *BBR) upGainNow() float64 {
	if c.policed {
		return 1.05
	}
	switch c.upStep {
	case 0:
		g := firstStep
		if c.base > 0 {
			g = min(g, gentle.Seconds()/c.base.Seconds()+0.03)
		}
		return 1 + g
	case 1:
		return upGain
	case 2:
		return 1.5
	}
	return 2
}

// onUp goes on while the rate follows, in growing steps, and ends when a queue
// stands or nothing comes of it.
func (c *BBR) onUp(now time.Duration, a Ack, round bool) {
	bw := c.bw.value()
	if c.stand > c.low() || a.CE > 0 {
		c.endUp(now)
		return
	}
	if !round || c.rounds < 2 {
		return
	}
	c.stepAge++
	switch {
	case bw >= c.upFrom*(1+0.4*(c.upGainNow()-1)):
		c.upFrom, c.stepAge = bw, 0
		c.upStep++
		c.policed = false
	case c.stepAge >= 2:
		c.endUp(now)
	case a.AppLimited:
		c.endUp(now)
	}
}

func (c *BBR) endUp(now time.Duration) {
	c.nextUp = now + c.interval()
	c.enter(now, down)
}

// onDown ends when the queue is gone.
func (c *BBR) onDown(now time.Duration) {
	if c.drained() || c.rounds >= 3 {
		c.enter(now, cruise)
	}
}
