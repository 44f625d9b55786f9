package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

// sample is a result with everything in it.
func sample() Result {
	r := Result{Set: "V+A", Service: "packet", Direction: "down", Flows: 1, Limit: 57.92,
		Uplinks: []UplinkResult{{"vdsl", 48.27, 48.1, number(0.83, 3)}, {"adsl", 9.65, 9.6, number(0.17, 3)}},
		Bond:    number(54.321, 2), Idle: &Delays{P50: 16.1, P99: 17.2}, Loaded: &Delays{P50: 25.5, P99: 40.5}, CPU: number(12.34, 2),
		Cut: "vdsl", Stall: number(180, 0), Left: number(9.1, 2), LeftMax: number(9.65, 2)}
	r.finish()
	return r
}

// TestReportJSON holds the names of DESIGN section 8, and that what was not
// measured is absent.
func TestReportJSON(t *testing.T) {
	var out bytes.Buffer
	rep := newReport("bench lab", []string{"--set", "V+A"}, []Result{sample(), {Set: "4A", Service: "packet", Direction: "up", Flows: 2, Limit: 9.65, Error: "broken"}})
	if err := rep.writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema           int
		Command, Version string
		Host             map[string]any
		Results          []map[string]any
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != schemaVersion || got.Command != "bondd bench lab --set V+A" || got.Version == "" || got.Host["cores"] == nil || len(got.Results) != 2 {
		t.Errorf("head of the report: %+v", got)
	}
	full := got.Results[0]
	for name, want := range map[string]any{"set": "V+A", "service": "packet", "direction": "down", "flows": 1.0, "limit_mbps": 57.92,
		"best_mbps": 48.1, "sum_mbps": 57.7, "bond_mbps": 54.32, "fraction": 0.938, "stall_ms": 180.0, "cpu_s_per_gb": 12.34} {
		if full[name] != want {
			t.Errorf("%s is %v, want %v", name, full[name], want)
		}
	}
	for _, name := range []string{"ping_idle_ms", "ping_loaded_ms"} {
		d, _ := full[name].(map[string]any)
		if d["p50"] == nil || d["p99"] == nil {
			t.Errorf("%s is %v, want p50 and p99", name, full[name])
		}
	}
	for _, name := range []string{"best_mbps", "sum_mbps", "bond_mbps", "fraction", "ping_idle_ms", "ping_loaded_ms", "stall_ms", "cpu_s_per_gb"} {
		if v, ok := got.Results[1][name]; ok {
			t.Errorf("%s was not measured and is %v", name, v)
		}
	}
}

func TestTables(t *testing.T) {
	rep := newReport("bench lab", nil, []Result{sample()})
	rep.Host = HostInfo{CPU: "test", Cores: 2, Kernel: "6.1"}
	for name, write := range map[string]func() string{
		"table": func() string { var b strings.Builder; rep.WriteTable(&b); return b.String() },
		"demo":  func() string { var b strings.Builder; rep.writeDemo(&b); return b.String() },
	} {
		text := write()
		for _, want := range []string{"54.3", "94 %", "113 %", "180", "9.1", "48.1", "bondd bench lab", "test"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "restart") {
			t.Errorf("%s shows a column without content:\n%s", name, text)
		}
	}
}

// Packets and streams stand side by side in the demo, and short downloads have their columns, and names in the JSON.
func TestServicesSideBySide(t *testing.T) {
	streams := sample()
	streams.Service, streams.Bond = "stream", number(57.1, 2)
	streams.Transfers = []Transfer{{Bytes: 50_000, Bond: Spread{24, 26}, Best: 66, Over: "vdsl"}, {Bytes: 1_000_000, Bond: Spread{180, 190}, Best: 230, Over: "vdsl"}}
	streams.Requests = &Requests{Bytes: requestBytes, Count: requestCount, Idle: Spread{18, 19}, Loaded: Spread{20, 27}}
	packets := sample()
	packets.Cut, packets.Stall, packets.Left = "", nil, nil
	rep := newReport("demo", nil, []Result{packets, streams})
	var demo, table, text strings.Builder
	rep.writeDemo(&demo)
	rep.WriteTable(&table)
	for _, want := range []string{"as packets", "54.3", "as a stream", "57.1", "stall of 180 ms"} {
		if strings.Count(demo.String(), want) == 0 {
			t.Errorf("the demo lacks %q:\n%s", want, demo.String())
		}
	}
	if n := strings.Count(demo.String(), "over vdsl alone"); n != 1 {
		t.Errorf("the uplinks alone are shown %d times:\n%s", n, demo.String())
	}
	for _, want := range []string{"GET loaded", "20/27", "50 kB 24 ms (plain TCP over vdsl: 66)"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	rep.writeJSON(&text)
	for _, name := range []string{`"transfers"`, `"bond_ms"`, `"best_ms"`, `"requests"`, `"idle_ms"`, `"loaded_ms"`} {
		if n := strings.Count(text.String(), name); n == 0 || n > 2 {
			t.Errorf("%s is %d times in the JSON", name, n)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, want := range map[string]float64{
		"equal": 96.53, "V+A": 57.92, "demo": (50 + 30*0.995 + 10 + 4) * payloadShare, "4A": 9.65,
	} {
		sets, err := FindSets(strings.ToLower(name))
		if err != nil {
			t.Fatal(err)
		}
		if got := sets[0].LimitMbps(); math.Abs(got-want) > 0.01 {
			t.Errorf("limit of %s is %.2f, want %.2f", name, got, want)
		}
	}
}

func TestSets(t *testing.T) {
	names := map[string]bool{}
	for _, s := range Sets() {
		if names[s.Name] || s.Title == "" || len(s.Uplinks) == 0 {
			t.Errorf("set %q: name taken, no title or no uplink", s.Name)
		}
		names[s.Name] = true
		seen := map[string]bool{}
		for _, u := range s.Uplinks {
			if seen[u.Name] || u.Name == "" || len(u.Name) > 15 {
				t.Errorf("set %s: uplink name %q is taken, empty or too long for an interface", s.Name, u.Name)
			}
			seen[u.Name] = true
			if err := u.Link.Check(); err != nil {
				t.Errorf("set %s, %s: %v", s.Name, u.Name, err)
			}
			if u.Link.Queue == 0 || u.Link.Rate < 1e6 || u.Link.Delay < time.Millisecond {
				t.Errorf("set %s, %s: %+v", s.Name, u.Name, u.Link)
			}
		}
	}
	if all, err := FindSets("all"); err != nil || len(all) != len(names) {
		t.Errorf("all: %d sets, %v", len(all), err)
	}
	if two, err := FindSets("V+A, 4a"); err != nil || len(two) != 2 || two[1].Remotes != 4 {
		t.Errorf("a list of two: %v, %v", two, err)
	}
	if _, err := FindSets("V+X"); err == nil || !strings.Contains(err.Error(), "V+A+L+G") {
		t.Errorf("an unknown set: %v", err)
	}
}

// TestUsage holds that wrong command lines are refused before anything starts.
func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--set V+X":                  "there is no set",
		"--service vpn":              "there is no service",
		"--direction left":           "direction is",
		"--flows 0":                  "flows is 0",
		"--duration 1ms":             "duration is",
		"--faults flood":             "there is no fault",
		"--transfers --direction up": "transfers are",
		"--no-such-flag":             "no-such-flag",
		"--repeat 0":                 "repeat is 0",
		"--with vpn":                 "there is no peer",
		"equal":                      "unexpected argument",
	} {
		var out, errs strings.Builder
		if code := labMain(context.Background(), strings.Fields(args), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: code %d, %q; want code %d and %q", args, code, errs.String(), exitUsage, want)
		}
	}
	var out, errs strings.Builder
	if code := demoMain(context.Background(), []string{"fast"}, &out, &errs); code != exitUsage {
		t.Errorf("demo fast: code %d", code)
	}
	if code := labMain(context.Background(), []string{"--list"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "V+A+L+G") {
		t.Errorf("--list: code %d, %s", code, out.String())
	}
}

func TestCanCut(t *testing.T) {
	for _, s := range Sets() {
		if got, want := (&bench{set: s}).canCut(), s.Name != "4A"; got != want {
			t.Errorf("%s: an uplink may be cut: %v, want %v", s.Name, got, want)
		}
	}
}

func TestChecks(t *testing.T) {
	var out strings.Builder
	lines := []lineCheck{{uplink: "vdsl", direction: "down", checks: []check{{"rate", "Mb/s", 50, 49.5, 1}}}}
	if !writeChecks(&out, Set{Name: "x"}, lines) || strings.Contains(out.String(), "OFF") {
		t.Errorf("within bounds: %s", out.String())
	}
	lines[0].checks[0].got = 45
	out.Reset()
	if writeChecks(&out, Set{Name: "x"}, lines) || !strings.Contains(out.String(), "OFF") {
		t.Errorf("out of bounds: %s", out.String())
	}
}
