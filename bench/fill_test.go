package bench

import (
	"testing"
	"time"
)

// TestFilled: from the loss until the end of the dip, of lines of 10 Mb/s.
func TestFilled(t *testing.T) {
	run := func(rate func(at time.Duration) float64) *float64 {
		var counts []lineCount
		sum := 0.0
		for at := time.Duration(0); at < fillTime; at += fillEvery {
			counts = append(counts, lineCount{at, uint64(sum)})
			sum += rate(at) * 1e6 / 8 * fillEvery.Seconds()
		}
		return filled(counts, 10)
	}
	if f := run(func(time.Duration) float64 { return 9.5 }); f == nil || *f != 0 {
		t.Errorf("lines that stay full: %s", after(f, fillTime))
	}
	if f := run(func(at time.Duration) float64 {
		if at >= 100*time.Millisecond && at < 600*time.Millisecond {
			return 1
		}
		return 9.5
	}); f == nil || *f < 560 || *f > 600 {
		t.Errorf("lines that are full again after 600 ms: %s", after(f, fillTime))
	}
	if f := run(func(at time.Duration) float64 { return 5 }); f != nil {
		t.Errorf("lines that do not fill: %s", after(f, fillTime))
	}
}
