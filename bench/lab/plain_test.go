package lab

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

func openLab(t *testing.T, cfg Config) *Lab {
	t.Helper()
	needLab(t)
	if testing.Verbose() {
		cfg.Log = os.Stderr
	}
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// TestEmulator asks two lines at once for a rate, a delay and a loss, and
// measures them with real packets.
func TestEmulator(t *testing.T) {
	links := []Uplink{
		{"fast", link.Config{Rate: 40e6, Delay: 10 * time.Millisecond, Queue: 50 * time.Millisecond}},
		{"lossy", link.Config{Rate: 8e6, Delay: 30 * time.Millisecond, Queue: 100 * time.Millisecond, Loss: 0.05}},
	}
	l := openLab(t, Config{Uplinks: links, Seed: 1})
	if void := trusted(t, l, func() []string {
		var wg sync.WaitGroup
		complaints := make([][]string, len(links))
		for i, u := range links {
			wg.Go(func() { complaints[i] = checkLine(t, l, i, u) })
		}
		wg.Wait()
		return slices.Concat(complaints...)
	}); void != "" {
		t.Skip(void)
	}
	m, err := l.Meter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Ping(t.Context(), PingSpec{Source: Plain(0), Interval: 10 * time.Millisecond, Count: 5, Wait: time.Second}); err != nil {
		t.Fatal(err)
	}
	if load, err := m.Load(t.Context()); load.Late.Packets < 5 || err != nil {
		t.Errorf("lateness of %d packets: %v", load.Late.Packets, err)
	}
}

// checkLine returns what of the line is not as asked.
func checkLine(t *testing.T, l *Lab, i int, u Uplink) (complaints []string) {
	off := func(format string, a ...any) { complaints = append(complaints, fmt.Sprintf(u.Name+" "+format, a...)) }
	ctx := t.Context()
	pings, err := l.Ping(ctx, PingSpec{Source: Plain(i), Interval: 10 * time.Millisecond, Count: 40, Wait: time.Second})
	if err != nil {
		t.Error(err)
		return complaints
	}
	rtt := Quantile(pings.RTTs(), 0.5)
	if want := 2 * u.Link.Delay; rtt < want || rtt > want+5*time.Millisecond {
		off("median echo %v, asked for %v", rtt, want)
	}
	for _, up := range []bool{false, true} {
		// Small packets at a third of the rate: what is missing is the line's loss.
		light, err := l.UDP(ctx, UDPSpec{Source: Plain(i), Up: up, Size: 200, Mbps: u.Link.Rate / 3e6, Duration: 700 * time.Millisecond, Linger: 200 * time.Millisecond})
		if err != nil {
			t.Error(err)
			return complaints
		}
		if loss := light.Loss(); loss < u.Link.Loss*0.4 || loss > u.Link.Loss*1.8+0.002 {
			off("up=%v: lost %.2f %% of %d, asked for %.2f %%", up, loss*100, light.Sent, u.Link.Loss*100)
		}
		if light.Reordered+light.Duplicate > 0 {
			t.Errorf("%s up=%v: %d reordered, %d duplicated on one line", u.Name, up, light.Reordered, light.Duplicate)
		}
		// Half as much again as fits: what arrives is the line's rate.
		full, err := l.UDP(ctx, UDPSpec{Source: Plain(i), Up: up, Size: 1500, Mbps: u.Link.Rate * 1.5 / 1e6, Duration: 700 * time.Millisecond, Linger: 200 * time.Millisecond})
		if err != nil {
			t.Error(err)
			return complaints
		}
		want := u.Link.Rate * (1 - u.Link.Loss) / 1e6
		if got := full.Arrived.Mbps(250*time.Millisecond, 700*time.Millisecond); got < want*0.94 || got > want*1.05 {
			off("up=%v: %.2f Mb/s, asked for %.2f", up, got, want)
		}
	}
	return complaints
}

// TestPlainTCP moves kernel TCP over one line without bondd, both ways.
func TestPlainTCP(t *testing.T) {
	l := openLab(t, Config{Uplinks: []Uplink{{"line", link.Config{Rate: 30e6, Delay: 5 * time.Millisecond, Queue: 50 * time.Millisecond}}}, Seed: 1})
	for _, up := range []bool{false, true} {
		void := trusted(t, l, func() []string {
			res, err := l.TCP(t.Context(), TCPSpec{Source: Plain(0), Up: up, Flows: 2, Duration: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			if got := res.Mbps(400*time.Millisecond, time.Second); got < 26 || got > 29.5 {
				return []string{fmt.Sprintf("up=%v: %.1f Mb/s of payload over 30 Mb/s", up, got)}
			}
			return nil
		})
		if void != "" {
			t.Skip(void)
		}
	}
}
