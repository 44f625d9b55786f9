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
	"text/tabwriter"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

const demoUsage = `usage: bondd demo [flags]

Four unequal uplinks, one bond, one TCP download through it: first as packets, then
as a stream; then the busiest uplink is cut in the middle of another. Everything
happens in network namespaces that vanish with the process. Takes about 50 seconds.

`

// DemoMain is `bondd demo`: the lab without a choice. Exit codes as LabMain.
func DemoMain(ctx context.Context, args []string) int {
	return demoMain(ctx, args, os.Stdout, os.Stderr)
}

func demoMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("bondd demo", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "print one JSON object instead of the table")
	verbose := f.Bool("verbose", false, "show what the daemons print")
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, demoUsage); f.PrintDefaults() }
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "bondd demo: unexpected argument %q; for a choice there is \"bondd bench lab\"\n", f.Arg(0))
		return exitUsage
	}
	if code, done := enter(stderr, "bondd demo"); done {
		return code
	}
	sets, err := FindSets("demo")
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailure
	}
	p := plan{services: []string{"packet", "stream"}, directions: []string{"down"}, flows: []int{1}, duration: 5 * time.Second, settle: 3 * time.Second,
		idlePings: 50, faults: []string{"cut"}, faultsLast: true, seed: 1, progress: stderr}
	if *verbose {
		p.log = stderr
	}
	fmt.Fprintln(stderr, "Four emulated uplinks between a gateway and an exit:")
	for _, u := range sets[0].Uplinks {
		fmt.Fprintf(stderr, "  %-5s %s\n", u.Name, u.describe())
	}
	write := Report.writeDemo
	if *asJSON {
		write = Report.writeJSON
	}
	// Where the kernel cannot intercept connections, that is no failure.
	results := slices.DeleteFunc(p.all(ctx, sets), func(r Result) bool {
		missing := strings.Contains(r.Error, lab.ErrNoStreams.Error())
		if missing {
			fmt.Fprintf(stderr, "%s, %s: %s\n", r.Set, r.Service, r.Error)
		}
		return missing
	})
	return printResults(ctx, "demo", args, results, write, stdout, stderr)
}

// carriedAs is a service in words.
var carriedAs = map[string]string{"packet": "as packets", "stream": "as a stream"}

// writeDemo prints the results one below the other, for somebody who sees such
// a table for the first time.
func (r Report) writeDemo(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, x := range r.Results {
		if i == 0 && len(x.Uplinks) > 0 {
			fmt.Fprintln(tw, "\nOne TCP download\tMb/s\tof what fits\t")
			for _, u := range x.Uplinks {
				fmt.Fprintf(tw, "  over %s alone, plain\t%6.1f\t%s\t\n", u.Name, u.Alone, percent(&u.Alone, &u.Limit))
			}
			fmt.Fprintf(tw, "  all of them added up\t%6s\t%s\t\n", show(x.Sum, "%.1f"), percent(x.Sum, &x.Limit))
		}
		if x.Bond != nil {
			fmt.Fprintf(tw, "  through the bond, %s\t%6s\t%s\t%s of the best uplink\n", carriedAs[x.Service], show(x.Bond, "%.1f"), percent(x.Bond, &x.Limit), percent(x.Bond, x.Best))
		}
		if x.Stall != nil {
			fmt.Fprintf(tw, "  after %s was cut\t%6s\t%s\tstall of %s ms, no connection lost\n", x.Cut, show(x.Left, "%.1f"), percent(x.Left, x.LeftMax), show(x.Stall, "%.0f"))
		}
	}
	for i, x := range r.Results {
		if i == 0 && x.Idle != nil {
			fmt.Fprintln(tw, "\nPing through the bond\tp50 ms\tp99 ms\t")
			fmt.Fprintf(tw, "  idle\t%6.0f\t%6.0f\t\n", x.Idle.P50, x.Idle.P99)
		}
		if x.Loaded != nil {
			fmt.Fprintf(tw, "  during the download, %s\t%6.0f\t%6.0f\t\n", carriedAs[x.Service], x.Loaded.P50, x.Loaded.P99)
		}
	}
	for _, x := range r.Results {
		if x.Void != "" {
			fmt.Fprintf(tw, "\nThis machine is too busy to trust the figures, %s: %s.\n", carriedAs[x.Service], x.Void)
		}
		if x.Error != "" {
			fmt.Fprintf(tw, "\nERROR: %s\n", x.Error)
		}
	}
	tw.Flush()
	_, err := fmt.Fprintf(w, "\nWhat fits: rate × (1 − loss) × 1448/1500. A packet in a bond pays two headers: at most 96 %%; a stream one: 99 %%.\nMore of the same: bondd bench lab --list\n%s\n", r.origin())
	return err
}
