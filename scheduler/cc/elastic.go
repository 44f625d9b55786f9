package cc

import "time"

const (
	// The elasticity probe cuts the window to cutTo, on multiples of
	// elasticEvery since the owner's origin, so that paths that share a link
	// cut together and do not take each other for neighbours.
	cutTo        = 0.7
	elasticEvery = 5 * time.Second
	// Not more often than every so many round trips: for two of them the window
	// is smaller than what the flows were counting on.
	elasticLaps = 6
	// alone: the share of the link beyond which there is no neighbour.
	alone = 0.8
	// lowShare: one is lifted to enough.
	lowShare = 0.36
	// lift is the most the window is raised at once where only an elasticity
	// probe tells the share.
	lift = 2.5
)

// Phases of the elasticity probe.
const (
	elasticIdle = iota
	elasticHold // the window stands still
	elasticCut  // the window is cut
)

type elastic struct {
	phase  int
	before lap
	mark   uint64 // the phase ends with the acknowledgement of data sent after this was delivered
	nextAt time.Duration
}

// probeElastic measures our share of the link: with the window cut by some
// bytes the queue falls by bytes/capacity, which is share·bytes/rate. The
// window is held for a while before, because the queue answers a round trip late.
func (c *BBR) probeElastic(now time.Duration, a Ack) {
	r := &c.rival
	is := r.laps.past[0]
	switch r.elastic.phase {
	case elasticIdle:
		if now >= r.elastic.nextAt {
			r.cubic.slow = false
			r.elastic.phase, r.elastic.mark = elasticHold, a.DeliveredTotal+uint64(a.Inflight)
		}
	case elasticHold:
		if a.DeliveredAtSend >= r.elastic.mark {
			r.elastic.before = is
			r.elastic.phase, r.elastic.mark = elasticCut, a.DeliveredTotal+uint64(cutTo*is.inflight)
		}
	case elasticCut:
		if a.DeliveredAtSend < r.elastic.mark {
			return
		}
		r.elastic.phase = elasticIdle
		r.elastic.nextAt = now + elasticLaps*(c.base+is.queue)
		r.elastic.nextAt += elasticEvery - r.elastic.nextAt%elasticEvery
		r.cubic.growing = false
		less := r.elastic.before.inflight - is.inflight
		if less <= 0 {
			return
		}
		share := r.elastic.before.rate * (r.elastic.before.trip - is.trip).Seconds() / less
		switch {
		case share > alone:
			c.trust(now)
		case share < lowShare && r.peak == 0:
			r.cubic.window = min(enough/max(share, 0.05), lift) * r.elastic.before.inflight
			r.cubic.most = max(r.cubic.most, r.cubic.window)
		}
	}
}
