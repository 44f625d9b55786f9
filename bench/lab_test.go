package bench

import (
	"os"
	"testing"
	"time"
)

// TestLab measures one set for a few seconds on real kernels: the two lines
// together must carry clearly more than one, and the transfer must survive the
// loss of one of them. The thresholds are far below what a quiet machine gives;
// figures come from `bondd bench lab`.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("runs in real time; skipped with -short")
	}
	if notAllowed != nil {
		t.Skip(notAllowed)
	}
	sets, err := FindSets("equal")
	if err != nil {
		t.Fatal(err)
	}
	p := plan{service: "packet", directions: []string{"down"}, flows: 1, duration: 3 * time.Second, settle: time.Second,
		idlePings: 25, seed: 1, progress: t.Output()}
	if testing.Verbose() {
		p.log = os.Stderr
	}
	results := p.run(t.Context(), sets[0])
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	r := results[0]
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	if *r.Best < 40 || *r.Best > 48.5 {
		t.Errorf("one line alone: %.1f Mb/s of 48.3; the lab is wrong, or the machine is too busy", *r.Best)
	}
	least := 60.0
	if raceBuild {
		least = 5
	}
	if *r.Bond < least {
		t.Errorf("bond: %.1f Mb/s over two lines of 48.3, want at least %.0f", *r.Bond, least)
	}
	if r.Idle.P50 < 20 || r.Idle.P50 > 40 {
		t.Errorf("echo through the bond, idle: %.1f ms; the lines have 20", r.Idle.P50)
	}
	if r.Loaded.P50 > 150 && !raceBuild {
		t.Errorf("echo through the bond, loaded: %.1f ms", r.Loaded.P50)
	}
	if r.CPU == nil || *r.CPU <= 0 {
		t.Errorf("processor time per GB: %v", r.CPU)
	}
}
