package bench

import (
	"context"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// slotTime is the width of one slot of a profile.
const slotTime = 100 * time.Millisecond

// delivered is what each uplink has delivered so far in one direction, in bytes.
func (b *bench) delivered(ctx context.Context, direction string) ([]uint64, error) {
	out := make([]uint64, len(b.set.Uplinks))
	for i := range out {
		up, down, err := b.lab.LinkStats(ctx, i)
		if err != nil {
			return nil, err
		}
		out[i] = down.Bytes
		if direction == "up" {
			out[i] = up.Bytes
		}
	}
	return out, nil
}

// share notes what part of the bytes since before went over each uplink.
func (b *bench) share(ctx context.Context, r *Result, before []uint64) error {
	after, err := b.delivered(ctx, r.Direction)
	if err != nil {
		return err
	}
	sum := 0.0
	for i := range after {
		sum += float64(after[i] - before[i])
	}
	for i := range r.Uplinks {
		r.Uplinks[i].Share = number(float64(after[i]-before[i])/max(1, sum), 3)
	}
	return nil
}

// watch notes what each uplink delivers, in Mb/s of IP bytes, slot by slot, until
// stop is called, which joins it.
func (b *bench) watch(ctx context.Context, direction string) (stop func() ([][]float64, error)) {
	type outcome struct {
		profile [][]float64
		err     error
	}
	end, ended := make(chan struct{}), make(chan outcome)
	go func() { // ends with stop
		tick := time.NewTicker(slotTime)
		defer tick.Stop()
		out := outcome{profile: make([][]float64, len(b.set.Uplinks))}
		at := lab.Now()
		last, err := b.delivered(ctx, direction)
		for err == nil {
			select {
			case <-tick.C:
			case <-end:
				ended <- out
				return
			}
			var now []uint64
			if now, err = b.delivered(ctx, direction); err != nil {
				break
			}
			passed := lab.Now() - at
			at += passed
			for i := range now {
				out.profile[i] = append(out.profile[i], round(float64(now[i]-last[i])*8/passed.Seconds()/1e6, 2))
			}
			last = now
		}
		<-end
		ended <- outcome{err: err}
	}()
	return func() ([][]float64, error) {
		close(end)
		out := <-ended
		return out.profile, out.err
	}
}

// slots is a series for plots.
func slots(s lab.Series) []float64 {
	out := s.Slices(slotTime)
	for i := range out {
		out[i] = round(out[i], 2)
	}
	return out
}
