package scheduler

import (
	"testing"
	"time"
)

// RFC 9002 §5.3, by hand.
func TestRTTFollowsTheRFC(t *testing.T) {
	var r rttEstimator
	if r.srtt() != initialRTT || r.rttvar() != initialRTT/2 {
		t.Errorf("before the first sample: %v ± %v", r.srtt(), r.rttvar())
	}
	for _, step := range []struct{ sample, srtt, rttvar time.Duration }{
		{100 * ms, 100 * ms, 50 * ms},             // the first sample, half of it
		{100 * ms, 100 * ms, 37500 * us},          // 3/4 · 50
		{180 * ms, 110 * ms, 48125 * us},          // 3/4 · 37.5 + 1/4 · 80; 100 + 80/8
		{110 * ms, 110 * ms, 36093750},            // on the spot
		{30 * ms, 100 * ms, 36093750 + 10976562},  // (80 - 36.09) / 4
		{100 * ms, 100 * ms, 47070312 - 11767578}, //
	} {
		r.update(step.sample)
		if r.srtt() != step.srtt || r.rttvar() != step.rttvar {
			t.Errorf("after %v: %v ± %v, want %v ± %v", step.sample, r.srtt(), r.rttvar(), step.srtt, step.rttvar)
		}
	}
}

// A datagram is late after 9/8 of the larger of smoothed and latest (RFC 9002 §6.1.2), but never below what a timer
// resolves.
func TestLossDelay(t *testing.T) {
	var r rttEstimator
	if d := r.lossDelay(); d != initialRTT+initialRTT/8 {
		t.Errorf("before the first sample %v", d)
	}
	r.update(80 * ms)
	if d := r.lossDelay(); d != 90*ms {
		t.Errorf("after 80ms: %v", d)
	}
	r.update(160 * ms) // smoothed 90
	if d := r.lossDelay(); d != 180*ms {
		t.Errorf("the latest sample is the larger one: %v", d)
	}
	r.update(8 * ms) // smoothed 79.75
	if d := r.lossDelay(); d != 79750*us+79750*us/8 {
		t.Errorf("the smoothed one is: %v", d)
	}
	r = rttEstimator{}
	r.update(100 * us)
	if d := r.lossDelay(); d != timerGranularity {
		t.Errorf("on a very short path: %v", d)
	}
}

const us = time.Microsecond
