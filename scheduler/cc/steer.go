package cc

import "time"

const (
	// Where the link's rate is known from before: a share beyond nearlyAll has
	// no neighbour, if the queue is ours as well (a neighbour may pause, and
	// what it has sent still waits); one below small is lifted to enough, for
	// CUBIC's growth takes minutes to find its place in a deep queue. Enough is
	// what a BBR takes from any number of loss-based flows (Ware et al., IMC
	// 2019).
	nearlyAll = 0.9
	ownQueue  = 0.7
	small     = 0.42
	enough    = 0.45
	liftStep  = 1.5 // at once, every round trip
	maxVain   = 4   // lifts that bring nothing before the old rate is given up
)

type steering struct {
	rate   float64 // when the window was last lifted; 0: not lifted
	vain   int     // lifts in a row that brought nothing
	nextAt time.Duration
}

// smallShare reports whether the window is about to be lifted, since the rate is a small part of the link's.
func (c *BBR) smallShare() bool {
	r := &c.rival
	return r.peak > 0 && max(r.laps.past[0].rate, r.laps.past[1].rate) < small*r.peak
}

// steerWindow looks at the share of the link, where the link's rate is known from
// before: most of it means that the neighbour has gone, a small part that the
// window is too slow to find its place.
func (c *BBR) steerWindow(now time.Duration) {
	r := &c.rival
	if r.peak <= 0 || r.elastic.phase != elasticIdle {
		return
	}
	if r.steer.rate > 0 && now >= r.steer.nextAt {
		if r.laps.past[0].rate >= 1.1*r.steer.rate {
			r.steer.vain = 0
		} else if r.steer.vain++; r.steer.vain >= maxVain {
			// More and more in flight brought no more: the old rate is not to be had.
			r.peak, r.cubic.slow, r.steer.rate = 0, false, 0
			return
		}
		r.steer.rate = 0
	}
	share := min(r.laps.past[0].rate, r.laps.past[1].rate) / r.peak
	switch most := max(r.laps.past[0].rate, r.laps.past[1].rate) / r.peak; {
	case share > nearlyAll && r.laps.past[0].inflight > ownQueue*r.peak*(c.base+r.laps.past[0].queue).Seconds():
		c.compete(now, polite)
	case most < small && !r.cubic.slow && now >= r.steer.nextAt:
		r.cubic.window = min(maxWindow, r.cubic.window*min(enough/max(most, 0.01), liftStep))
		r.cubic.growing, r.steer.rate = false, r.laps.past[0].rate
		r.cubic.most = max(r.cubic.most, r.cubic.window)
		r.steer.nextAt = now + c.base + r.laps.past[0].queue
	}
}
