package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// pair is two lines, quick enough for tests.
func pair() []Uplink {
	line := link.Config{Rate: 20e6, Delay: 5 * time.Millisecond, Queue: 50 * time.Millisecond}
	return []Uplink{{"line0", line}, {"line1", line}}
}

// state is what bondd may change on gateway and exit.
func state(t *testing.T, l *Lab) []string {
	t.Helper()
	var out []string
	for _, h := range []*Host{l.Gateway, l.Exit} {
		lines, err := h.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			out = append(out, h.name+": "+line)
		}
	}
	return out
}

// difference lists what only one of two sorted states has.
func difference(was, is []string) string {
	var out []string
	for _, line := range was {
		if !slices.Contains(is, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			out = append(out, "+ "+line)
		}
	}
	return strings.Join(out, "\n")
}

// TestBondCrash runs bondd on real kernels, kills the gateway with SIGKILL and
// starts it again: nothing of the first may be left beside the second. When both
// have ended in order, nothing at all may be left. Echoes of both families pass.
func TestBondCrash(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1})
	ctx := t.Context()
	if err := l.forwarding(ctx, false); err != nil {
		t.Fatal(err)
	}
	before := state(t, l)
	if err := l.StartBond(ctx); err != nil {
		t.Fatal(err)
	}
	for _, spec := range []PingSpec{{Target: Server4}, {Target: Server6}, {Target: Server4, Source: LAN4}} {
		if spec.Target.Is6() && !haveIPv6() {
			continue
		}
		spec.Interval, spec.Count, spec.Wait = 20*time.Millisecond, 10, time.Second
		echoes, err := l.Ping(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		if len(echoes.RTTs()) < 8 {
			t.Errorf("%s: %d of 10 echoes answered", spec.Target, len(echoes.RTTs()))
		}
		if rtt := Quantile(echoes.RTTs(), 0); rtt < 10*time.Millisecond || rtt > 100*time.Millisecond {
			t.Errorf("%s: quickest echo %v over lines of 10ms", spec.Target, rtt)
		}
	}
	running := state(t, l)
	if difference(before, running) == "" {
		t.Error("bondd runs and nothing has changed; State misses what it should see")
	}
	if err := l.Kill(ctx, l.Gateway); err != nil {
		t.Fatal(err)
	}
	if err := l.StartGateway(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitBond(ctx, bondTimeout); err != nil {
		t.Fatal(err)
	}
	d := difference(running, state(t, l))
	for end := time.Now().Add(5 * time.Second); d != "" && time.Now().Before(end); d = difference(running, state(t, l)) { // IPv6 may come behind IPv4
		time.Sleep(20 * time.Millisecond)
	}
	if d != "" {
		t.Errorf("after SIGKILL and a new start of the gateway:\n%s", d)
	}
	if err := l.StopBond(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.forwarding(ctx, false); err != nil {
		t.Fatal(err)
	}
	if d := difference(before, state(t, l)); d != "" {
		t.Errorf("left behind after an orderly end:\n%s", d)
	}
}
