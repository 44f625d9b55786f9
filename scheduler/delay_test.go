package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The offset between the clocks is unknown but the same for all paths: differences are exact, whatever it is.
func TestDelayDifferencesAreExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var plain, shifted [2]delayEstimator
	const offset = -777 * time.Hour
	for i := range 5000 {
		now := time.Duration(i) * ms
		for p, base := range []time.Duration{8 * ms, 25 * ms} {
			d := base + time.Duration(rng.Int64N(int64(6*ms)))
			plain[p].update(now, d)
			shifted[p].update(now, d+offset)
		}
		for p := range plain {
			if shifted[p].mean-offset != plain[p].mean || shifted[p].high-offset != plain[p].high {
				t.Fatalf("sample %d: %v/%v, with the offset %v/%v", i, plain[p].mean, plain[p].high, shifted[p].mean, shifted[p].high)
			}
			if a, b := plain[p].queue(40*ms), shifted[p].queue(40*ms+offset); a != b {
				t.Fatalf("sample %d: queue %v, with the offset %v", i, a, b)
			}
		}
	}
	if d := plain[1].mean - plain[0].mean; d < 15*ms || d > 19*ms {
		t.Errorf("the paths differ by %v, want about 17ms", d)
	}
}

// A queue that begins to grow is believed within a few samples, one that has gone takes longer.
func TestDelayRisesFasterThanItFalls(t *testing.T) {
	var d delayEstimator
	samples := func(v time.Duration, to func() bool) (n int) {
		for ; !to(); n++ {
			d.update(0, v)
		}
		return n
	}
	d.update(0, 10*ms)
	up := samples(50*ms, func() bool { return d.mean > 40*ms })
	d.mean = 50 * ms
	down := samples(10*ms, func() bool { return d.mean < 20*ms })
	if up > 5 || down < 2*up {
		t.Errorf("%d samples up, %d down", up, down)
	}
}

// high finds the upper end of several laws, and never lies below the mean. A step up ends at the sample that caused it,
// so that it settles between the 80th and the 95th percentile, depending on the law.
func TestDelayHighIsTheUpperQuantile(t *testing.T) {
	for name, law := range map[string]func(*rand.Rand) time.Duration{
		"uniform":     func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(20 * ms))) },
		"exponential": func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(5*ms)) },
		"constant":    func(*rand.Rand) time.Duration { return 5 * ms },
		"bursts": func(r *rand.Rand) time.Duration {
			if r.IntN(20) == 0 {
				return 100 * ms
			}
			return time.Duration(r.Int64N(int64(ms)))
		},
	} {
		rng := rand.New(rand.NewPCG(9, 1))
		var d delayEstimator
		above := 0
		const n, settle = 20_000, 2000
		for i := range n {
			s := law(rng)
			if i > settle && s > d.high {
				above++
			}
			d.update(time.Duration(i)*ms, s)
			if d.high < d.mean {
				t.Fatalf("%s: sample %d: high %v below mean %v", name, i, d.high, d.mean)
			}
		}
		share := float64(above) / (n - settle)
		if name == "constant" && d.high != 5*ms || share > .22 || share < .04 && name != "constant" {
			t.Errorf("%s: %.1f %% lie above high, %v (mean %v)", name, 100*share, d.high, d.mean)
		}
	}
}

// The base is the least delay of the last 15 to 30 s: an old minimum is forgotten, so that a clock that drifts by 100
// ppm shows as no more than 3 ms of queue.
func TestDelayBaseForgetsAndBearsDrift(t *testing.T) {
	var d delayEstimator
	worst := time.Duration(0)
	for now := time.Duration(0); now < 5*time.Minute; now += 100 * ms {
		sample := 20*ms + now/10_000 // the peer's clock gains 100 ppm
		d.update(now, sample)
		worst = max(worst, d.queue(sample))
	}
	if worst > 3*ms {
		t.Errorf("drift shows as a queue of %v", worst)
	}
	if worst < ms {
		t.Errorf("drift never shows more than %v: the base does not last", worst)
	}
	// Lower delays count at once.
	d.update(5*time.Minute, 5*ms)
	if q := d.queue(8 * ms); q != 3*ms {
		t.Errorf("queue above the new base %v, want 3ms", q)
	}
	// After a long silence the past says nothing.
	d.update(10*time.Minute, 90*ms)
	if q := d.queue(90 * ms); q != 0 {
		t.Errorf("queue after a silence %v", q)
	}
}

func TestDelayUnknown(t *testing.T) {
	var d delayEstimator
	if q := d.queue(5 * ms); q >= 0 {
		t.Errorf("a queue of %v out of nothing", q)
	}
	d.update(0, 5*ms)
	d.reset()
	if d.has || d.queue(5*ms) >= 0 {
		t.Error("reset leaves something behind")
	}
}
