package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// faults runs the transfers during which something breaks.
func (b *bench) faults(ctx context.Context, r *Result) error {
	if b.cut && b.canCut() {
		if err := b.cutOne(ctx, r); err != nil {
			return err
		}
	}
	if b.unplug && b.canCut() {
		if err := b.unplugOne(ctx, r); err != nil {
			return err
		}
	}
	if b.restart && b.service == "packet" { // streams end with the session; their connections are reset
		return b.restartExit(ctx, r)
	}
	return nil
}

// canCut: with one uplink there is nothing left to go on with.
func (b *bench) canCut() bool { return len(b.set.Uplinks) > 1 }

// victim is the fastest uplink, the one the simulator takes away.
func (b *bench) victim() int {
	v := 0
	for i, u := range b.set.Uplinks {
		if u.limitMbps() > b.set.Uplinks[v].limitMbps() {
			v = i
		}
	}
	return v
}

// busiest is the uplink that carries most of a transfer: the one that hurts. It
// looks for probeTime.
func (b *bench) busiest(ctx context.Context, direction string) (int, error) {
	delivered := func() ([]uint64, error) {
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
	before, err := delivered()
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, probeTime); err != nil {
		return 0, err
	}
	after, err := delivered()
	if err != nil {
		return 0, err
	}
	v := 0
	for i := range after {
		if after[i]-before[i] > after[v]-before[v] {
			v = i
		}
	}
	return v, nil
}

// cutOne makes a black hole of the busiest uplink in the middle of a transfer:
// the interface stays, packets vanish in both directions.
func (b *bench) cutOne(ctx context.Context, r *Result) error {
	f, err := b.lose(ctx, r, b.lab.Cut)
	if err != nil {
		return err
	}
	v := f.uplink
	r.Cut = b.set.Uplinks[v].Name
	r.Stall = number(millis(f.stall), 0)
	r.Left = number(f.left, 2)
	r.LeftMax = number(b.set.leftMbps(b.set.Uplinks[v]), 2)
	r.CutSlots = f.slots
	b.say("%s, %s cut: stall %.0f ms, then %.1f Mb/s over what is left (limit %.1f)", r.Direction, r.Cut, *r.Stall, *r.Left, *r.LeftMax)
	if err := b.lab.Restore(ctx, v); err != nil {
		return err
	}
	return b.lab.WaitBond(ctx, faultAfter)
}

// unplugOne sets the interface of the busiest uplink down in the middle of a
// transfer.
func (b *bench) unplugOne(ctx context.Context, r *Result) error {
	f, err := b.lose(ctx, r, b.lab.Unplug)
	if err != nil {
		return err
	}
	v := f.uplink
	r.Unplug = number(millis(f.stall), 0)
	b.say("%s, interface %s down: stall %.0f ms, then %.1f Mb/s over what is left", r.Direction, b.set.Uplinks[v].Name, *r.Unplug, f.left)
	if err := b.lab.Plug(ctx, v); err != nil {
		return err
	}
	return b.lab.WaitBond(ctx, faultAfter)
}

// loss is what a transfer looked like when it lost an uplink.
type loss struct {
	uplink int
	stall  time.Duration // longest silence from then on
	left   float64       // Mb/s when it has settled again
	slots  []float64
}

// lose runs a transfer in the middle of which destroy takes the busiest uplink
// away.
func (b *bench) lose(ctx context.Context, r *Result, destroy func(context.Context, int) error) (loss, error) {
	before := max(faultBefore, b.set.Settle)
	settled := faultSettle + b.set.Settle
	total := before + settled + faultAfter - faultSettle
	var (
		v  int
		at time.Duration
	)
	res, err := b.during(ctx, r, total, before-probeTime, func() (err error) {
		if v, err = b.busiest(ctx, r.Direction); err != nil {
			return err
		}
		at = lab.Now()
		return destroy(ctx, v)
	})
	if err != nil {
		return loss{}, err
	}
	offset := at - res.Origin
	stall, _ := res.Silence(offset-100*time.Millisecond, total)
	return loss{v, stall, res.Mbps(offset+settled, total), slots(res.Series)}, nil
}

// restartExit kills the exit's daemon in the middle of a transfer and starts it
// again at once.
func (b *bench) restartExit(ctx context.Context, r *Result) error {
	before := max(faultBefore, b.set.Settle)
	total := before + restartWait
	var (
		wg      sync.WaitGroup
		echoes  lab.Pings
		pingErr error
	)
	wg.Go(func() {
		if pingErr = sleep(ctx, before-time.Second); pingErr == nil {
			echoes, pingErr = b.lab.Ping(ctx, lab.PingSpec{Source: lab.LAN4, Interval: pingInterval, Count: int((total - before) / pingInterval), Wait: 2 * time.Second})
		}
	})
	res, err := b.during(ctx, r, total, before, func() error {
		return errors.Join(b.lab.Kill(ctx, b.lab.Exit), b.lab.StartExit(ctx))
	})
	wg.Wait()
	if err := errors.Join(err, pingErr); err != nil {
		return err
	}
	r.Restart = number(millis(echoes.Silence()), 0)
	silence, _ := res.Silence(before-100*time.Millisecond, total)
	b.say("%s, exit killed and restarted: %.0f ms without an echo, TCP silent for %.0f ms", r.Direction, *r.Restart, millis(silence))
	return nil
}

// during runs a transfer and does something when it has run for a while. A
// flow that does not survive is an error.
func (b *bench) during(ctx context.Context, r *Result, total, when time.Duration, do func() error) (lab.TCPResult, error) {
	var (
		wg    sync.WaitGroup
		doErr error
	)
	wg.Go(func() {
		if doErr = sleep(ctx, when); doErr == nil {
			doErr = do()
		}
	})
	res, err := b.lab.TCP(ctx, lab.TCPSpec{Source: lab.LAN4, Up: r.Direction == "up", Flows: b.flows, Duration: total})
	wg.Wait()
	return res, errors.Join(err, doErr, res.Err())
}
