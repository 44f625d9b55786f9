package tunnel

import (
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// terms changes the terms of a path.
func (p *pair) terms(path PathID, spec PathSpec) {
	p.ends[0].s.SetTerms(p.now, path, spec)
}

// greedyBoth keeps the queues of both ends full.
func (p *pair) greedyBoth() func() {
	up := p.greedy(12 << 10) // little enough for CoDel at the lowest rate of the tests
	back := &pair{ends: [2]*end{p.ends[1], p.ends[0]}}
	down := back.greedy(12 << 10)
	return func() { back.now = p.now; up(); down() }
}

// quiet counts what comes out and keeps nothing.
func (p *pair) quiet() {
	for _, e := range p.ends {
		e.onPkt = func(time.Duration, []byte) {}
	}
}

// carried is what each end has received over a span, in Mb/s of inner packets.
func (p *pair) carried(d time.Duration, each func()) (up, down float64) {
	a, b := p.ends[1].bytes, p.ends[0].bytes
	p.run(p.now+d, each)
	rate := func(n int) float64 { return float64(n) * 8 / d.Seconds() / mbit }
	return rate(p.ends[1].bytes - a), rate(p.ends[0].bytes - b)
}

// Caps hold in each direction, at whichever end the sending is, and can be changed and taken away.
func TestCapsInBothDirections(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.quiet()
	each := p.greedyBoth()
	p.run(500*ms, each)
	p.terms(0, PathSpec{MaxRate: 4 * mbit / 8, PeerMaxRate: 8 * mbit / 8})
	p.run(p.now+2*time.Second, each) // what was on its way, and the queue in front of the line
	up, down := p.carried(4*time.Second, each)
	if up > 4 || up < 3.4 || down > 8 || down < 7 {
		t.Errorf("with caps of 4 and 8 Mb/s: %.2f up, %.2f down", up, down)
	}
	p.terms(0, PathSpec{})
	p.run(p.now+3*time.Second, each)
	if up, down = p.carried(4*time.Second, each); up < 20 || down < 20 {
		t.Errorf("without caps again: %.1f up, %.1f down", up, down)
	}
}

// The first word about a cap may be lost like any other.
func TestCapIsToldAgain(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.quiet()
	p.run(200*ms, nil)
	p.filter = func(from, _ int, _ []byte) bool { return from != 0 }
	p.terms(0, PathSpec{PeerMaxRate: 5 * mbit / 8})
	p.run(p.now+20*ms, nil)
	p.filter = nil
	each := p.greedyBoth()
	p.run(p.now+3*time.Second, each)
	if _, down := p.carried(4*time.Second, each); down > 5 || down < 4.3 {
		t.Errorf("with a cap of 5 Mb/s that was lost at first: %.2f down", down)
	}
}

// Nothing new goes on a path that is drained, by either end, even if there is no other; what was on it arrives.
func TestDrain(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	p.quiet()
	each := p.greedyBoth()
	p.run(2*time.Second, each)
	p.terms(1, PathSpec{Drain: true})
	p.run(p.now+500*ms, each)
	sent := func() (n uint64) {
		for _, e := range p.ends {
			n += e.s.paths[1].sched.Stats.SentBytes
		}
		return n
	}
	before := sent()
	p.run(p.now+2*time.Second, each)
	if n := sent() - before; n > 20_000 {
		t.Errorf("%d bytes on a drained path", n)
	}
	for i, e := range p.ends {
		if f := e.s.paths[1].sched.Inflight(); f > 2000 {
			t.Errorf("end %d: %d bytes in flight on a drained path", i, f)
		}
	}
	p.terms(0, PathSpec{Drain: true})
	p.run(p.now+500*ms, each)
	if up, down := p.carried(time.Second, each); up+down > 0.1 {
		t.Errorf("with all paths drained: %.1f up, %.1f down", up, down)
	}
	p.terms(1, PathSpec{})
	p.run(p.now+time.Second, each)
	if up, down := p.carried(2*time.Second, each); up < 7 || down < 7 {
		t.Errorf("taken back into use: %.1f up, %.1f down", up, down)
	}
}

// A backup for when the others are full stays out of short bursts, helps with long ones, and leaves again; at both ends.
func TestBackupWhenFull(t *testing.T) {
	p := newPair(t, 1, linkA, linkV)
	p.quiet()
	p.terms(1, PathSpec{Backup: true, Full: true})
	p.run(500*ms, nil)
	each := p.greedyBoth()
	up, down := p.carried(2*time.Second, each)
	if up > 11 || down > 11 {
		t.Errorf("in a burst of 2 s: %.1f up, %.1f down, more than the 10 Mb/s of the first line", up, down)
	}
	p.run(p.now+4*time.Second, each)
	if up, down = p.carried(4*time.Second, each); up < 40 || down < 40 {
		t.Errorf("after 6 s of fullness: %.1f up, %.1f down, want the help of a 50 Mb/s line", up, down)
	}
	p.run(p.now+15*time.Second, nil) // quiet
	up, down = p.carried(2*time.Second, each)
	if up > 11 || down > 11 {
		t.Errorf("in a burst after 15 s of rest: %.1f up, %.1f down", up, down)
	}
}

// An idle metered path costs less than 30 MB a month, both ends and both headers counted, whether it is a backup or not; one that is not
// metered is probed once a second.
func TestIdlePathsCost(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for _, c := range []struct {
		name     string
		spec     PathSpec
		min, max float64 // MB a month
	}{
		{"metered backup", PathSpec{Metered: true, Backup: true}, 1, 30},
		{"metered", PathSpec{Metered: true}, 1, 30},
		{"not metered", PathSpec{}, 300, 800},
	} {
		p := newPair(t, 1, linkV, link.Config{Rate: 4 * mbit, Delay: 60 * ms, Queue: time.Second})
		p.terms(1, c.spec)
		p.run(time.Minute, nil) // settled, its MTU found
		var bytes, datagrams int
		p.filter = func(_, path int, dg []byte) bool {
			if path == 1 {
				bytes += len(dg) + 28
				datagrams++
			}
			return true
		}
		p.run(p.now+time.Hour, nil)
		mb := float64(bytes) * float64(month/time.Hour) / 1e6
		t.Logf("%s: %.1f MB a month, %d datagrams an hour", c.name, mb, datagrams)
		if mb < c.min || mb > c.max {
			t.Errorf("%s: %.1f MB a month, want %.0f to %.0f", c.name, mb, c.min, c.max)
		}
	}
}
