package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// Exit codes, those of cmd/bondd.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRights  = 3 // the system does not allow what is needed
)

// labUsage is what `bondd bench lab -h` says above the flags.
const labUsage = `usage: bondd bench lab [flags]

Makes hosts in network namespaces, joins them by emulated uplinks, runs bondd on
both sides, and measures real TCP through it. Needs root, or a system that allows
unprivileged user namespaces and /dev/net/tun. Ctrl-C ends it; what has been
measured until then is reported.

`

// labServices are the services a lab can measure.
var labServices = []string{"packet", "stream", "mptcp", "auto"}

// labDefault are those it measures unasked: what needs nothing of the kernel.
const labDefault = "packet,stream"

// LabMain is `bondd bench lab`. It returns the exit code: 0 done, 1 a
// measurement failed or was interrupted, 2 wrong usage, 3 not allowed here.
func LabMain(ctx context.Context, args []string) int {
	return labMain(ctx, args, os.Stdout, os.Stderr)
}

func labMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var (
		p      = plan{idlePings: 150, again: 1, progress: stderr}
		with   string
		rounds int
		less   = map[string]*string{} // by flag: where MPTCP is not to be had
		check  bool
		quick  bool
	)
	c, code, done := flagSpec{
		command: "bench lab", usage: labUsage, sets: "equal,demo", services: labServices, service: labDefault, faults: []string{"cut", "unplug", "step", "restart"},
		faultText: "cut (the busiest uplink becomes a black hole), unplug (its interface goes down), step (the fastest uplink's rate is halved, and later " +
			"doubled), restart (of the exit)",
		duration: 10 * time.Second, plain: true,
		own: func(f *flag.FlagSet) {
			f.IntVar(&p.repeat, "repeat", 1, "measure everything so many times, with other accidents; medians and the spread are reported")
			f.IntVar(&rounds, "rounds", 5, "set plain only: rounds whose medians are reported")
			f.StringVar(&with, "with", "", "others to measure on the same lines, separated by commas: "+strings.Join(peerNames(), ", ")+"; or \"all\"")
			less["no-mptcp"] = f.String("no-mptcp", "", "where the kernel's MPTCP is switched off: gateway, exit, or both, separated by commas")
			less["strip"] = f.String("strip", "", "uplinks on which a box removes MPTCP from TCP packets, by number from 0, separated by commas")
			f.BoolVar(&check, "selfcheck", false, "check the emulator (asked against measured) instead of bondd")
			f.BoolVar(&quick, "quick", false, "shorter: 3s count after 2s, nothing breaks")
			f.StringVar(&p.profiles, "profiles", "", "directory for CPU profiles of the daemons (of the last set)")
		},
		shorten: func(c *choice) {
			if !quick {
				return
			}
			p.idlePings = 50
			if !c.given["duration"] {
				c.duration = 3 * time.Second
			}
			if !c.given["settle"] {
				c.settle = 2 * time.Second
			}
			if !c.given["faults"] {
				c.faults = nil
			}
		},
	}.parse(args, stdout, stderr)
	if done {
		return code
	}
	peers, err := oneOf("peer", with, peerNames())
	if err == nil && (p.repeat < 1 || p.repeat > 100) {
		err = wrongUsage("repeat is %d; it is 1 to 100", p.repeat)
	}
	if err == nil && (rounds < 1 || rounds > 100) {
		err = wrongUsage("rounds is %d; it is 1 to 100", rounds)
	}
	for _, name := range []string{"no-mptcp", "strip"} {
		err = errors.Join(err, p.without(name, *less[name]))
	}
	if err != nil {
		fmt.Fprintf(stderr, "bondd bench lab: %v\n", err)
		return exitUsage
	}
	p.services, p.directions, p.flows, p.faults, p.transfers = c.services, c.directions, c.flows, c.faults, c.transfers
	p.duration, p.settle, p.seed = c.duration, c.settle, c.seed
	if c.verbose {
		p.log = stderr
	}
	if code, done := enter(stderr, "bondd bench lab"); done {
		return code
	}
	if c.plain {
		if !c.given["duration"] {
			p.duration = 3 * time.Second
		}
		return p.reportPlain(ctx, args, rounds, c.asJSON, stdout, stderr)
	}
	if check {
		return checkAll(ctx, c.sets, c.seed, quick, stdout, stderr)
	}
	p.services = append(slices.Clone(p.services), presentPeers(peers, stderr)...)
	if len(p.services) == 0 {
		fmt.Fprintln(stderr, "bondd bench lab: nothing is left to measure; --service and --with choose")
		return exitUsage
	}
	return p.report(ctx, "bench lab", args, c.sets, c.output(Report.WriteTable), stdout, stderr)
}

// output is how a command reports: the table or JSON, and the page.
func (c choice) output(table func(Report, io.Writer) error) func(Report, io.Writer) error {
	return func(r Report, w io.Writer) error {
		var err error
		if c.html != "" {
			err = r.writeHTMLFile(c.html)
		}
		if c.markdown {
			table = Report.writeMarkdown
		}
		if c.asJSON {
			return errors.Join(r.writeJSON(w), err)
		}
		return errors.Join(table(r, w), err)
	}
}

// enter gets the rights for a lab, or says why there are none. With done the
// command ends with the code.
func enter(stderr io.Writer, command string) (code int, done bool) {
	code, done, err := lab.Enter()
	switch {
	case errors.Is(err, lab.ErrNotAllowed):
		fmt.Fprintf(stderr, "%s: %v; \"bondd bench sim\" measures the same sets in virtual time and needs no rights.\n", command, err)
		return exitRights, true
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", command, err)
		return exitFailure, true
	}
	return code, done
}

// report measures the sets, as often as asked for, and prints the outcome.
func (p plan) report(ctx context.Context, command string, args []string, sets []Set, write func(Report, io.Writer) error, stdout, stderr io.Writer) int {
	return printResults(ctx, command, args, p.all(ctx, sets), write, stdout, stderr)
}

// all measures the sets, as often as asked for.
func (p plan) all(ctx context.Context, sets []Set) []Result {
	p.repeat = max(1, p.repeat)
	p.clock = &clock{w: p.progress}
	for _, s := range sets {
		p.clock.total += time.Duration(p.repeat) * p.takes(s)
	}
	var runs []Result
	for n := range p.repeat {
		for _, s := range sets {
			if ctx.Err() != nil {
				break
			}
			q := p
			q.seed += uint64(n)
			runs = append(runs, q.run(ctx, s)...)
		}
	}
	return merge(runs)
}

// printResults writes the report. Of what was interrupted it prints what there is.
func printResults(ctx context.Context, command string, args []string, results []Result, write func(Report, io.Writer) error, stdout, stderr io.Writer) int {
	if ctx.Err() != nil {
		results = slices.DeleteFunc(results, Result.empty)
		fmt.Fprintln(stderr, "interrupted; this is what was measured until then:")
	}
	if err := write(newReport(command, args, results), stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailure
	}
	if ctx.Err() != nil || slices.ContainsFunc(results, func(r Result) bool { return r.Error != "" }) {
		return exitFailure
	}
	return exitOK
}

// checkAll is --selfcheck.
func checkAll(ctx context.Context, sets []Set, seed uint64, quick bool, stdout, stderr io.Writer) int {
	ok := true
	for _, s := range sets {
		lines, err := selfcheck(ctx, s, seed, quick)
		if !writeChecks(stdout, s, lines) {
			ok = false
		}
		if err != nil {
			fmt.Fprintf(stderr, "bondd bench lab: %s: %v\n", s.Name, err)
			return exitFailure
		}
	}
	if !ok {
		fmt.Fprintln(stderr, "bondd bench lab:", errOff)
		return exitFailure
	}
	return exitOK
}
