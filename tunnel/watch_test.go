package tunnel

import (
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// TestWatch: the silence of an idle path is noticed soon while it is watched, and with the next probe otherwise.
func TestWatch(t *testing.T) {
	silence := func(watch bool) time.Duration {
		line := link.Config{Rate: 50e6, Delay: 8 * time.Millisecond, Queue: 100 * time.Millisecond}
		p := newPair(t, 1, line, line)
		p.run(3*time.Second, nil)
		p.ends[0].s.Watch(p.now, watch)
		p.run(p.now+2*time.Second+320*time.Millisecond, nil) // somewhere between two probes
		cut := p.now
		p.filter = func(_ int, path int, _ []byte) bool { return path != 1 }
		p.ends[0].events = nil
		for p.now < cut+5*time.Second {
			p.run(p.now+10*time.Millisecond, nil)
			for _, e := range p.ends[0].events {
				if e.Kind == PathDown && e.Path == 1 {
					return p.now - cut
				}
			}
		}
		t.Fatal("not noticed")
		return 0
	}
	if d := silence(true); d > 150*time.Millisecond {
		t.Errorf("watched: noticed after %v", d)
	}
	if d := silence(false); d < 150*time.Millisecond {
		t.Errorf("not watched, and yet noticed after %v: the test shows nothing", d)
	}
}
