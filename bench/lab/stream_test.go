package lab

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestBondStreams carries real TCP as streams, both ways, also when the gateway was killed and has started again; and nothing is left
// of it.
func TestBondStreams(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true})
	ctx := t.Context()
	if err := l.forwarding(ctx, false); err != nil {
		t.Fatal(err)
	}
	before := state(t, l)
	if err := l.StartBond(ctx); err != nil {
		t.Fatal(err)
	}
	var void string
	transfer := func(up bool) {
		t.Helper()
		const settle, total = 700 * time.Millisecond, 2 * time.Second
		why := trusted(t, l, func() []string {
			before := carried(t, l, up)
			r, err := l.TCP(ctx, TCPSpec{Source: LAN4, Up: up, Flows: 1, Duration: total})
			if err == nil {
				err = r.Err()
			}
			if err != nil {
				t.Fatal(l.Explain(err))
			}
			sum, lines := uint64(0), carried(t, l, up)
			for i := range lines {
				lines[i] -= before[i]
				sum += lines[i]
			}
			for i, n := range lines {
				if n*30 < sum { // both equal lines, however little time the machine had for them
					t.Errorf("up %v: line %d carried %d of %d bytes", up, i, n, sum)
				}
			}
			if rate := r.Mbps(settle, total); rate < 22 { // one line has 20
				return []string{fmt.Sprintf("up %v: %.1f Mb/s over two lines of 20", up, rate)}
			}
			return nil
		})
		if why != "" {
			void = why
		}
	}
	transfer(false)
	transfer(true)
	f, err := l.Fetch(ctx, FetchSpec{Source: LAN4, Bytes: 10_000, Count: 5, Every: 10 * time.Millisecond, Timeout: 10 * time.Second})
	if err == nil {
		err = f.Err()
	}
	if err != nil || len(f.Took) != 5 || slices.Min(f.Took) < 10*time.Millisecond {
		t.Fatalf("short downloads took %v: %v", f.Took, l.Explain(err))
	}
	st, err := l.Status(ctx, l.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	if st.Streams.Opened < 7 || st.Streams.Interception != "on" {
		t.Errorf("streams of the gateway: %+v", st.Streams)
	}
	running := state(t, l)
	if err := l.Kill(ctx, l.Gateway); err != nil {
		t.Fatal(err)
	}
	if err := l.StartGateway(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitBond(ctx, bondTimeout); err != nil {
		t.Fatal(err)
	}
	transfer(false)
	if d := difference(running, state(t, l)); d != "" {
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
	if void != "" {
		t.Skip("all but the rate is as it should be; " + void)
	}
}

// carried is what each line has delivered in one direction, in bytes.
func carried(t *testing.T, l *Lab, up bool) []uint64 {
	t.Helper()
	out := make([]uint64, len(l.cfg.Uplinks))
	for i := range out {
		u, d, err := l.LinkStats(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if out[i] = d.Bytes; up {
			out[i] = u.Bytes
		}
	}
	return out
}
