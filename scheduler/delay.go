package scheduler

import "time"

// delayEstimator follows the relative one-way delay of one path: receive clock minus send clock, whose offset is
// unknown but the same for all paths of a direction, so that differences between paths are exact.
type delayEstimator struct {
	has  bool
	mean time.Duration // EWMA over about one round trip
	high time.Duration // 90th percentile, by stochastic approximation
	dev  time.Duration // mean absolute deviation, the step of high
}

// leastStep of high: where delays hardly differ it stays within ten times that of them. Else a step is a 24th of the deviation, so that high
// itself wavers by less than what it measures: with an eighth, lossy sets fell by a tenth.
const leastStep = 5 * time.Microsecond

func (d *delayEstimator) update(sample time.Duration) {
	if !d.has {
		d.has, d.mean, d.high = true, sample, sample
		return
	}
	// Robbins-Monro for the 0.9 quantile: up nine steps for one sample above it, down one step for nine below. The step is from before the
	// sample, and does not end at it: either would favour one side.
	step := max(d.dev/24, leastStep)
	diff := sample - d.mean
	// A rise is believed faster than a fall: a queue that has begun to grow makes the path late at once.
	if diff > 0 {
		d.mean += diff / 4
		d.dev += (diff - d.dev) / 8
	} else {
		d.mean += diff / 8
		d.dev += (-diff - d.dev) / 8
	}
	if sample > d.high {
		d.high += 9 * step
	} else {
		d.high -= step
	}
	d.high = max(d.high, d.mean)
}

// reset forgets everything: the path has a new route.
func (d *delayEstimator) reset() { *d = delayEstimator{} }
