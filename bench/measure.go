package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// plan is what to measure on a set.
type plan struct {
	services   []string // of bondd, or names of peers
	directions []string // "down", "up"
	flows      []int
	duration   time.Duration // of what counts
	settle     time.Duration // before it; a set may ask for more
	idlePings  int
	faults     []string // "cut", "unplug", "step", "restart"
	faultsLast bool     // with the last service alone
	transfers  bool     // measure short downloads too
	again      int      // times a step is measured again that the machine has spoiled
	repeat     int      // times everything is measured
	seed       uint64
	progress   io.Writer
	clock      *clock    // of a whole report; nil in tests
	log        io.Writer // what hosts and daemons print; may be nil
	profiles   string    // directory for CPU profiles of the daemons; "" for none
	noMPTCP    []string  // hosts without the kernel's MPTCP
	strip      []int     // uplinks that strip it
}

// Probes during measurements: dense enough for a 99th percentile, far too thin
// (34 and 80 kb/s) to matter on a line.
const (
	pingInterval = 20 * time.Millisecond
	sparseRate   = 50  // packets a second of the sparse flow
	sparseSize   = 200 // bytes of each
	sparseLinger = time.Second
)

// startTime is about what hosts, emulator and daemons take to come up; for the
// time that is left, nothing else.
const startTime = 2 * time.Second

// bench is one set being measured with one service.
type bench struct {
	plan
	set     Set
	service string
	lab     *lab.Lab
	carrier carrier
	first   bool     // of the services: the others take over what it has measured without any
	results []Result // flows × directions
}

// step is one measurement.
type step struct {
	takes time.Duration // about
	of    *Result       // that it makes void when the machine spoils it; nil: it cannot
	name  string
	do    func(context.Context) error
}

// say prints a progress line.
func (b *bench) say(format string, args ...any) {
	text := fmt.Sprintf("%s, %s: %s", b.set.Name, b.service, fmt.Sprintf(format, args...))
	if b.clock == nil {
		fmt.Fprintln(b.progress, text)
		return
	}
	b.clock.say(text)
}

// takes is how long the plan will take on a set, about.
func (p plan) takes(set Set) (sum time.Duration) {
	for i, service := range p.services {
		sum += startTime
		for _, s := range p.bench(set, service, i == 0).steps() {
			sum += s.takes
		}
	}
	return sum
}

func (p plan) bench(set Set, service string, first bool) *bench {
	b := &bench{plan: p, set: set, service: service, first: first, carrier: carrierOf(service)}
	b.settle = max(b.settle, set.Settle)
	if p.faultsLast && service != p.services[len(p.services)-1] {
		b.faults = nil
	}
	for _, n := range p.flows {
		for _, d := range p.directions {
			b.results = append(b.results, Result{Set: set.Name, Service: service, Direction: d, Flows: n, Limit: set.LimitMbps()})
		}
	}
	return b
}

// run measures one set. The results hold what could be measured, and say in
// Error what could not.
func (p plan) run(ctx context.Context, set Set) (all []Result) {
	var first *bench
	for i, service := range p.services {
		if ctx.Err() != nil {
			break
		}
		b := p.bench(set, service, i == 0)
		if first == nil {
			first = b
		} else {
			for i := range b.results {
				b.results[i].Uplinks = slices.Clone(first.results[i].Uplinks)
				b.results[i].Transfers, b.results[i].Plain = aloneOnly(first.results[i].Transfers), first.results[i].Plain
			}
		}
		err := b.all(ctx)
		for i := range b.results {
			r := &b.results[i]
			if err != nil && r.Error == "" && !r.done {
				r.Error = err.Error()
			}
			r.finish()
		}
		all = append(all, b.results...)
	}
	return all
}

// all makes the lab and takes the measurements in order.
func (b *bench) all(ctx context.Context) (err error) {
	cfg := lab.Config{Remotes: b.set.Remotes, Seed: b.seed, Log: b.log, Profiles: b.profiles, Streams: b.service != "packet",
		NoMPTCP: b.noMPTCP, Strip: b.strip}
	if b.service == "mptcp" || b.service == "auto" {
		cfg.Mode = b.service
	}
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
	for _, s := range b.steps() {
		if err := b.take(ctx, s); err != nil {
			return b.lab.Explain(err)
		}
		if b.clock != nil {
			b.clock.done += s.takes
		}
	}
	for i := range b.results {
		b.results[i].done = true
	}
	return b.carrier.stop(ctx, b.lab)
}

// steps are the measurements in order.
func (b *bench) steps() (out []step) {
	if b.first {
		for i := range b.results {
			r := &b.results[i]
			out = append(out, step{b.settle + b.duration, r, "alone", func(ctx context.Context) error { return b.alone(ctx, r) }})
			if b.downloads(r) {
				out = append(out, step{transfersAloneTime, r, "transfers alone", func(ctx context.Context) error { return b.transfersAlone(ctx, r) }})
			}
		}
	}
	out = append(out, step{b.carrier.warm, nil, "start", b.start})
	idle := time.Duration(b.idlePings) * pingInterval
	if !b.carrier.onlyTCP {
		out = append(out, step{idle + sparseLinger, &b.results[0], "idle", b.idle})
	}
	for i := range b.results {
		r := &b.results[i]
		out = append(out, step{b.settle + b.duration + sparseLinger, r, "transfer", func(ctx context.Context) error { return b.bond(ctx, r) }})
		if b.downloads(r) {
			out = append(out, step{transfersTime + b.settle, r, "transfers", func(ctx context.Context) error { return b.shortTransfers(ctx, r) }})
		}
	}
	for i := range b.results {
		if b.results[i].Flows == b.flows[0] { // a fault is the same to eight flows
			out = append(out, b.faultSteps(&b.results[i])...)
		}
	}
	for i := range b.results {
		// A result whose last step was taken is complete, whatever comes after.
		r := &b.results[i]
		for k := range slices.Backward(out) {
			if out[k].of == r {
				do := out[k].do
				out[k].do = func(ctx context.Context) error {
					err := do(ctx)
					r.done = r.done || err == nil
					return err
				}
				break
			}
		}
	}
	return out
}

// take takes a measurement, and takes it again when the machine has spoiled it.
func (b *bench) take(ctx context.Context, s step) error {
	if s.of == nil {
		return s.do(ctx)
	}
	for try := 0; ; try++ {
		meter, err := b.lab.Meter(ctx)
		if err != nil {
			return err
		}
		if err := s.do(ctx); err != nil {
			return err
		}
		load, err := meter.Load(ctx)
		if err != nil {
			return err
		}
		if s.name == "transfer" {
			s.of.Machine = machineOf(load)
		}
		why := load.Spoiled()
		if why == "" {
			return nil
		}
		if try == b.again {
			s.of.void(s.name, why)
			return nil
		}
		b.say("void, and measured again: %s", why)
		if b.clock != nil {
			b.clock.total += s.takes
			b.clock.done += s.takes
		}
	}
}

// start starts what carries the traffic.
func (b *bench) start(ctx context.Context) error {
	begin := time.Now()
	if err := b.carrier.start(ctx, b.lab); err != nil {
		return err
	}
	b.say("ready %.1f s after its start", time.Since(begin).Seconds())
	if b.carrier.note == nil {
		return nil
	}
	note, err := b.carrier.note(ctx, b.lab)
	for i := range b.results {
		if note == "" {
			break
		}
		b.results[i].Notes = append(b.results[i].Notes, note)
	}
	return err
}

// alone measures every uplink with plain TCP, all at the same time: they share
// nothing.
func (b *bench) alone(ctx context.Context, r *Result) error {
	var wg sync.WaitGroup
	r.Uplinks = make([]UplinkResult, len(b.set.Uplinks))
	errs := make([]error, len(b.set.Uplinks))
	for i, u := range b.set.Uplinks {
		wg.Go(func() {
			res, err := b.lab.TCP(ctx, lab.TCPSpec{Source: lab.Plain(i), Up: r.Direction == "up", Flows: r.Flows, Duration: b.settle + b.duration})
			errs[i] = errors.Join(err, res.Err())
			r.Uplinks[i] = UplinkResult{Name: u.Name, Limit: round(u.limitMbps(), 2), Alone: round(res.Mbps(b.settle, b.settle+b.duration), 2)}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.say("%s, %d flows, each uplink alone: %s Mb/s", r.Direction, r.Flows, r.alone())
	return nil
}

// idle measures echoes and a sparse flow each way on lines that carry nothing
// else, for all results.
func (b *bench) idle(ctx context.Context) error {
	var (
		wg     sync.WaitGroup
		errs   [3]error
		echoes lab.Pings
		sparse [2]*Delays // down, up
	)
	wg.Go(func() {
		echoes, errs[0] = b.lab.Ping(ctx, lab.PingSpec{Source: b.source(), Interval: pingInterval, Count: b.idlePings, Wait: 2 * time.Second})
	})
	for i := range sparse {
		wg.Go(func() { sparse[i], errs[1+i] = b.sparse(ctx, i == 1, time.Duration(b.idlePings)*pingInterval) })
	}
	wg.Wait()
	for i := range b.results {
		r := &b.results[i]
		r.Idle, r.SparseIdle = delaysOf(echoes.RTTs()), sparse[0]
		if r.Direction == "up" {
			r.SparseIdle = sparse[1]
		}
	}
	return errors.Join(errs[:]...)
}

// sparse measures the one-way delay of a thin UDP flow. A service that carries
// TCP alone has none.
func (b *bench) sparse(ctx context.Context, up bool, d time.Duration) (*Delays, error) {
	if b.carrier.onlyTCP {
		return nil, nil
	}
	res, err := b.lab.UDP(ctx, lab.UDPSpec{Source: b.source(), Up: up, Size: sparseSize, Mbps: sparseRate * sparseSize * 8 / 1e6, Duration: d, Linger: sparseLinger})
	return delaysOf(res.Delays), err
}

// bond measures a transfer, with echoes and a sparse flow beside it.
func (b *bench) bond(ctx context.Context, r *Result) error {
	before, err := b.carrier.usage(ctx, b.lab)
	if err != nil {
		return err
	}
	lines, err := b.delivered(ctx, r.Direction)
	if err != nil {
		return err
	}
	var (
		wg     sync.WaitGroup
		loaded lab.Pings
		errs   [4]error
	)
	wg.Go(func() {
		if errs[0] = sleep(ctx, b.settle); errs[0] == nil && !b.carrier.onlyTCP {
			loaded, errs[0] = b.lab.Ping(ctx, lab.PingSpec{Source: b.source(), Interval: pingInterval, Count: int(b.duration / pingInterval), Wait: 2 * time.Second})
		}
	})
	wg.Go(func() {
		if errs[1] = sleep(ctx, b.settle); errs[1] == nil {
			r.SparseLoaded, errs[1] = b.sparse(ctx, r.Direction == "up", b.duration)
		}
	})
	watch, remember := b.watch(ctx, r.Direction), b.watchMemory(ctx, b.settle+b.duration)
	res, err := b.lab.TCP(ctx, b.tcp(r, b.settle+b.duration))
	r.UplinkProfile, errs[2] = watch()
	wg.Wait()
	r.Memory, errs[3] = remember()
	if err := errors.Join(append(errs[:], err, res.Err())...); err != nil {
		return err
	}
	after, err := b.carrier.usage(ctx, b.lab)
	if err != nil {
		return err
	}
	r.Bond = number(res.Mbps(b.settle, b.settle+b.duration), 2)
	r.Loaded = delaysOf(loaded.RTTs())
	r.Profile = slots(res.Series)
	if total := res.Between(0, b.settle+b.duration); total > 0 && after > before {
		r.CPU = number((after-before).Seconds()/(float64(total)/1e9), 2)
	}
	if err := b.share(ctx, r, lines); err != nil {
		return err
	}
	b.say("%s, %d flows: %.1f Mb/s, %.0f %% of the limit of %.1f", r.Direction, r.Flows, *r.Bond, *r.Bond/r.Limit*100, r.Limit)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
