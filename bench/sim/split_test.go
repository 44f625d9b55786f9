package sim

import (
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// A provider that polices each flow to half of the line: with two addresses of the exit there are two, which a trial finds out.
func TestPolicedFlowsAddUp(t *testing.T) {
	slowWithRace(t)
	for _, kind := range []Kind{TCP, Stream} {
		rate := func(remotes int) (early, late float64, p99 time.Duration) {
			sc := bond(1, []string{"V"}, Flow{Kind: kind, Down: true, Start: 500 * ms}, Flow{Kind: Ping})
			sc.Remotes = remotes
			sc.Uplinks[0].Police = &link.Policer{Rate: 25e6, Burst: 60_000}
			r := start(t, sc)
			advance(t, r, 14*time.Second)
			ds, _ := r.Flows[1].Delays(10*time.Second, 13*time.Second)
			return r.Flows[0].Mbps(time.Second, 3*time.Second), r.Flows[0].Mbps(11*time.Second, 14*time.Second), Quantile(ds, .99)
		}
		_, one, _ := rate(1)
		before, two, p99 := rate(2)
		t.Logf("kind %d: one path %.1f, two %.1f and then %.1f Mb/s, echoes p99 %v", kind, one, before, two, p99)
		if one > 25 || before > 25 || two < 37 || p99 > 35*ms { // of two controllers each allows a queue of its own
			t.Errorf("kind %d: one path %.1f, two %.1f and then %.1f Mb/s, echoes p99 %v", kind, one, before, two, p99)
		}
	}
}
