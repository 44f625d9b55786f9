package scheduler

import "time"

// delayEstimator follows the relative one-way delay of one path: receive clock minus send clock, whose offset is
// unknown but the same for all paths of a direction, so that differences between paths are exact.
type delayEstimator struct {
	has  bool
	mean time.Duration // EWMA over about one round trip
	high time.Duration // 90th percentile, by stochastic approximation
	dev  time.Duration // mean absolute deviation, the step of high
	base windowMin
}

func (d *delayEstimator) update(now, sample time.Duration) {
	d.base.update(now, sample)
	if !d.has {
		d.has, d.mean, d.high = true, sample, sample
		return
	}
	diff := sample - d.mean
	// A rise is believed faster than a fall: a queue that has begun to grow makes the path late at once.
	if diff > 0 {
		d.mean += diff / 4
		d.dev += (diff - d.dev) / 8
	} else {
		d.mean += diff / 8
		d.dev += (-diff - d.dev) / 8
	}
	// Robbins-Monro for the 0.9 quantile: up nine steps for one sample above it, down one step for nine below.
	step := max(d.dev/8, 50*time.Microsecond)
	if sample > d.high {
		d.high += 9 * step
		d.high = max(min(d.high, sample), d.mean)
	} else {
		d.high -= step
		d.high = max(d.high, d.mean)
	}
}

// reset forgets everything: the path has a new route.
func (d *delayEstimator) reset() { *d = delayEstimator{} }

// queue is how far the newest sample lies above the base of the path, the part that a queue explains.
func (d *delayEstimator) queue(sample time.Duration) time.Duration {
	if !d.has {
		return -1
	}
	return max(sample-d.base.value(), 0)
}

// baseWindow is how long a minimum counts. It spans at least one ProbeRTT (10 s) of the congestion controller, and is
// short enough that 100 ppm of clock drift stays below 3 ms.
const baseWindow = 15 * time.Second

// windowMin is a minimum over the last one to two windows, in two buckets.
type windowMin struct {
	has      bool
	start    time.Duration
	cur, old time.Duration
}

func (w *windowMin) update(now, v time.Duration) {
	switch {
	case !w.has || now-w.start >= 2*baseWindow:
		w.has, w.start, w.cur, w.old = true, now, v, v
	case now-w.start >= baseWindow:
		w.start, w.old, w.cur = now, w.cur, v
	default:
		w.cur = min(w.cur, v)
	}
}

func (w *windowMin) value() time.Duration { return min(w.cur, w.old) }
