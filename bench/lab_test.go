package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLab measures one set for a few seconds on real kernels: the transfer must
// go over both lines, and on a machine that has time for it the two together
// must carry clearly more than one. A run that the machine spoiled says nothing
// about speed: it is made again, and in the end skipped. Figures come from
// `bondd bench lab`.
func TestLab(t *testing.T) {
	needLab(t)
	sets, err := FindSets("equal")
	if err != nil {
		t.Fatal(err)
	}
	void := ""
	p := plan{services: []string{"packet"}, directions: []string{"down"}, flows: []int{1}, duration: 3 * time.Second, settle: time.Second,
		idlePings: 25, seed: 1, progress: t.Output()}
	if testing.Verbose() {
		p.log = os.Stderr
	}
	for range 3 {
		results := p.run(t.Context(), sets[0])
		if len(results) != 1 {
			t.Fatalf("%d results", len(results))
		}
		r := results[0]
		if r.Error != "" {
			t.Fatal(r.Error)
		}
		if err := crossed(r); err != nil {
			t.Fatal(err)
		}
		if m := r.Memory; m == nil || m.Idle <= 1 || m.Early <= 1 || m.Late <= 1 || m.After <= 1 {
			t.Fatalf("memory: %+v", m)
		}
		complaints := slow(r)
		if len(complaints) == 0 {
			return
		}
		if void = r.Void; void == "" {
			t.Fatalf("%s\n(the machine had time: %+v)", strings.Join(complaints, "\n"), *r.Machine)
		}
		void += ": " + strings.Join(complaints, "; ")
		t.Logf("measured in vain: %s", void)
	}
	t.Skip("the transfer crossed both lines; its speed could not be judged: " + void)
}

// crossed judges what does not depend on time: the bond's transfer, which has run
// to its end, went over both of two equal lines.
func crossed(r Result) error {
	if r.CPU == nil || *r.CPU <= 0 {
		return fmt.Errorf("processor time per GB: %v", r.CPU)
	}
	for _, u := range r.Uplinks {
		if u.Share == nil || *u.Share < 0.05 {
			return fmt.Errorf("line %s carried %s of the bytes of the bond's transfer; the two are equal", u.Name, show(u.Share, "%.3f"))
		}
	}
	return nil
}

// slow lists what a machine with time for it would do better. Far below what a
// quiet machine gives.
func slow(r Result) (complaints []string) {
	off := func(format string, a ...any) { complaints = append(complaints, fmt.Sprintf(format, a...)) }
	if *r.Best < 40 || *r.Best > 48.5 {
		off("one line alone: %.1f Mb/s of 48.3", *r.Best)
	}
	least := 60.0
	if raceBuild {
		least = 5
	}
	if *r.Bond < least {
		off("bond: %.1f Mb/s over two lines of 48.3, want at least %.0f", *r.Bond, least)
	}
	if r.Idle.P50 < 20 || r.Idle.P50 > 40 {
		off("echo through the bond, idle: %.1f ms; the lines have 20", r.Idle.P50)
	}
	if r.Loaded.P50 > 150 && !raceBuild {
		off("echo through the bond, loaded: %.1f ms", r.Loaded.P50)
	}
	return complaints
}
