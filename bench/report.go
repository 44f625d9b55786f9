package bench

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bondd/bondd/bench/lab"
)

// Report is what a bench command prints with --json (DESIGN section 8). A field
// that was not measured is absent, never 0.
type Report struct {
	Schema  int      `json:"schema"` // schemaVersion
	Command string   `json:"command"`
	Version string   `json:"version"`
	Host    HostInfo `json:"host"`
	Results []Result `json:"results"`
}

// schemaVersion changes when a field changes its meaning or goes; new fields do
// not change it.
const schemaVersion = 2

// HostInfo is the machine on which a report was made.
type HostInfo struct {
	CPU    string `json:"cpu,omitempty"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel,omitempty"`
}

// Result is one set measured in one direction with one service. Rates are in
// Mb/s of TCP payload at the receiver.
type Result struct {
	Set       string `json:"set"`
	Service   string `json:"service"`
	Direction string `json:"direction"`
	Flows     int    `json:"flows"`

	Limit    float64  `json:"limit_mbps"`               // Set.LimitMbps
	Best     *float64 `json:"best_mbps,omitempty"`      // the fastest uplink alone, plain TCP
	Sum      *float64 `json:"sum_mbps,omitempty"`       // all uplinks, each alone, plain TCP
	Bond     *float64 `json:"bond_mbps,omitempty"`      // through bondd
	Fraction *float64 `json:"fraction,omitempty"`       // Bond / Limit
	Idle     *Delays  `json:"ping_idle_ms,omitempty"`   // echo LAN - server through bondd, nothing else on the lines
	Loaded   *Delays  `json:"ping_loaded_ms,omitempty"` // the same during the transfer
	Stall    *float64 `json:"stall_ms,omitempty"`       // longest silence of the transfer after an uplink turned into a black hole
	CPU      *float64 `json:"cpu_s_per_gb,omitempty"`   // of both daemons, per 10^9 bytes of payload

	// Beyond DESIGN section 8:
	Offered       *float64       `json:"offered_mbps,omitempty"`     // what a flow sends that heeds nothing: "bench sim --traffic udp"
	SparseIdle    *Delays        `json:"sparse_idle_ms,omitempty"`   // one-way delay of a UDP flow of 50 packets a second, nothing else on the lines
	SparseLoaded  *Delays        `json:"sparse_loaded_ms,omitempty"` // the same during the transfer
	Uplinks       []UplinkResult `json:"uplinks,omitempty"`
	Cut           string         `json:"cut,omitempty"`             // the uplink that was cut for Stall
	CutAt         *float64       `json:"cut_at_s,omitempty"`        // from the start of that transfer
	Fill          *float64       `json:"fill_ms,omitempty"`         // from the cut until the remaining uplinks are full; 0: they stayed so
	Left          *float64       `json:"after_cut_mbps,omitempty"`  // rate with the remaining uplinks
	LeftMax       *float64       `json:"after_cut_limit,omitempty"` // their limit
	Unplug        *float64       `json:"unplug_stall_ms,omitempty"` // longest silence after the interface of an uplink went down
	StepDown      *float64       `json:"step_down_ms,omitempty"`    // until the bond has followed the fastest uplink to half its rate
	StepUp        *float64       `json:"step_up_ms,omitempty"`      // and back
	Restart       *float64       `json:"restart_ms,omitempty"`      // after the exit was killed and started again: without an echo, or until a new stream is answered
	Machine       *Machine       `json:"machine,omitempty"`
	Memory        *Memory        `json:"memory_mb,omitempty"`           // during the bond's transfer
	Profile       []float64      `json:"profile_mbps,omitempty"`        // the bond's transfer from its start, in slots of 100 ms
	UplinkProfile [][]float64    `json:"uplink_profile_mbps,omitempty"` // what each uplink delivered meanwhile, IP bytes
	CutSlots      []float64      `json:"cut_profile_mbps,omitempty"`    // the transfer with the cut
	CutUplinks    [][]float64    `json:"cut_uplink_profile_mbps,omitempty"`
	Transfers     []Transfer     `json:"transfers,omitempty"` // with --transfers, downloads only
	Requests      *Requests      `json:"requests,omitempty"`  // likewise
	Plain         *PlainRequests `json:"plain_requests,omitempty"`
	Notes         []string       `json:"notes,omitempty"`
	Void          string         `json:"void,omitempty"`  // why figures are about the machine and not about bondd
	Error         string         `json:"error,omitempty"` // why something is missing

	// With --repeat the figures are medians; lists are of the run whose bond was
	// the median.
	Runs   int                   `json:"runs,omitempty"`   // that the medians are of
	Spread map[string][2]float64 `json:"spread,omitempty"` // least and most of each figure, by its name ("ping_idle_ms.p50")

	done bool // every measurement of it was taken
}

// void notes that the machine has spoiled a measurement.
func (r *Result) void(what, why string) {
	if r.Void != "" {
		r.Void += "; "
	}
	r.Void += what + ": " + why
}

// empty reports whether nothing was measured.
func (r Result) empty() bool { return r.Bond == nil && r.Sum == nil }

// UplinkResult is one uplink alone, measured with plain TCP.
type UplinkResult struct {
	Name  string  `json:"name"`
	Limit float64 `json:"limit_mbps"`
	Alone float64 `json:"alone_mbps"`
	// Share of the bytes of the bond's transfer that went over it, 0 to 1.
	Share *float64 `json:"share,omitempty"`
}

// Machine is what the machine did during the bond's transfer: shares of all
// processors, 0 to 1.
type Machine struct {
	Lab      float64 `json:"lab"`
	Emulator float64 `json:"emulator"`
	Others   float64 `json:"others"`
	Steal    float64 `json:"steal"`
	Late     Delays  `json:"emulator_late_ms"`
}

func machineOf(l lab.Load) *Machine {
	return &Machine{Lab: round(l.Lab, 3), Emulator: round(l.Emulator, 3), Others: round(l.Others, 3), Steal: round(l.Steal, 3),
		Late: Delays{P50: millis(l.Late.P50), P99: millis(l.Late.P99)}}
}

// Delays are quantiles in milliseconds.
type Delays struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	// Steps are the quantiles 0, 1/20, ... 1, for plots.
	Steps []float64 `json:"steps,omitempty"`
}

// delaysOf reduces a series of delays; nil for an empty one.
func delaysOf(ds []time.Duration) *Delays {
	if len(ds) == 0 {
		return nil
	}
	d := &Delays{P50: millis(lab.Quantile(ds, 0.5)), P99: millis(lab.Quantile(ds, 0.99))}
	for i := range delaySteps + 1 {
		d.Steps = append(d.Steps, millis(lab.Quantile(ds, float64(i)/delaySteps)))
	}
	return d
}

const delaySteps = 20

// millis is d in milliseconds to the hundredth.
func millis(d time.Duration) float64 { return round(float64(d)/1e6, 2) }

func round(x float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(x*p) / p
}

// number is an optional field with a value.
func number(x float64, digits int) *float64 {
	x = round(x, digits)
	return &x
}

// finish fills the fields that follow from others.
func (r *Result) finish() {
	if len(r.Uplinks) > 0 {
		best, sum := 0.0, 0.0
		for _, u := range r.Uplinks {
			best, sum = max(best, u.Alone), sum+u.Alone
		}
		r.Best, r.Sum = number(best, 2), number(sum, 2)
	}
	r.Limit = round(r.Limit, 2)
	if r.Bond != nil && r.Limit > 0 {
		r.Fraction = number(*r.Bond/r.Limit, 3)
	}
}

// newReport states where and by which command the results came about.
func newReport(command string, args []string, results []Result) Report {
	return Report{Schema: schemaVersion, Command: strings.TrimSpace("bondd " + command + " " + strings.Join(args, " ")), Version: version(), Host: hostInfo(), Results: results}
}

func (r Report) writeJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, report any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v, revision, dirty := info.Main.Version, "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	if revision != "" {
		v += " " + revision + dirty
	}
	return v
}

func hostInfo() HostInfo {
	h := HostInfo{Cores: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return h
	}
	for line := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name", "Model", "Hardware", "cpu model": // x86, ARM boards, MIPS
			h.CPU = strings.TrimSpace(value)
			return h
		}
	}
	return h
}
