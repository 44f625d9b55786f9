package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bondd/bondd/bench/live"
	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

const liveUsage = `usage: bondd bench live [flags]

Measures the bond of the gateway that runs on this host, over its real uplinks, to
and from its exit, whose configuration has to say bench = true in [stream]. Fills
the uplinks for as long as it is told to; refuses where one is metered. Needs root.

`

// LiveMain is `bondd bench live`. It returns the exit code: 0 done, 1 something
// could not be measured, 2 wrong usage.
func LiveMain(ctx context.Context, args []string) int {
	return liveMain(ctx, args, os.Stdout, os.Stderr)
}

// liveReport is what it prints with --json.
type liveReport struct {
	Schema  int             `json:"schema"`
	Command string          `json:"command"`
	Version string          `json:"version"`
	Host    HostInfo        `json:"host"`
	Live    []live.Transfer `json:"live"`
	Verdict []string        `json:"verdict"`
}

func liveMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("bondd bench live", flag.ContinueOnError)
	o := live.Options{}
	f.StringVar(&o.Control, "s", config.DefaultControl, "the gateway's control socket")
	f.BoolVar(&o.Metered, "metered", false, "metered uplinks may be used")
	f.BoolVar(&o.Alone, "alone", true, "measure each uplink by itself first, with the others in reserve")
	f.IntVar(&o.Flows, "flows", 1, "parallel TCP connections, 1 to 16")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "of each transfer, at most a minute")
	service := f.String("service", "all", "packet, stream, or both")
	direction := f.String("direction", "both", "down (from the exit), up, or both")
	asJSON := f.Bool("json", false, "print one JSON object instead of the table")
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, liveUsage); f.PrintDefaults() }
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	err := func() (err error) {
		if f.NArg() > 0 {
			return wrongUsage("unexpected argument %q; everything is a flag", f.Arg(0))
		}
		if o.Services, err = oneOf("service", *service, live.Services); err != nil {
			return err
		}
		if *direction == "both" {
			*direction = "all"
		}
		if o.Directions, err = oneOf("direction", *direction, []string{"down", "up"}); err != nil {
			return err
		}
		if o.Flows < 1 || o.Flows > 16 {
			return wrongUsage("flows is %d; it is 1 to 16", o.Flows)
		}
		if o.Duration < time.Second || o.Duration > endpoints.BenchTime {
			return wrongUsage("duration is 1s to %v", endpoints.BenchTime)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintf(stderr, "bondd bench live: %v\n", err)
		return exitUsage
	}
	list, err := live.Measure(ctx, o, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "bondd bench live: %v\n", err)
		if len(list) == 0 {
			return exitFailure
		}
	}
	if *asJSON {
		r := newReport("bench live", args, nil)
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = errors.Join(err, enc.Encode(liveReport{r.Schema, r.Command, r.Version, r.Host, list, live.Verdict(list)}))
	} else {
		err = errors.Join(err, live.WriteTable(stdout, list))
	}
	for _, t := range list {
		if t.Error != "" {
			return exitFailure
		}
	}
	if err != nil {
		return exitFailure
	}
	return exitOK
}
