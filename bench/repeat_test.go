package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// TestTypicalRun holds that figures become medians with their spread, whatever they
// are called, and that void runs count only where there are no others.
func TestTypicalRun(t *testing.T) {
	run := func(bond, p99 float64, void string) Result {
		r := sample()
		r.Requests = &Requests{Bytes: requestBytes, Count: requestCount, Loaded: Spread{20, p99}}
		r.Bond, r.Loaded = number(bond, 2), &Delays{P50: 20, P99: p99, Steps: []float64{bond}}
		r.Void = void
		r.finish()
		return r
	}
	other := sample()
	other.Direction = "up"
	got := merge([]Result{run(50, 40, ""), other, run(10, 500, "busy"), run(56, 30, ""), run(54, 90, "")})
	if len(got) != 2 || got[1].Direction != "up" || got[1].Runs != 0 {
		t.Fatalf("%d results: %+v", len(got), got)
	}
	r := got[0]
	if *r.Bond != 54 || r.Loaded.P99 != 40 || r.Loaded.Steps[0] != 54 || r.Runs != 3 || r.Void != "" {
		t.Errorf("bond %v, ping %+v, runs %d, void %q", *r.Bond, r.Loaded, r.Runs, r.Void)
	}
	if r.Spread["bond_mbps"] != [2]float64{50, 56} || r.Spread["ping_loaded_ms.p99"] != [2]float64{30, 90} {
		t.Errorf("spread %v", r.Spread)
	}
	if r.Requests.Loaded.P95 != 40 || r.Spread["requests.loaded_ms.p95"] != [2]float64{30, 90} || r.Spread["requests.count"] != [2]float64{} {
		t.Errorf("requests %+v, spread %v", r.Requests, r.Spread)
	}
	if *r.Fraction < .932 || *r.Fraction > .933 || len(r.Uplinks) != 2 || r.Set != "V+A" {
		t.Errorf("what else is there has changed: %+v", r)
	}
	if void := merge([]Result{run(10, 5, "busy"), run(12, 6, "busy")})[0]; void.Void == "" || *void.Bond != 11 {
		t.Errorf("nothing but void runs: bond %v, void %q", *void.Bond, void.Void)
	}
}

// TestInterrupted holds that a report which is interrupted prints what there is.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	p := plan{services: []string{"packet"}, directions: []string{"down"}, flows: []int{1}, duration: time.Second, progress: &errs}
	code := p.report(ctx, "bench lab", nil, Sets()[:1], Report.writeJSON, &out, &errs)
	if code != exitFailure || !strings.Contains(out.String(), `"results"`) || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("code %d: %s%s", code, errs.String(), out.String())
	}
}

// TestSteps holds what is measured, in which order, and that the time it takes is
// known beforehand.
func TestSteps(t *testing.T) {
	sets, err := FindSets("equal")
	if err != nil {
		t.Fatal(err)
	}
	p := plan{services: []string{"packet", "stream"}, directions: []string{"down", "up"}, flows: []int{1, 8}, faults: []string{"cut", "step"},
		duration: 10 * time.Second, settle: 4 * time.Second, idlePings: 100}
	names := func(first bool) string {
		var out []string
		for _, s := range p.bench(sets[0], "packet", first).steps() {
			out = append(out, s.name)
		}
		return strings.Join(out, " ")
	}
	short := p
	short.transfers = true
	var withShort []string
	for _, s := range short.bench(sets[0], "stream", true).steps() {
		withShort = append(withShort, s.name)
	}
	if got, want := strings.Join(withShort, ","), "alone,transfers alone,alone,alone,alone,start,idle,transfer,transfers,transfer,transfer,transfer,cut,step,cut,step"; got != want {
		t.Errorf("steps with short downloads: %s, want %s", got, want)
	}
	demo := p
	demo.faultsLast = true
	if n := len(demo.bench(sets[0], "packet", false).steps()); n != len(demo.bench(sets[0], "stream", false).steps())-4 {
		t.Errorf("%d steps of the first service, without faults", n)
	}
	for _, service := range []string{"packet", "stream"} {
		p.faults = []string{"restart"}
		if steps := p.bench(sets[0], service, false).steps(); steps[len(steps)-1].name != "restart" {
			t.Errorf("%s: the exit is not restarted", service)
		}
	}
	p.faults = []string{"cut", "step"}
	rest := "start idle transfer transfer transfer transfer cut step cut step"
	if got := names(true); got != "alone alone alone alone "+rest {
		t.Errorf("steps %s", got)
	}
	if got := names(false); got != rest {
		t.Errorf("steps of a second service: %s", got)
	}
	if got := p.takes(sets[0]); got < 4*time.Minute || got > 6*time.Minute {
		t.Errorf("it takes %v", got)
	}
	one, other := p, p
	one.services, other.services = []string{"stream"}, []string{"auto"}
	if got, want := other.takes(sets[0]), one.takes(sets[0])+choiceTime; got != want {
		t.Errorf("auto, which chooses first, takes %v, want %v", got, want)
	}
	quick := plan{services: strings.Split(labDefault, ","), directions: p.directions, flows: []int{1}, duration: 3 * time.Second, settle: 2 * time.Second, idlePings: 50}
	both, err := FindSets("equal,demo")
	if err != nil {
		t.Fatal(err)
	}
	if got := quick.takes(both[0]) + quick.takes(both[1]); got > 110*time.Second {
		t.Errorf("--quick takes %v", got)
	}
}

// Progress says how much is done, and what is left.
func TestProgress(t *testing.T) {
	var out strings.Builder
	c := &clock{w: &out, total: 200 * time.Second}
	b := plan{progress: &out, clock: c}.bench(Sets()[0], "packet", true)
	c.done = 50 * time.Second
	b.say("something")
	if want := "[ 25 %, 2m30s left] " + Sets()[0].Name + ", packet: something\n"; out.String() != want {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
}

func TestFollowed(t *testing.T) {
	var s lab.Series
	for at := time.Duration(0); at < 10*time.Second; at += lab.Bin {
		n := 125 // 0.1 Mb/s
		if at >= 5*time.Second {
			n = 1250
		}
		s.Add(at, n)
	}
	if got := followed(s, time.Second, 10*time.Second, 0.95); got == nil || *got < 3800 || *got > 4000 {
		t.Errorf("followed after %s ms, want about 3900", show(got, "%.0f"))
	}
	if got := followed(s, 0, 5*time.Second, 0.95); got != nil {
		t.Errorf("followed after %.0f ms, which it was not", *got)
	}
}
