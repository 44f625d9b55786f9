package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// Timing of the transfers with a fault: long enough before for the rate to be
// steady, long enough after to see it settle again.
const (
	faultBefore = 4 * time.Second
	faultAfter  = 6 * time.Second
	faultSettle = 3 * time.Second // after the fault, until Left counts
	restartWait = 10 * time.Second
	probeTime   = time.Second // before the fault, to see which uplink is the busiest
	stepHold    = 8 * time.Second
	stepWindow  = 2 * time.Second // over which a rate is compared after a step: a CUBIC flow dips for less
	stepNear    = 0.95
)

// faultSteps are the transfers during which something breaks.
func (b *bench) faultSteps(r *Result) (out []step) {
	for _, f := range b.faults {
		before := max(faultBefore, b.settle)
		loss := before + faultSettle + b.settle + faultAfter - faultSettle + time.Second
		switch {
		case f == "cut" && b.canCut() && b.carrier.survives:
			out = append(out, step{loss, r, "cut", func(ctx context.Context) error { return b.cutOne(ctx, r) }})
		case f == "unplug" && b.canCut() && b.carrier.survives:
			out = append(out, step{loss, r, "unplug", func(ctx context.Context) error { return b.unplugOne(ctx, r) }})
		case f == "step":
			out = append(out, step{before + 2*stepHold, r, "step", func(ctx context.Context) error { return b.stepOne(ctx, r) }})
		case f == "restart" && b.service == "packet":
			out = append(out, step{before + restartWait, r, "restart", func(ctx context.Context) error { return b.restartExit(ctx, r) }})
		case f == "restart" && b.service == "stream":
			out = append(out, step{before + restartWait, r, "restart", func(ctx context.Context) error { return b.restartUnderStreams(ctx, r) }})
		}
	}
	return out
}

// canCut: with one uplink there is nothing left to go on with.
func (b *bench) canCut() bool { return len(b.set.Uplinks) > 1 }

// victim is the fastest uplink, the one whose rate is changed.
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
	before, err := b.delivered(ctx, direction)
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, probeTime); err != nil {
		return 0, err
	}
	after, err := b.delivered(ctx, direction)
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
	var counts []lineCount
	f, err := b.lose(ctx, r, func(ctx context.Context, i int) (err error) {
		if err = b.lab.Cut(ctx, i); err == nil {
			counts, err = b.countLines(ctx, r.Direction, i)
		}
		return err
	})
	if err != nil {
		return err
	}
	v := f.uplink
	r.Cut = b.set.Uplinks[v].Name
	r.Stall = number(millis(f.stall), 0)
	r.Left = number(f.left, 2)
	r.LeftMax = number(b.set.leftMbps(b.set.Uplinks[v]), 2)
	r.Fill = filled(counts, *r.LeftMax/payloadShare)
	r.CutSlots, r.CutUplinks, r.CutAt = f.slots, f.uplinks, number(f.at.Seconds(), 2)
	b.say("%s, %s cut: stall %.0f ms, what is left is full after %s, then %.1f Mb/s over it (limit %.1f)", r.Direction, r.Cut, *r.Stall, after(r.Fill, fillTime), *r.Left, *r.LeftMax)
	if err := b.lab.Restore(ctx, v); err != nil {
		return err
	}
	return b.waitAgain(ctx)
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
	return b.waitAgain(ctx)
}

// waitAgain waits until echoes come through again, where any do.
func (b *bench) waitAgain(ctx context.Context) error {
	if b.carrier.onlyTCP {
		return nil
	}
	return b.lab.WaitBond(ctx, faultAfter)
}

// loss is what a transfer looked like when it lost an uplink.
type loss struct {
	uplink  int
	stall   time.Duration // longest silence from then on
	left    float64       // Mb/s when it has settled again
	at      time.Duration // of the loss, from the start of the transfer
	slots   []float64
	uplinks [][]float64
}

// lose runs a transfer in the middle of which destroy takes the busiest uplink
// away.
func (b *bench) lose(ctx context.Context, r *Result, destroy func(context.Context, int) error) (loss, error) {
	before := max(faultBefore, b.settle)
	settled := faultSettle + b.settle
	total := before + settled + faultAfter - faultSettle
	var (
		v  int
		at time.Duration
	)
	watch := b.watch(ctx, r.Direction)
	res, err := b.during(ctx, r, total, before-probeTime, func() (err error) {
		if v, err = b.busiest(ctx, r.Direction); err != nil {
			return err
		}
		at = lab.Now()
		return destroy(ctx, v)
	})
	lines, watchErr := watch()
	if err := errors.Join(err, watchErr); err != nil {
		return loss{}, err
	}
	offset := at - res.Origin
	stall, _ := res.Silence(offset-100*time.Millisecond, total)
	return loss{v, stall, res.Mbps(offset+settled, total), offset, slots(res.Series), lines}, nil
}

// stepOne halves the rate of the fastest uplink in the middle of a transfer, and
// doubles it again. What counts is the time until the bond is as close to the new
// sum as it was to the old one, within 5 %.
func (b *bench) stepOne(ctx context.Context, r *Result) error {
	v := b.victim()
	u := b.set.Uplinks[v]
	before := max(faultBefore, b.settle)
	total := before + 2*stepHold
	rate := func(factor float64) error {
		x := u.Link.Rate * factor
		return b.lab.Change(ctx, lab.Change{Uplink: v, Rate: &x})
	}
	var at [2]time.Duration
	res, err := b.during(ctx, r, total, before, func() error {
		at[0] = lab.Now()
		if err := rate(0.5); err != nil {
			return err
		}
		if err := sleep(ctx, stepHold); err != nil {
			return err
		}
		at[1] = lab.Now()
		return rate(1)
	})
	if err := errors.Join(err, rate(1)); err != nil {
		return err
	}
	limit := b.set.LimitMbps()
	down, up := at[0]-res.Origin, at[1]-res.Origin
	share := res.Mbps(down-stepWindow, down) / limit
	r.StepDown = followed(res.Series, down, up, stepNear*share*(limit-u.limitMbps()/2))
	r.StepUp = followed(res.Series, up, total, stepNear*share*limit)
	if r.StepDown == nil || r.StepUp == nil {
		r.Notes = append(r.Notes, fmt.Sprintf("%s halved or doubled: not followed to within 5 %% in %v", u.Name, stepHold-stepWindow))
	}
	b.say("%s, %s halved: followed after %s; doubled: %s", r.Direction, u.Name, after(r.StepDown, stepHold-stepWindow), after(r.StepUp, stepHold-stepWindow))
	return nil
}

// followed is the time in ms from an instant of the series until the mean of the
// next stepWindow is at least want; nil when that does not happen before end.
func followed(s interface {
	Mbps(from, to time.Duration) float64
}, from, end time.Duration, want float64) *float64 {
	for t := from; t+stepWindow <= end; t += lab.Bin {
		if s.Mbps(t, t+stepWindow) >= want {
			return number(millis(t-from), 0)
		}
	}
	return nil
}

// after says how long something took, or that it took longer than was looked.
func after(ms *float64, limit time.Duration) string {
	if ms == nil {
		return fmt.Sprintf("more than %v", limit)
	}
	return fmt.Sprintf("%.0f ms", *ms)
}

// restartExit kills the exit's daemon in the middle of a transfer and starts it
// again at once.
func (b *bench) restartExit(ctx context.Context, r *Result) error {
	before := max(faultBefore, b.settle)
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

// restartUnderStreams does the same to streams, which end with their session:
// the transfer must be reset, not look complete, and new connections must work
// again, the sooner the better. Small downloads show from when on.
func (b *bench) restartUnderStreams(ctx context.Context, r *Result) error {
	before := max(faultBefore, b.settle)
	const every = 100 * time.Millisecond
	var (
		wg       sync.WaitGroup
		fetches  lab.Fetches
		fetchErr error
	)
	res, err := b.transferWith(ctx, r, before+restartWait, before, func() error {
		if err := b.lab.Kill(ctx, b.lab.Exit); err != nil {
			return err
		}
		wg.Go(func() {
			fetches, fetchErr = b.lab.Fetch(ctx, lab.FetchSpec{Source: lab.LAN4, Bytes: requestBytes, Count: int(restartWait/every) / 2, Every: every, Timeout: restartWait / 2})
		})
		return b.lab.StartExit(ctx)
	})
	wg.Wait()
	if err := errors.Join(err, fetchErr); err != nil {
		return err
	}
	for i, f := range res.Flows {
		if !strings.Contains(f.Error, "reset") {
			return fmt.Errorf("the exit was restarted, and TCP flow %d was not reset: %s", i+1, f.Error)
		}
	}
	again := time.Duration(-1)
	for i, took := range fetches.Took {
		if done := time.Duration(i)*every + took; took > 0 && (again < 0 || done < again) {
			again = done
		}
	}
	if again < 0 {
		return fmt.Errorf("no new connection works %v after the exit was restarted: %w", restartWait, fetches.Err())
	}
	r.Restart = number(millis(again), 0)
	b.say("%s, exit killed and restarted: transfer reset (%s), a new connection is answered after %.0f ms", r.Direction, res.Flows[0].Error, *r.Restart)
	return nil
}

// during runs a transfer and does something when it has run for a while. A
// flow that does not survive is an error.
func (b *bench) during(ctx context.Context, r *Result, total, when time.Duration, do func() error) (lab.TCPResult, error) {
	res, err := b.transferWith(ctx, r, total, when, do)
	return res, errors.Join(err, res.Err())
}

// transferWith is during with flows that may end early.
func (b *bench) transferWith(ctx context.Context, r *Result, total, when time.Duration, do func() error) (lab.TCPResult, error) {
	var (
		wg    sync.WaitGroup
		doErr error
	)
	wg.Go(func() {
		if doErr = sleep(ctx, when); doErr == nil {
			doErr = do()
		}
	})
	res, err := b.lab.TCP(ctx, b.tcp(r, total))
	wg.Wait()
	return res, errors.Join(err, doErr)
}
