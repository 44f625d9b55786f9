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
unprivileged user namespaces and /dev/net/tun.

`

// LabMain is `bondd bench lab`. It returns the exit code: 0 done, 1 a
// measurement failed, 2 wrong usage, 3 not allowed here.
func LabMain(ctx context.Context, args []string) int {
	return labMain(ctx, args, os.Stdout, os.Stderr)
}

func labMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var (
		f         = flag.NewFlagSet("bondd bench lab", flag.ContinueOnError)
		list      = f.Bool("list", false, "list the sets and end")
		sets      = f.String("set", "equal,demo", "sets to measure, separated by commas, or \"all\"")
		service   = f.String("service", "packet", "service that carries the traffic: packet or stream")
		direction = f.String("direction", "both", "down (server to LAN), up, or both")
		flows     = f.Int("flows", 1, "parallel TCP connections")
		duration  = f.Duration("duration", 10*time.Second, "time that counts of each transfer")
		settle    = f.Duration("settle", 4*time.Second, "time before it; satellites get at least 10s")
		faults    = f.String("faults", "cut", "what breaks during further transfers, separated by commas: cut (the busiest uplink becomes a black hole), unplug (its interface goes down), restart (of the exit); or none")
		asJSON    = f.Bool("json", false, "print one JSON object instead of the table")
		check     = f.Bool("selfcheck", false, "check the emulator (asked against measured) instead of bondd")
		quick     = f.Bool("quick", false, "shorter: 4s count after 2s, nothing breaks")
		seed      = f.Uint64("seed", 1, "of the accidents on the lines")
		profiles  = f.String("profiles", "", "directory for CPU profiles of the daemons (of the last set)")
		rounds    = f.Int("rounds", 5, "set plain only: rounds whose medians are reported")
		verbose   = f.Bool("verbose", false, "show what the daemons print")
	)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, labUsage); f.PrintDefaults() }
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	wrong := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "bondd bench lab: "+format+"\n", a...)
		return exitUsage
	}
	if f.NArg() > 0 {
		return wrong("unexpected argument %q; everything is a flag", f.Arg(0))
	}
	if *list {
		writeSets(stdout)
		return exitOK
	}
	var chosen []Set
	if *sets != plainSet {
		var err error
		if chosen, err = FindSets(*sets); err != nil {
			return wrong("%v", err)
		}
	}
	p := plan{service: *service, flows: *flows, duration: *duration, settle: *settle, idlePings: 150, seed: *seed, progress: stderr, profiles: *profiles}
	if *service != "packet" && *service != "stream" {
		return wrong("there is no service %q; there is packet and stream", *service)
	}
	switch *direction {
	case "down", "up":
		p.directions = []string{*direction}
	case "both":
		p.directions = []string{"down", "up"}
	default:
		return wrong("direction is %q; it is down, up or both", *direction)
	}
	for what := range strings.SplitSeq(*faults, ",") {
		switch what {
		case "cut":
			p.cut = true
		case "unplug":
			p.unplug = true
		case "restart":
			p.restart = true
		case "none", "":
		default:
			return wrong("faults has %q; it is cut, unplug, restart, several of them, or none", what)
		}
	}
	given := map[string]bool{}
	f.Visit(func(x *flag.Flag) { given[x.Name] = true })
	if *quick {
		p.idlePings = 50
		if !given["duration"] {
			p.duration = 4 * time.Second
		}
		if !given["settle"] {
			p.settle = 2 * time.Second
		}
		if !given["faults"] {
			p.cut, p.unplug, p.restart = false, false, false
		}
	}
	if *rounds < 1 || *rounds > 100 {
		return wrong("rounds is %d; it is 1 to 100", *rounds)
	}
	if p.flows < 1 || p.flows > 1000 {
		return wrong("flows is %d; it is 1 to 1000", p.flows)
	}
	if p.duration < time.Second || p.duration > 10*time.Minute || p.settle < 0 || p.settle > 10*time.Minute {
		return wrong("duration is 1s to 10m, settle at most 10m")
	}
	if *verbose {
		p.log = stderr
	}
	if code, done := enter(stderr, "bondd bench lab"); done {
		return code
	}
	if *sets == plainSet {
		if !given["duration"] {
			p.duration = 3 * time.Second
		}
		return p.reportPlain(ctx, args, *rounds, *asJSON, stdout, stderr)
	}
	if *check {
		return checkAll(ctx, chosen, *seed, *quick, stdout, stderr)
	}
	write := Report.WriteTable
	if *asJSON {
		write = Report.writeJSON
	}
	return p.report(ctx, "bench lab", args, chosen, write, stdout, stderr)
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

// report measures the sets and prints the outcome.
func (p plan) report(ctx context.Context, command string, args []string, sets []Set, write func(Report, io.Writer) error, stdout, stderr io.Writer) int {
	var results []Result
	for _, s := range sets {
		if ctx.Err() != nil {
			break
		}
		results = append(results, p.run(ctx, s)...)
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "interrupted")
		return exitFailure
	}
	if err := write(newReport(command, args, results), stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailure
	}
	if slices.ContainsFunc(results, func(r Result) bool { return r.Error != "" }) {
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

func writeSets(w io.Writer) {
	for _, s := range Sets() {
		fmt.Fprintf(w, "%-8s %s\n", s.Name, s.Title)
		for _, u := range s.Uplinks {
			fmt.Fprintf(w, "         %-6s %s\n", u.Name, u.describe())
		}
	}
	fmt.Fprintf(w, "%-8s bare wires, no emulation, one and two of them, beside wireguard-go; alone only\n", plainSet)
}

// describe is the line in words.
func (u Uplink) describe() string {
	l := u.Link
	text := fmt.Sprintf("%g Mb/s, %v one way, queue %v", l.Rate/1e6, l.Delay, l.Queue)
	if l.Jitter > 0 {
		text += fmt.Sprintf(", jitter %v", l.Jitter)
	}
	if l.Loss > 0 {
		text += fmt.Sprintf(", loss %g %%", l.Loss*100)
	}
	return text
}
