package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// plan is what to measure on one set.
type plan struct {
	service    string
	directions []string // "down", "up"
	flows      int
	duration   time.Duration // of what counts
	settle     time.Duration // before it; a set may ask for more
	idlePings  int
	cut        bool // black-hole an uplink during a transfer
	unplug     bool // set an uplink's interface down during a transfer
	restart    bool // kill and restart the exit during a transfer
	seed       uint64
	progress   io.Writer
	log        io.Writer // what hosts and daemons print; may be nil
	profiles   string    // directory for CPU profiles of the daemons; "" for none
}

// pingInterval during measurements: dense enough for a 99th percentile, far
// too thin (34 kb/s) to matter on a line.
const pingInterval = 20 * time.Millisecond

// Timing of the transfers with a fault: long enough before for the rate to be
// steady, long enough after to see it settle again.
const (
	faultBefore = 4 * time.Second
	faultAfter  = 6 * time.Second
	faultSettle = 3 * time.Second // after the fault, until Left counts
	restartWait = 10 * time.Second
	probeTime   = time.Second // before the fault, to see which uplink is the busiest
)

// bench is one set being measured.
type bench struct {
	plan
	set     Set
	lab     *lab.Lab
	results []Result // one per direction
}

// say prints a progress line.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%s: %s\n", b.set.Name, fmt.Sprintf(format, args...))
}

// run measures one set. The results hold what could be measured, and say in
// Error what could not.
func (p plan) run(ctx context.Context, set Set) []Result {
	b := &bench{plan: p, set: set}
	b.settle = max(b.settle, set.Settle)
	for _, d := range p.directions {
		b.results = append(b.results, Result{Set: set.Name, Service: p.service, Direction: d, Flows: p.flows, Limit: set.LimitMbps()})
	}
	err := b.all(ctx)
	for i := range b.results {
		r := &b.results[i]
		if err != nil && r.Error == "" && (r.Bond == nil || p.cut && b.canCut() && r.Stall == nil) {
			r.Error = err.Error()
		}
		r.finish()
	}
	return b.results
}

// all makes the lab and takes the measurements in order.
func (b *bench) all(ctx context.Context) (err error) {
	cfg := lab.Config{Remotes: b.set.Remotes, Seed: b.seed, Log: b.log, Profiles: b.profiles, Streams: b.service == "stream"}
	if b.set.Relays > 0 {
		cfg.Home = &lab.Home{Relays: b.set.Relays, Backup: b.set.Backup}
	}
	for _, u := range b.set.Uplinks {
		cfg.Uplinks = append(cfg.Uplinks, lab.Uplink(u))
	}
	if b.lab, err = lab.Open(ctx, cfg); err != nil {
		return err
	}
	defer b.lab.Close()
	for i := range b.results {
		if err := b.alone(ctx, &b.results[i]); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := b.lab.StartBond(ctx); err != nil {
		return err
	}
	b.say("bondd carries packets %.1f s after its start", time.Since(begin).Seconds())
	idle, err := b.lab.Ping(ctx, lab.PingSpec{Source: lab.LAN4, Interval: pingInterval, Count: b.idlePings, Wait: 2 * time.Second})
	if err != nil {
		return b.lab.Explain(err)
	}
	for i := range b.results {
		r := &b.results[i]
		r.Idle = delaysOf(idle.RTTs())
		if err := b.bond(ctx, r); err != nil {
			return b.lab.Explain(err)
		}
	}
	for i := range b.results {
		if err := b.faults(ctx, &b.results[i]); err != nil {
			return b.lab.Explain(err)
		}
	}
	return b.lab.StopBond(ctx)
}

// alone measures every uplink with plain TCP, all at the same time: they share
// nothing.
func (b *bench) alone(ctx context.Context, r *Result) error {
	var wg sync.WaitGroup
	r.Uplinks = make([]UplinkResult, len(b.set.Uplinks))
	errs := make([]error, len(b.set.Uplinks))
	for i, u := range b.set.Uplinks {
		wg.Go(func() {
			res, err := b.lab.TCP(ctx, lab.TCPSpec{Source: lab.Plain(i), Up: r.Direction == "up", Flows: b.flows, Duration: b.settle + b.duration})
			errs[i] = errors.Join(err, res.Err())
			r.Uplinks[i] = UplinkResult{Name: u.Name, Limit: round(u.limitMbps(), 2), Alone: round(res.Mbps(b.settle, b.settle+b.duration), 2)}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.say("%s, each uplink alone: %s Mb/s", r.Direction, r.alone())
	return nil
}

// bond measures the transfer through bondd, and echoes beside it.
func (b *bench) bond(ctx context.Context, r *Result) error {
	before, err := b.lab.ProcessorTime(ctx)
	if err != nil {
		return err
	}
	if _, err := b.lab.Lateness(ctx); err != nil { // only what follows counts
		return err
	}
	var (
		wg      sync.WaitGroup
		loaded  lab.Pings
		pingErr error
	)
	wg.Go(func() {
		if pingErr = sleep(ctx, b.settle); pingErr == nil {
			loaded, pingErr = b.lab.Ping(ctx, lab.PingSpec{Source: lab.LAN4, Interval: pingInterval, Count: int(b.duration / pingInterval), Wait: 2 * time.Second})
		}
	})
	res, err := b.lab.TCP(ctx, lab.TCPSpec{Source: lab.LAN4, Up: r.Direction == "up", Flows: b.flows, Duration: b.settle + b.duration})
	wg.Wait()
	if err := errors.Join(err, pingErr, res.Err()); err != nil {
		return err
	}
	after, err := b.lab.ProcessorTime(ctx)
	if err != nil {
		return err
	}
	r.Bond = number(res.Mbps(b.settle, b.settle+b.duration), 2)
	r.Loaded = delaysOf(loaded.RTTs())
	r.Profile = slots(res.Series)
	if total := res.Between(0, b.settle+b.duration); total > 0 {
		r.CPU = number((after-before).Seconds()/(float64(total)/1e9), 2)
	}
	late, err := b.lab.Lateness(ctx)
	if err != nil {
		return err
	}
	r.Late = &Delays{P50: millis(late.P50), P99: millis(late.P99)}
	b.say("%s, bond: %.1f Mb/s, %.0f %% of the limit of %.1f", r.Direction, *r.Bond, *r.Bond/r.Limit*100, r.Limit)
	return nil
}

// slots is a series for plots.
func slots(s lab.Series) []float64 {
	out := s.Slices(100 * time.Millisecond)
	for i := range out {
		out[i] = round(out[i], 2)
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
