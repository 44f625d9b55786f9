package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/bench/link"
)

// The plain set: no emulation, gateway and exit joined by bare wires, so that the only limit is the processor. bondd stands
// beside wireguard-go, in turns within one run: what else the machine does meets both, and the ratios mean something
// where the figures do not.

// plainSet is the name of the set on the command line.
const plainSet = "plain"

// Timing of one round of one system.
const (
	plainSettle = time.Second
	floodRate   = 160_000 // packets per second offered: the ceiling of plain forwarding on the machine of research/limits.md is 114 k
	floodSize   = 64      // bytes of IP packet
)

// plainSystems are those of the run in the order of their turns: wireguard-go, which the others are compared with, and the services that
// the bond can carry over bare wires.
func (p plan) plainSystems() []string {
	systems := []string{"wireguard-go"}
	for _, s := range []string{"packet", "stream"} {
		if slices.Contains(p.services, s) {
			systems = append(systems, s)
		}
	}
	return systems
}

// PlainResult is one system over bare wires, in one direction: medians over the rounds.
type PlainResult struct {
	System    string  `json:"system"` // "wireguard-go", "packet", "stream"
	Paths     int     `json:"paths"`
	Direction string  `json:"direction"`
	Rounds    int     `json:"rounds"`
	Gbps      float64 `json:"gbps"`         // payload of one TCP flow at its receiver
	CPU       float64 `json:"cpu_s_per_gb"` // of both daemons, per 10^9 bytes of payload
	// Ratios to wireguard-go: medians of the ratios within a round.
	GbpsRatio *float64 `json:"gbps_ratio,omitempty"`
	CPURatio  *float64 `json:"cpu_ratio,omitempty"`
	// Small is how many 64-byte UDP packets a second arrive from the LAN at the server.
	Small *float64 `json:"small_pps,omitempty"`
	// Memory of gateway and exit together, resident, MB: before, during and after the transfer.
	MemoryIdle   *float64 `json:"memory_idle_mb,omitempty"`
	MemoryLoaded *float64 `json:"memory_loaded_mb,omitempty"`
	MemoryAfter  *float64 `json:"memory_after_mb,omitempty"`
}

// PlainReport is what `bondd bench lab --set plain --json` prints.
type PlainReport struct {
	Command string        `json:"command"`
	Version string        `json:"version"`
	Host    HostInfo      `json:"host"`
	Results []PlainResult `json:"results"`
}

// plainRound is one turn of one system.
type plainRound struct {
	gbps, cpu, small    float64
	idle, loaded, after float64 // MB
}

// plain measures the plain set.
func (p plan) plain(ctx context.Context, command string, args []string, rounds int) (PlainReport, error) {
	rep := PlainReport{Command: strings.TrimSpace("bondd " + command + " " + strings.Join(args, " ")), Version: version(), Host: hostInfo()}
	for _, paths := range []int{1, 2} {
		for _, direction := range p.directions {
			got := map[string][]plainRound{}
			for round := range rounds {
				for _, system := range p.plainSystems() {
					r, err := p.plainTurn(ctx, system, paths, direction)
					if err != nil {
						return rep, fmt.Errorf("%s, %d paths: %w", system, paths, err)
					}
					got[system] = append(got[system], r)
					fmt.Fprintf(p.progress, "plain, %d paths, %s, round %d of %d: %s %.2f Gbit/s, %.2f CPU s/GB, %.0f k packets/s\n",
						paths, direction, round+1, rounds, system, r.gbps, r.cpu, r.small/1e3)
				}
			}
			for _, system := range p.plainSystems() {
				rep.Results = append(rep.Results, plainResult(system, paths, direction, got[system], got["wireguard-go"]))
			}
		}
	}
	return rep, nil
}

// plainTurn is one round of one system, in a lab of its own.
func (p plan) plainTurn(ctx context.Context, system string, paths int, direction string) (r plainRound, err error) {
	cfg := lab.Config{Bare: true, Seed: p.seed, Log: p.log, Streams: system == "stream"}
	if p.profiles != "" {
		cfg.Profiles = filepath.Join(p.profiles, fmt.Sprintf("%s-%d-%s", system, paths, direction))
		if err := os.MkdirAll(cfg.Profiles, 0o755); err != nil {
			return r, err
		}
	}
	for i := range paths {
		cfg.Uplinks = append(cfg.Uplinks, lab.Uplink{Name: fmt.Sprintf("wire%d", i), Link: link.Config{}})
	}
	l, err := lab.Open(ctx, cfg)
	if err != nil {
		return r, err
	}
	defer l.Close()
	start := l.StartBond
	if system == "wireguard-go" {
		start = l.StartWireGuard
	}
	if err := start(ctx); err != nil {
		return r, err
	}
	if r.idle, err = memory(ctx, l); err != nil {
		return r, err
	}
	before, err := l.ProcessorTime(ctx)
	if err != nil {
		return r, err
	}
	loaded := make(chan float64, 1)
	go func() { // ends with the transfer, at the latest
		m := 0.0
		if sleep(ctx, plainSettle+p.duration/2) == nil {
			m, _ = memory(ctx, l)
		}
		loaded <- m
	}()
	res, err := l.TCP(ctx, lab.TCPSpec{Source: lab.LAN4, Up: direction == "up", Flows: p.flows[0], Duration: plainSettle + p.duration})
	r.loaded = <-loaded
	if err := errors.Join(err, res.Err()); err != nil {
		return r, l.Explain(err)
	}
	after, err := l.ProcessorTime(ctx)
	if err != nil {
		return r, err
	}
	total := res.Between(0, plainSettle+p.duration)
	if total == 0 {
		return r, l.Explain(errors.New("nothing has arrived"))
	}
	r.gbps = res.Mbps(plainSettle, plainSettle+p.duration) / 1e3
	r.cpu = (after - before).Seconds() / (float64(total) / 1e9)
	small, err := l.Flood(ctx, lab.FloodSpec{Size: floodSize, Rate: floodRate, Settle: 300 * time.Millisecond, Duration: time.Second})
	if err != nil {
		return r, l.Explain(err)
	}
	r.small = small.Rate
	if r.after, err = memory(ctx, l); err != nil {
		return r, err
	}
	return r, l.StopBond(ctx)
}

// reportPlain measures the plain set and prints the outcome.
func (p plan) reportPlain(ctx context.Context, args []string, rounds int, asJSON bool, stdout, stderr io.Writer) int {
	rep, err := p.plain(ctx, "bench lab", args, rounds)
	if err == nil && asJSON {
		err = writeJSON(stdout, rep)
	} else if err == nil {
		err = rep.WriteTable(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bondd bench lab:", err)
		return exitFailure
	}
	return exitOK
}

func plainResult(system string, paths int, direction string, got, peer []plainRound) PlainResult {
	pick := func(rs []plainRound, f func(plainRound) float64) []float64 {
		out := make([]float64, len(rs))
		for i, r := range rs {
			out[i] = f(r)
		}
		return out
	}
	ratio := func(f func(plainRound) float64) *float64 {
		a, b := pick(got, f), pick(peer, f)
		for i := range a {
			a[i] /= b[i]
		}
		return number(median(a), 2)
	}
	gbps := func(r plainRound) float64 { return r.gbps }
	cpu := func(r plainRound) float64 { return r.cpu }
	res := PlainResult{
		System: system, Paths: paths, Direction: direction, Rounds: len(got),
		Gbps: round(median(pick(got, gbps)), 2), CPU: round(median(pick(got, cpu)), 2),
		Small:        number(median(pick(got, func(r plainRound) float64 { return r.small })), 0),
		MemoryIdle:   number(median(pick(got, func(r plainRound) float64 { return r.idle })), 1),
		MemoryLoaded: number(median(pick(got, func(r plainRound) float64 { return r.loaded })), 1),
		MemoryAfter:  number(median(pick(got, func(r plainRound) float64 { return r.after })), 1),
	}
	if system != "wireguard-go" {
		res.GbpsRatio, res.CPURatio = ratio(gbps), ratio(cpu)
	}
	return res
}

// median of values that are at least one.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// WriteTable prints the report for people.
func (r PlainReport) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "system\tpaths\tdir\tGbit/s\tx wg\tCPU s/GB\tx wg\t64-byte k/s\tRSS idle\tloaded\tafter MB\t")
	for _, x := range r.Results {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%.2f\t%s\t%.2f\t%s\t%.0f\t%s\t%s\t%s\t\n", x.System, x.Paths, x.Direction, x.Gbps, show(x.GbpsRatio, "%.2f"),
			x.CPU, show(x.CPURatio, "%.2f"), *x.Small/1e3, show(x.MemoryIdle, "%.0f"), show(x.MemoryLoaded, "%.0f"), show(x.MemoryAfter, "%.0f"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nOne TCP flow over bare wires, payload at the receiver; medians of %d rounds, in turns. x wg: ratio to wireguard-go in the\n"+
		"same round (wireguard-go has one path always). RSS is of gateway and exit together.\n%s, %d cores, %s\n%s\n",
		r.Results[0].Rounds, r.Host.CPU, r.Host.Cores, r.Host.Kernel, r.Command)
	return err
}
