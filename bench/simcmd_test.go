package bench

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// runSim runs the command and returns its output and code.
func runSim(t *testing.T, args string) (stdout string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = simMain(t.Context(), strings.Fields(args), &out, &errs)
	t.Logf("bondd bench sim %s\n%s%s", args, errs.String(), out.String())
	return out.String(), code
}

func TestSimReportsLikeTheLab(t *testing.T) {
	out, code := runSim(t, "--set V+A --duration 1s --settle 1s --json")
	if code != exitOK {
		t.Fatalf("code %d", code)
	}
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 2 || r.Results[0].Direction != "down" || r.Results[1].Direction != "up" {
		t.Fatalf("results %+v", r.Results)
	}
	for _, x := range r.Results {
		if x.Error != "" || x.Bond == nil || x.Best == nil || x.Sum == nil || x.Idle == nil || x.Loaded == nil || x.Stall == nil || x.Left == nil {
			t.Fatalf("something is missing: %+v", x)
		}
		if *x.Bond < 20 || *x.Bond > x.Limit || *x.Best < 40 || *x.Sum > 58 || x.Idle.P50 < 16 || x.Idle.P50 > 20 {
			t.Errorf("bond %.1f, best %.1f, sum %.1f, limit %.1f Mb/s, idle %.1f ms", *x.Bond, *x.Best, *x.Sum, x.Limit, x.Idle.P50)
		}
	}
	table, code := runSim(t, "--set V+A --direction down --duration 1s --settle 1s --faults none")
	if code != exitOK || !strings.Contains(table, "V+A") || !strings.Contains(table, "packet") {
		t.Errorf("code %d, table:\n%s", code, table)
	}
}

// What breaks in the lab breaks here too: a failed interface is survived, a halved and doubled uplink is followed.
func TestSimFaults(t *testing.T) {
	out, code := runSim(t, "--set V+A --direction down --duration 1s --settle 1s --faults unplug,step --json")
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK {
		t.Fatalf("code %d, %v", code, err)
	}
	x := r.Results[0]
	if x.Stall != nil || x.Unplug == nil || x.StepDown == nil || x.StepUp == nil {
		t.Fatalf("a fault is missing, or one too many: %+v", x)
	}
	if *x.Unplug > 150 || *x.StepDown > 3000 || *x.StepUp > 3000 {
		t.Errorf("unplugged: silent for %.0f ms; halved: followed after %.0f ms, doubled: %.0f ms", *x.Unplug, *x.StepDown, *x.StepUp)
	}
}

func TestSimCarriesOtherTraffic(t *testing.T) {
	for _, traffic := range []string{"--traffic bbr", "--traffic udp", "--service stream"} {
		out, code := runSim(t, "--set V+A --direction down --duration 1s --settle 1s --faults none --flows 2 --json "+traffic)
		var r Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK {
			t.Fatalf("code %d, %v", code, err)
		}
		x := r.Results[0]
		if x.Flows != 2 || x.Fraction == nil || *x.Fraction < .5 || *x.Fraction > 1 {
			t.Errorf("%s: %+v", traffic, x)
		}
		if udp := strings.HasSuffix(traffic, "udp"); udp && (x.Offered == nil || x.Best != nil || *x.Bond < *x.Offered*.95 || *x.Bond > *x.Offered*1.03) || !udp && x.Offered != nil {
			t.Errorf("%s: offered %v, delivered %v, alone %v", traffic, show(x.Offered, "%.1f"), *x.Bond, x.Best)
		}
	}
}

// A short download over four unlike lines is as fast as over the best alone, and small ones do not wait behind a bulk download.
func TestSimShortDownloads(t *testing.T) {
	if raceBuild {
		t.Skip("a minute under the race detector, and one goroutine")
	}
	out, code := runSim(t, "--service stream --set V+A+L+G --direction down --duration 1s --settle 2s --faults none --transfers --json")
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK {
		t.Fatalf("code %d, %v", code, err)
	}
	x := r.Results[0]
	if len(x.Transfers) != len(transferSizes) || x.Requests == nil {
		t.Fatalf("something is missing: %+v", x)
	}
	for _, s := range x.Transfers {
		if s.Over != "vdsl" || s.Bond.P50 > s.Best || s.Bond.P50 < 16 {
			t.Errorf("%d bytes: %.0f ms through the bond, %.0f ms over %s alone", s.Bytes, s.Bond.P50, s.Best, s.Over)
		}
	}
	if q := x.Requests; q.Loaded.P95 > q.Idle.P95+30 || q.Idle.P50 < 16 {
		t.Errorf("requests take %+v ms idle, %+v ms beside a bulk download", q.Idle, q.Loaded)
	}
	if d := x.transferDetails(); !strings.Contains(d, "1 MB") || !strings.Contains(d, "idle") {
		t.Errorf("details: %s", d)
	}
	table, code := runSim(t, "--service stream --set V+A --direction down --duration 1s --settle 1s --faults none --transfers")
	if code != exitOK || !strings.Contains(table, "GET loaded") || !strings.Contains(table, "one download") {
		t.Errorf("code %d, table:\n%s", code, table)
	}
}

func TestSimRandomSets(t *testing.T) {
	out, code := runSim(t, "--random 3 --duration 1s --settle 1s --seed 9")
	if code != exitOK || !strings.Contains(out, "3 random sets") || !strings.Contains(out, "one way") {
		t.Errorf("code %d:\n%s", code, out)
	}
	again, _ := runSim(t, "--random 3 --duration 1s --settle 1s --seed 9")
	if out != again {
		t.Error("two runs of one seed differ")
	}
	for i := range 200 {
		s := randomSet(5, i)
		if !reflect.DeepEqual(s, randomSet(5, i)) {
			t.Fatalf("set %d is not the same twice", i)
		}
		if n := len(s.Uplinks); n < 2 || n > 3 {
			t.Fatalf("%d uplinks", n)
		}
		for _, u := range s.Uplinks {
			if err := u.Link.Check(); err != nil || u.Link.Rate < randomRateMin || u.Link.Rate > randomRateMax || u.Link.Loss > randomLossMax {
				t.Errorf("set %d: %+v, %v", i, u.Link, err)
			}
		}
	}
}

func TestSimRefusesWrongUsage(t *testing.T) {
	for _, args := range []string{"--set nowhere", "--service carrier", "--service none", "--service packet,stream --traffic udp", "--service packet,stream --random 2",
		"--transfers --direction up", "--transfers --traffic udp", "--direction left", "--flows 0", "--duration 1ms", "--random -1", "--traffic vegas", "--faults flood",
		"more", "--nothing"} {
		if _, code := runSim(t, args); code != exitUsage {
			t.Errorf("%s: code %d, want %d", args, code, exitUsage)
		}
	}
	if out, code := runSim(t, "--list"); code != exitOK || !strings.Contains(out, "V+A+L+G") {
		t.Errorf("--list: code %d:\n%s", code, out)
	}
}
