package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// TestHome has every path of a home with relays and a VPN come up, and the LAN's traffic pass when all are taken away but those of the
// backup; nothing is left of a relay when it ends.
func TestHome(t *testing.T) {
	l := openLab(t, Config{Seed: 1, Home: &Home{Relays: 2, Backup: "umts"}, Uplinks: []Uplink{
		{"adsl", link.Config{Rate: 10e6, Delay: 12 * time.Millisecond, Queue: 300 * time.Millisecond}},
		{"umts", link.Config{Rate: 2e6, Delay: 60 * time.Millisecond, Queue: 500 * time.Millisecond}},
	}})
	ctx := t.Context()
	relays := func() (out [][]string) {
		for _, h := range l.Relays {
			s, err := h.State(ctx)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return out
	}
	before := relays()
	if err := l.StartBond(ctx); err != nil {
		t.Fatal(err)
	}
	// Uplink times remote: three uplinks, the exit and two relays.
	up := map[string]bool{}
	for end := time.Now().Add(bondTimeout); len(up) < 9; time.Sleep(20 * time.Millisecond) {
		st, err := l.Status(ctx, l.Gateway)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range st.Sessions {
			for _, p := range s.Stats.Paths {
				if p.State == "up" {
					up[p.Name] = p.Backup
				}
			}
		}
		if time.Now().After(end) {
			t.Fatalf("only these paths came up: %v\n%v", up, l.Explain(ctx.Err()))
		}
	}
	// While the MTU of the VPN's paths is still being looked for, they must not be the ones that the others wait for.
	r, err := l.TCP(ctx, TCPSpec{Source: LAN4, Flows: 1, Duration: 3 * time.Second})
	l.must(t, err)
	if r.Between(time.Second, 3*time.Second) == 0 {
		t.Error("a transfer has come to a stop")
	}
	for name, backup := range up {
		if backup != strings.HasPrefix(name, "umts>") {
			t.Errorf("path %s is a backup: %v", name, backup)
		}
	}
	for k, h := range l.Relays {
		if st, err := l.Status(ctx, h); err != nil || st.State != "forwarding" {
			t.Errorf("relay %d: %+v, %v", k, st, err)
		} else if !st.Relay.Kernel {
			t.Logf("relay %d forwards by itself: %s", k, st.Reason)
		}
	}
	if err := l.Unplug(ctx, 0); err != nil { // and with it the VPN
		t.Fatal(err)
	}
	if err := l.WaitBond(ctx, bondTimeout); err != nil {
		t.Fatal(err)
	}
	if err := l.StopBond(ctx); err != nil {
		t.Fatal(err)
	}
	for k, s := range relays() {
		if d := difference(before[k], s); d != "" {
			t.Errorf("relay %d leaves behind:\n%s", k, d)
		}
	}
}
