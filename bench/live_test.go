package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/bench/link"
)

// TestLive runs `bondd bench live` on the gateway of a lab: each uplink by itself, then both services, both
// ways. How fast it went is the machine's business.
func TestLive(t *testing.T) {
	needLab(t)
	fast := link.Config{Rate: 20e6, Delay: 5 * time.Millisecond, Queue: 50 * time.Millisecond}
	l, err := lab.Open(t.Context(), lab.Config{Uplinks: []lab.Uplink{{Name: "line0", Link: fast}, {Name: "line1", Link: fast}}, Seed: 1, Streams: true, Bench: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := l.StartBond(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := l.Gateway.Run(t.Context(), lab.Command{Argv: []string{"/proc/self/exe"}, Env: []string{envLive + "=--duration 1s --json"}})
	if err != nil {
		t.Fatal(l.Explain(err))
	}
	var r liveReport
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(r.Live) != 8 || len(r.Verdict) < 8 {
		t.Fatalf("%d transfers, verdict %q", len(r.Live), r.Verdict)
	}
	for _, x := range r.Live {
		t.Logf("%s, %s: %s Mb/s, busy %.2f, %+v", x.Service, x.Direction, show(x.Mbps, "%.1f"), x.Busy, x.Uplinks)
		uplinks, most := 2, 45.
		if x.Alone != "" {
			uplinks, most = 1, 25
		}
		if x.Error != "" || x.Mbps == nil || *x.Mbps <= 0 || *x.Mbps > most || len(x.Uplinks) != uplinks {
			t.Errorf("%+v", x)
			continue
		}
		for _, u := range x.Uplinks {
			state := u.State == "up" || u.State == "suspect" // a busy machine may be silent for long at any moment
			if u.Carried <= 0 || !state || u.RTT < 10 || (u.Rate != nil) != (x.Direction == "up") {
				t.Errorf("%s, %s: %+v", x.Service, x.Direction, u)
			}
		}
	}
	st, err := l.Status(t.Context(), l.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range st.Uplinks {
		if u.Mode != "always" {
			t.Errorf("uplink %s is left as %s", u.Name, u.Mode)
		}
	}
	if st.Streams.Opened != 2 { // down and up; the packets' connections were none
		t.Errorf("%d streams were opened, want 2", st.Streams.Opened)
	}
}
