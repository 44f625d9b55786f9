package lab

import (
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
	transfer := func(up bool) {
		t.Helper()
		const settle, total = 700 * time.Millisecond, 2 * time.Second
		r, err := l.TCP(ctx, TCPSpec{Source: LAN4, Up: up, Flows: 1, Duration: total})
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			t.Fatal(l.Explain(err))
		}
		if rate := r.Mbps(settle, total); rate < 22 { // one line has 20; a busy machine is not held to the sum
			t.Errorf("up %v: %.1f Mb/s over two lines of 20", up, rate)
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
}
