package scheduler

import "time"

// rttEstimator keeps the round-trip time of one path (RFC 9002 §5.3). The acknowledgement delay that the peer reports
// is subtracted by the caller.
type rttEstimator struct {
	latest   time.Duration
	smoothed time.Duration
	variance time.Duration
	samples  int
}

// initialRTT stands in before the first sample. RFC 9002 §6.2.2 says 333 ms; a path is proven by a challenge before it
// carries data, so that the first sample is nearly always there.
const initialRTT = 333 * time.Millisecond

func (r *rttEstimator) update(sample time.Duration) {
	r.latest = sample
	r.samples++
	if r.samples == 1 {
		r.smoothed, r.variance = sample, sample/2
		return
	}
	d := r.smoothed - sample
	if d < 0 {
		d = -d
	}
	r.variance += (d - r.variance) / 4
	r.smoothed += (sample - r.smoothed) / 8
}

// srtt is the smoothed round-trip time.
func (r *rttEstimator) srtt() time.Duration {
	if r.samples == 0 {
		return initialRTT
	}
	return r.smoothed
}

func (r *rttEstimator) rttvar() time.Duration {
	if r.samples == 0 {
		return initialRTT / 2
	}
	return r.variance
}

// lossDelay is the time threshold of RFC 9002 §6.1.2: 9/8 of the larger of the smoothed and the latest sample.
func (r *rttEstimator) lossDelay() time.Duration {
	m := max(r.srtt(), r.latest)
	return max(m+m/8, timerGranularity)
}

// timerGranularity is the shortest wait worth scheduling (kGranularity of RFC 9002 §6.1.2): what an ordinary timer of
// the operating system resolves.
const timerGranularity = time.Millisecond
