package tunnel

import (
	"testing"
	"time"
)

// A deadline in the past after Advance and the pulls would make the engine spin.
func TestDeadlineIsNeverInThePast(t *testing.T) {
	for name, backlog := range map[string]int{"idle": 0, "bulk": 1 << 20} {
		p := newPair(t, 1, linkV, linkL, linkT)
		each := p.greedy(backlog)
		p.ends[1].onPkt = func(time.Duration, []byte) {}
		var steps, past int
		p.run(3*time.Second, func() {
			each()
			p.pump()
			steps++
			for side, e := range p.ends {
				if d := e.s.Deadline(); d <= p.now {
					past++
					if past < 5 {
						t.Logf("%s: side %d at %v: deadline %v (bond %v reorder %v hold %v)", name, side, p.now, d, e.s.bond.Deadline(), e.s.reorder.Deadline(), e.s.holdAt)
						for _, q := range e.s.paths {
							t.Logf("  path %d mtu %v %v", q.id, q.mtu.at, q.mtu)
						}
					}
				}
			}
		})
		t.Logf("%s: %d steps", name, steps)
		if past > 0 {
			t.Errorf("%s: the deadline had passed in %d of %d steps", name, past, steps)
		}
	}
}
