package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bondd/bondd/tunnel/seal"
)

const cpuUsage = `usage: bondd bench cpu [flags]

Measures what one byte costs on this machine, step by step, in processor time: the
ciphers, the session, UDP, TCP and, with the rights for it, a TUN device. From
that it estimates what a gateway on this machine carries, by service and cipher.
With --cpu-quota it also moves data through sessions and sockets under that
bound, and compares the estimate with what came through.

`

// CPUReport is what `bondd bench cpu --json` prints.
type CPUReport struct {
	Command   string        `json:"command"`
	Version   string        `json:"version"`
	Host      HostInfo      `json:"host"`
	Rungs     []CPURung     `json:"rungs"`
	Estimates []CPUEstimate `json:"estimates"`
	Checks    []CPUCheck    `json:"checks,omitempty"`
}

// CPURung is one step of the ladder.
type CPURung struct {
	Name    string   `json:"name"`
	Cost    *float64 `json:"cpu_s_per_gb,omitempty"` // per 10^9 bytes
	Skipped string   `json:"skipped,omitempty"`      // why it could not be measured
}

// CPUEstimate is what a gateway on this machine carries when all its processors, or the quota, are spent on it.
type CPUEstimate struct {
	Service string  `json:"service"`
	Cipher  string  `json:"cipher"`
	Cost    float64 `json:"cpu_s_per_gb"` // of the gateway
	Gbps    float64 `json:"gbps"`
}

// CPUCheck holds the ladder against a run of several of its steps together.
type CPUCheck struct {
	Cipher    string  `json:"cipher"`
	Quota     float64 `json:"quota"`          // processors
	Bound     string  `json:"bound"`          // how the quota is kept
	Granted   float64 `json:"granted"`        // processors that it had, less than the quota on a busy machine
	Predicted float64 `json:"predicted_gbps"` // of what was granted
	Measured  float64 `json:"measured_gbps"`
}

// CPUMain is `bondd bench cpu`. It returns the exit code: 0 done, 1 a measurement failed, 2 wrong usage.
func CPUMain(ctx context.Context, args []string) int {
	return cpuMain(ctx, args, os.Stdout, os.Stderr)
}

func cpuMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var (
		f      = flag.NewFlagSet("bondd bench cpu", flag.ContinueOnError)
		quota  = f.Float64("cpu-quota", 0, "processors to be used, a fraction of one included, as on a smaller machine; 0: all there are")
		each   = f.Duration("time", 300*time.Millisecond, "time for each step")
		asJSON = f.Bool("json", false, "print one JSON object instead of the table")
	)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, cpuUsage); f.PrintDefaults() }
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	wrong := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "bondd bench cpu: "+format+"\n", a...)
		return exitUsage
	}
	switch {
	case f.NArg() > 0:
		return wrong("unexpected argument %q; everything is a flag", f.Arg(0))
	case *quota < 0 || *quota > 0 && *quota < 0.01 || *quota > 1024:
		return wrong("cpu-quota is %g; it is 0.01 to 1024 processors, or 0 for all", *quota)
	case *each < 10*time.Millisecond || *each > time.Minute:
		return wrong("time is %v; it is 10ms to 1m", *each)
	}
	rep := CPUReport{Command: strings.TrimSpace("bondd bench cpu " + strings.Join(args, " ")), Version: version(), Host: hostInfo()}
	err := rep.measure(ctx, *quota, *each)
	if err == nil && *asJSON {
		err = writeJSON(stdout, rep)
	} else if err == nil {
		err = rep.writeTable(stdout, *quota)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bondd bench cpu:", err)
		return exitFailure
	}
	return exitOK
}

// measure climbs the ladder.
func (r *CPUReport) measure(ctx context.Context, quota float64, each time.Duration) error {
	suites := []seal.Suite{seal.SuiteAES128GCM, seal.SuiteChaCha20Poly1305}
	costs := map[string]float64{}
	climb := func(x rung) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c, err := x.cost(each)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		costs[x.name] = c
		r.Rungs = append(r.Rungs, CPURung{Name: x.name, Cost: number(c, 3)})
		return nil
	}
	rungs := smallRungs(suites)
	for _, suite := range suites {
		p, err := packetRung(suite)
		if err != nil {
			return err
		}
		s, err := streamRung(suite)
		if err != nil {
			return err
		}
		rungs = append(rungs, p, s)
	}
	pair, err := newSocketPair(ctx)
	if err != nil {
		return err
	}
	defer pair.close()
	rungs = append(rungs, pair.rung())
	tcp, end, err := tcpRung()
	if err != nil {
		return err
	}
	defer end()
	for _, x := range append(rungs, tcp) {
		if err := climb(x); err != nil {
			return err
		}
	}
	device, end, err := tunRung()
	if err != nil {
		r.Rungs = append(r.Rungs, CPURung{Name: "TUN, write", Skipped: err.Error()})
	} else {
		defer end()
		if err := climb(device); err != nil {
			return err
		}
	}
	r.estimate(suites, costs, quota)
	if quota == 0 {
		return nil
	}
	whole := make([]rung, len(suites))
	for i, suite := range suites {
		if whole[i], err = wholeRung(suite, pair); err != nil {
			return err
		}
		if err := climb(whole[i]); err != nil {
			return err
		}
	}
	return r.check(suites, costs, whole, quota, each)
}

// estimate adds up what one end does: half of the steps that were measured for both. A copy through a TUN device costs about the same
// in both directions.
func (r *CPUReport) estimate(suites []seal.Suite, costs map[string]float64, quota float64) {
	processors := float64(runtime.GOMAXPROCS(0))
	if quota > 0 {
		processors = min(quota, processors)
	}
	for _, suite := range suites {
		name := suite.String()
		outside := costs["UDP, send and receive"] / 2
		packets := costs["session, packets, both ends, "+name]/2 + outside
		if c, ok := costs["TUN, write"]; ok {
			r.Estimates = append(r.Estimates, CPUEstimate{"packet", name, round(packets+c, 2), round(processors/(packets+c)*8, 2)})
		}
		streams := costs["session, stream, both ends, "+name]/2 + outside + costs["TCP, send and receive"]/2
		r.Estimates = append(r.Estimates, CPUEstimate{"stream", name, round(streams, 2), round(processors/streams*8, 2)})
	}
}

// check moves data under the quota, and compares.
func (r *CPUReport) check(suites []seal.Suite, costs map[string]float64, whole []rung, quota float64, each time.Duration) error {
	how, undo := bindProcessor(quota)
	defer undo()
	for i, x := range whole {
		bytes, begin, from := 0, time.Now(), processorTime()
		for time.Since(begin) < 5*each {
			n, err := x.work()
			if err != nil {
				return err
			}
			bytes += n
		}
		wall := time.Since(begin).Seconds()
		granted := (processorTime() - from).Seconds() / wall
		measured := float64(bytes) / 1e9 * 8 / wall
		predicted := 8 * granted / costs[x.name]
		r.Checks = append(r.Checks, CPUCheck{suites[i].String(), quota, how, round(granted, 3), round(predicted, 3), round(measured, 3)})
	}
	return nil
}

func (r CPUReport) writeTable(w io.Writer, quota float64) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "step\tCPU s/GB")
	for _, x := range r.Rungs {
		if x.Cost == nil {
			fmt.Fprintf(tw, "%s\tskipped: %s\n", x.Name, x.Skipped)
			continue
		}
		fmt.Fprintf(tw, "%s\t%.3f\n", x.Name, *x.Cost)
	}
	fmt.Fprintln(tw, "\na gateway here\tCPU s/GB\tGbit/s")
	for _, x := range r.Estimates {
		fmt.Fprintf(tw, "%s service, %s\t%.2f\t%.2f\n", x.Service, x.Cipher, x.Cost, x.Gbps)
	}
	if len(r.Checks) > 0 {
		fmt.Fprintf(tw, "\nchecked: session and UDP within %g processors\tgranted\tpredicted\tmeasured Gbit/s\n", quota)
		for _, x := range r.Checks {
			fmt.Fprintf(tw, "%s\t%.2f\t%.2f\t%.2f\n", x.Cipher, x.Granted, x.Predicted, x.Measured)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(r.Checks) > 0 {
		fmt.Fprintf(w, "bound by %s\n", r.Checks[0].Bound)
	}
	_, err := fmt.Fprintf(w, "\nProcessor time, user and system, per 10^9 bytes; full datagrams. The estimate spends all processors on one direction.\n%s, %d cores, %s\n%s\n",
		r.Host.CPU, r.Host.Cores, r.Host.Kernel, r.Command)
	return err
}
