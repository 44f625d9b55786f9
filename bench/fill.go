package bench

import (
	"context"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

const (
	// fillEvery is how often is looked what the lines that are left deliver, fillWindow over what time that is averaged, fillTime for how long.
	fillEvery  = 20 * time.Millisecond
	fillWindow = 200 * time.Millisecond
	fillTime   = 4 * time.Second
	// A dip is below fillDip of what is left, and it has ended at fillFull.
	fillDip, fillFull = 0.8, 0.9
)

// lineCount is how many bytes lines have delivered so far, at an instant since they lost one of them.
type lineCount struct {
	at    time.Duration
	bytes uint64
}

// countLines counts what the uplinks other than one deliver, from now on for fillTime.
func (b *bench) countLines(ctx context.Context, direction string, without int) (out []lineCount, err error) {
	begin := lab.Now()
	for now := begin; now-begin < fillTime; now = lab.Now() {
		all, err := b.delivered(ctx, direction)
		if err != nil {
			return nil, err
		}
		c := lineCount{at: lab.Now() - begin}
		for i, n := range all {
			if i != without {
				c.bytes += n
			}
		}
		out = append(out, c)
		if err := sleep(ctx, fillEvery); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// filled is how long after the loss the lines that are left are full again, in ms: 0 if they stayed so, nil if they do not fill. mbps is what they could
// deliver, in IP bytes.
func filled(counts []lineCount, mbps float64) *float64 {
	dipped := false
	k := 0
	for _, c := range counts {
		for counts[k].at < c.at-fillWindow {
			k++
		}
		if k > 0 {
			k--
		}
		from := counts[k]
		if c.at-from.at < fillWindow/2 {
			continue
		}
		share := float64(c.bytes-from.bytes) * 8 / 1e6 / (c.at - from.at).Seconds() / mbps
		switch {
		case dipped && share >= fillFull:
			return number(millis(from.at), 0)
		case share < fillDip:
			dipped = true
		}
	}
	if dipped {
		return nil
	}
	return number(0, 0)
}
