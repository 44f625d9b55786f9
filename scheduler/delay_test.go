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
		for p, base := range []time.Duration{8 * ms, 25 * ms} {
			d := base + time.Duration(rng.Int64N(int64(6*ms)))
			plain[p].update(d)
			shifted[p].update(d + offset)
		}
		for p := range plain {
			if shifted[p].mean-offset != plain[p].mean || shifted[p].high-offset != plain[p].high {
				t.Fatalf("sample %d: %v/%v, with the offset %v/%v", i, plain[p].mean, plain[p].high, shifted[p].mean, shifted[p].high)
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
			d.update(v)
		}
		return n
	}
	d.update(10 * ms)
	up := samples(50*ms, func() bool { return d.mean > 40*ms })
	d.mean = 50 * ms
	down := samples(10*ms, func() bool { return d.mean < 20*ms })
	if up > 5 || down < 2*up {
		t.Errorf("%d samples up, %d down", up, down)
	}
}

// high finds the 90th percentile of several laws, and never lies below the mean, which is where it ends with rare bursts.
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
			d.update(s)
			if d.high < d.mean {
				t.Fatalf("%s: sample %d: high %v below mean %v", name, i, d.high, d.mean)
			}
		}
		share := float64(above) / (n - settle)
		least := .08
		switch name {
		case "constant":
			if d.high > 5*ms+10*leastStep {
				t.Errorf("high is %v where all delays are 5ms", d.high)
			}
			continue
		case "bursts":
			least = .04
		}
		if share < least || share > .12 {
			t.Errorf("%s: %.1f %% lie above high, %v (mean %v)", name, 100*share, d.high, d.mean)
		}
	}
}

func TestDelayUnknown(t *testing.T) {
	var d delayEstimator
	d.update(5 * ms)
	d.reset()
	if d.has {
		t.Error("reset leaves something behind")
	}
}
