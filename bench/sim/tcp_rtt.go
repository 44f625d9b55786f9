package sim

import "time"

// rttEstimator is RFC 6298 as Linux has it: the variance term never falls below
// 200 ms (tcp_rto_min), falls at most once per RTT, and a smaller deviation
// counts less.
type rttEstimator struct {
	srtt, mdev, mdevMax, rttvar time.Duration
	seq                         uint64
	min                         time.Duration // least of minRTTWindow
	minAt                       time.Duration
}

const (
	rtoVariance = 200 * time.Millisecond
	rtoInitial  = time.Second
	rtoMax      = 120 * time.Second
	// minRTTWindow is tcp_min_rtt_wlen.
	minRTTWindow = 300 * time.Second
)

func (e *rttEstimator) init() { *e = rttEstimator{} }

func (e *rttEstimator) rto() time.Duration {
	if e.srtt == 0 {
		return rtoInitial
	}
	return e.srtt + e.rttvar
}

// sampleRTT takes one measurement (tcp_rtt_estimator).
func (c *conn) sampleRTT(now, m time.Duration) {
	s := &c.snd
	e := &s.rtt
	m = max(m, time.Microsecond)
	if e.min == 0 || m <= e.min || now-e.minAt > minRTTWindow {
		e.min, e.minAt = m, now
	}
	if e.srtt == 0 {
		e.srtt, e.mdev = m, m*2
		e.rttvar = max(e.mdev, rtoVariance)
		e.mdevMax = e.rttvar
		e.seq = s.nxt
		return
	}
	// mdev is four times the mean deviation, as in the kernel's scaling.
	d := m - e.srtt
	e.srtt += d / 8
	if d < 0 {
		d = -d - e.mdev/4
		if d > 0 {
			d /= 8
		}
	} else {
		d -= e.mdev / 4
	}
	e.mdev += d
	if e.mdev > e.mdevMax {
		e.mdevMax = e.mdev
		e.rttvar = max(e.rttvar, e.mdevMax)
	}
	if s.una > e.seq {
		if e.mdevMax < e.rttvar {
			e.rttvar -= (e.rttvar - e.mdevMax) / 4
		}
		e.seq = s.nxt
		e.mdevMax = rtoVariance
	}
}
