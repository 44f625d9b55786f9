package bench

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/bondd/bondd/tunnel/seal"
)

// TestCPU climbs the ladder in haste: every step that needs no rights has a cost, and what it adds up to is finite.
func TestCPU(t *testing.T) {
	var out, errs bytes.Buffer
	if code := cpuMain(t.Context(), []string{"--json", "--time", "10ms", "--cpu-quota", "0.9"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var r CPUReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Rungs {
		if (x.Cost == nil || *x.Cost <= 0) && x.Skipped == "" {
			t.Errorf("%s costs nothing", x.Name)
		}
	}
	if len(r.Rungs) != 13 || len(r.Estimates) < 2 || len(r.Checks) != 2 {
		t.Fatalf("%d steps, %d estimates, %d checks", len(r.Rungs), len(r.Estimates), len(r.Checks))
	}
	for _, x := range r.Checks {
		if x.Measured <= 0 || x.Granted <= 0 || x.Bound == "" {
			t.Errorf("%+v", x)
		}
	}
	for _, args := range [][]string{{"--cpu-quota", "-1"}, {"--time", "1ms"}, {"x"}} {
		errs.Reset()
		if code := cpuMain(t.Context(), args, &out, &errs); code != exitUsage || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, errs.String())
		}
	}
}

// The steps that move packets move all of them: 46 of a super-packet, and a block of a stream.
func TestRungsMoveTheirBytes(t *testing.T) {
	p, err := packetRung(1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := streamRung(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []rung{p, s} {
		total := 0
		for range 300 {
			n, err := x.work()
			if err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
			total += n
		}
		if total < 200*60_000 {
			t.Errorf("%s: %d bytes in 300 turns", x.name, total)
		}
	}
}

// The way through two sessions costs no garbage once it is warm: 46 packets or a block of a stream, sealed, opened, put in order, acknowledged.
// (A stream's block itself is the application's.)
func TestSessionsDoNotAllocate(t *testing.T) {
	if raceBuild {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	for _, make := range []func(seal.Suite) (rung, error){packetRung, streamRung} {
		x, err := make(seal.SuiteAES128GCM)
		if err != nil {
			t.Fatal(err)
		}
		turn := func() {
			if _, err := x.work(); err != nil {
				t.Fatal(err)
			}
		}
		for range 500 {
			turn()
		}
		if n := testing.AllocsPerRun(500, turn); n > 2 { // the pools may be emptied by the collector meanwhile
			t.Errorf("%s: %v allocations in a turn of 46 datagrams", x.name, n)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}
