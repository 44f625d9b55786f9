package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/bondd/bondd/bench/sim"
)

// simUsage is what `bondd bench sim -h` says above the flags.
const simUsage = `usage: bondd bench sim [flags]

Measures the sets of "bondd bench lab" in virtual time: the real sessions over the
same model of a line, and a model of TCP (CUBIC as in Linux) in place of the
kernel's; with --service stream, applications that write and read as fast as the
bond lets them. Needs no rights, takes a second or two per set and direction, and gives the
same figures for the same seed. What it leaves out is everything that costs
processor time; where lab and sim disagree, the lab is right.

`

// Timing of a simulated measurement, in virtual time.
const (
	simProven = time.Second     // paths are validated and their MTU found by then
	simIdle   = 3 * time.Second // of echoes on idle lines before the transfer
)

// simPlan is what to simulate.
type simPlan struct {
	service    string
	traffic    string // "cubic", "bbr" or "udp"
	directions []string
	flows      int
	duration   time.Duration
	settle     time.Duration
	faults     []string
	short      bool // measure short downloads too
	seed       uint64
	progress   io.Writer
	inside     io.Writer // the sessions' own figures after each transfer; may be nil
}

// SimMain is `bondd bench sim`. It returns the exit code: 0 done, 1 a
// measurement failed, 2 wrong usage.
func SimMain(ctx context.Context, args []string) int {
	return simMain(ctx, args, os.Stdout, os.Stderr)
}

func simMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := simPlan{progress: stderr}
	var random *int
	c, code, done := flagSpec{
		command: "bench sim", usage: simUsage, sets: "all", services: []string{"packet", "stream"}, service: "packet", faults: []string{"cut", "unplug", "step"},
		faultText: "cut (the busiest uplink becomes a black hole), unplug (its interface goes down), step (the fastest uplink's rate is halved, then doubled)", duration: 20 * time.Second, virtual: "virtual ", find: simSets,
		own: func(f *flag.FlagSet) {
			f.StringVar(&p.traffic, "traffic", "cubic", "what the flows are: cubic, bbr (TCP), or udp (datagrams paced at 80 % of the sum of the rates)")
			random = f.Int("random", 0, "instead of sets: so many random pairs and triples of links, the worst ten listed")
		},
	}.parse(args, stdout, stderr)
	if done {
		return code
	}
	wrong := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "bondd bench sim: "+format+"\n", a...)
		return exitUsage
	}
	if len(c.services) == 0 {
		return wrong("there is no service to measure")
	}
	p.service, p.directions, p.duration, p.settle, p.seed = c.services[0], c.directions, c.duration, c.settle, c.seed
	p.flows, p.faults, p.short = c.flows[0], c.faults, c.transfers
	if !slices.Contains([]string{"cubic", "bbr", "udp"}, p.traffic) {
		return wrong("traffic is %q; it is cubic, bbr or udp", p.traffic)
	}
	if p.short && p.traffic == "udp" {
		return wrong("transfers are downloads by TCP")
	}
	if p.traffic == "udp" && slices.Contains(c.services, "stream") {
		return wrong("streams carry no datagrams; traffic udp goes with --service packet")
	}
	if c.verbose {
		p.inside = stderr
	}
	if *random < 0 || *random > 100_000 {
		return wrong("random is %d; it is at most 100000", *random)
	}
	if *random > 0 && len(c.services) > 1 {
		return wrong("random measures one service at a time")
	}
	if *random > 0 {
		p.faults = nil
		if len(p.directions) > 1 {
			p.directions = []string{"down"} // the links are symmetric
		}
		return p.random(ctx, *random, args, c, stdout, stderr)
	}
	var results []Result
	for _, s := range c.sets {
		for _, p.service = range c.services {
			for _, p.flows = range c.flows {
				for _, d := range p.directions {
					r := p.measure(ctx, s, d)
					results = append(results, r)
					p.say(r)
				}
			}
		}
	}
	return p.print(ctx, args, results, c.output(Report.WriteTable), stdout, stderr)
}

// say is the line of progress of one result.
func (p *simPlan) say(r Result) {
	switch {
	case r.Error != "":
		fmt.Fprintf(p.progress, "%s, %s, %s: %s\n", r.Set, r.Service, r.Direction, r.Error)
	case r.Offered != nil:
		fmt.Fprintf(p.progress, "%s, %s, %s: %.1f Mb/s, %.0f %% of the %.1f that are offered\n", r.Set, r.Service, r.Direction, *r.Bond, *r.Bond / *r.Offered * 100, *r.Offered)
	case r.Bond != nil:
		fmt.Fprintf(p.progress, "%s, %s, %s: %.1f Mb/s, %.0f %% of the limit of %.1f\n", r.Set, r.Service, r.Direction, *r.Bond, *r.Bond/r.Limit*100, r.Limit)
	}
}

// print writes the report.
func (p *simPlan) print(ctx context.Context, args []string, results []Result, write func(Report, io.Writer) error, stdout, stderr io.Writer) int {
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "interrupted")
		return exitFailure
	}
	rep := newReport("bench sim", args, results)
	if err := write(rep, stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailure
	}
	if slices.ContainsFunc(results, func(r Result) bool { return r.Error != "" }) {
		return exitFailure
	}
	return exitOK
}

// measure simulates one set in one direction.
func (p *simPlan) measure(ctx context.Context, set Set, direction string) Result {
	r := Result{Set: set.Name, Service: p.service, Direction: direction, Flows: p.flows, Limit: set.LimitMbps()}
	settle := max(p.settle, set.Settle)
	err := p.alone(ctx, set, settle, &r)
	if err == nil {
		err = p.bond(ctx, set, settle, &r)
	}
	for _, f := range p.faults {
		if err == nil {
			err = p.fault(ctx, set, f, &r)
		}
	}
	if err == nil && p.short && direction == "down" {
		err = p.transfers(ctx, set, settle, &r)
	}
	if err != nil {
		r.Error = err.Error()
	}
	r.finish()
	return r
}

// transfer is the flows of one measurement.
func (p *simPlan) transfer(set Set, direction string, start time.Duration) []sim.Flow {
	f := sim.Flow{Down: direction == "down", Start: start, TCP: sim.TCPConfig{BBR: p.traffic == "bbr"}}
	switch {
	case p.service == "stream":
		f.Kind = sim.Stream
	case p.traffic == "udp":
		f.Kind = sim.UDP
		for _, u := range set.Uplinks {
			f.Rate += simOffered * u.Link.Rate / float64(p.flows)
		}
	}
	flows := make([]sim.Flow, p.flows)
	for i := range flows {
		flows[i] = f
		// Not all in the same instant, as with real programs.
		flows[i].Start += time.Duration(i) * 3 * time.Millisecond
	}
	return flows
}

// simOffered is the share of the sum of the rates at which datagrams are paced.
const simOffered = 0.8

// alone measures each uplink with plain TCP, which is nothing to compare datagrams with.
func (p *simPlan) alone(ctx context.Context, set Set, settle time.Duration, r *Result) error {
	if p.traffic == "udp" {
		return nil
	}
	for i, u := range set.Uplinks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		flows := make([]sim.Flow, p.flows)
		for k := range flows {
			flows[k] = sim.Flow{Down: r.Direction == "down", TCP: sim.TCPConfig{BBR: p.traffic == "bbr"}}
		}
		res, err := sim.Plain(u.Link, flows, settle+p.duration, p.seed+uint64(i)<<32)
		if err != nil {
			return err
		}
		r.Uplinks = append(r.Uplinks, UplinkResult{Name: u.Name, Limit: round(u.limitMbps(), 2), Alone: round(sim.Sum(res).Mbps(settle, settle+p.duration), 2)})
	}
	return nil
}

// scenario is the bond of a set, without traffic.
func (p *simPlan) scenario(set Set) sim.Scenario {
	sc := sim.Scenario{Seed: p.seed, Remotes: set.Remotes}
	if set.Relays > 0 {
		sc.Remotes = 2 + set.Relays // the exit, and the VPN over the same line, which the simulation has as another remote
	}
	for _, u := range set.Uplinks {
		line := sim.Symmetric(u.Name, u.Link)
		line.Backup = u.Name == set.Backup
		sc.Uplinks = append(sc.Uplinks, line)
	}
	return sc
}

// advance runs in slices, so that an interrupt is heard.
func advance(ctx context.Context, run *sim.Run, until time.Duration) error {
	for run.Now() < until {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := run.Advance(min(until, run.Now()+time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// bond measures echoes alone, then the transfer with echoes beside it.
func (p *simPlan) bond(ctx context.Context, set Set, settle time.Duration, r *Result) error {
	sc := p.scenario(set)
	start := simProven + simIdle
	from, to := start+settle, start+settle+p.duration
	sc.Flows = append(p.transfer(set, r.Direction, start), sim.Flow{Kind: sim.Ping, Start: simProven})
	run, err := sim.New(sc)
	if err != nil {
		return err
	}
	if err := advance(ctx, run, to); err != nil {
		return err
	}
	p.show(set, run)
	sum := sim.Sum(run.Flows[:p.flows])
	r.Bond = number(sum.Mbps(from, to), 2)
	ping := run.Flows[p.flows]
	idle, _ := ping.Delays(simProven, start)
	loaded, _ := ping.Delays(from, to)
	r.Idle, r.Loaded = delaysOf(idle), delaysOf(loaded)
	r.Profile = simSlots(sum, start)
	if p.traffic == "udp" {
		offered := 0.0
		for _, f := range run.Flows[:p.flows] {
			offered += f.Offered()
		}
		r.Offered = number(offered, 2)
	}
	return nil
}

// show writes what sessions and senders have counted.
func (p *simPlan) show(set Set, run *sim.Run) {
	if p.inside == nil {
		return
	}
	gateway, exit := run.Stats()
	enc := json.NewEncoder(p.inside)
	enc.SetIndent("", "  ")
	_ = enc.Encode(map[string]any{"set": set.Name, "gateway": gateway, "exit": exit}) // progress, not a result
	for i, f := range run.Flows[:p.flows] {
		fmt.Fprintf(p.inside, "flow %d: %+v, smoothed RTT %v\n", i, f.Sender(), f.RTT().Round(time.Microsecond))
	}
}

// simSlots is a series for plots, from the start of the transfer on.
func simSlots(f *sim.FlowResult, start time.Duration) []float64 {
	out := f.Slices(100 * time.Millisecond)
	out = out[min(len(out), int(start/(100*time.Millisecond))):]
	for i := range out {
		out[i] = round(out[i], 2)
	}
	return out
}
