package scheduler

import (
	"testing"
	"time"
)

// heldWorld moves bytes by paths, a second at a time.
type heldWorld struct {
	h     Holdback
	now   time.Duration
	paths []HeldPath
}

// run lets seconds pass in which paths move so many bytes each.
func (w *heldWorld) run(seconds int, moved ...uint64) {
	for range seconds {
		w.now += time.Second
		for i, n := range moved {
			w.paths[i].Moved += n
		}
		w.h.Judge(w.now, w.paths)
	}
}

func (w *heldWorld) is(t *testing.T, when string, want bool) {
	t.Helper()
	if got := w.h.Held("geo"); got != want {
		t.Errorf("%s: held back %v", when, got)
	}
	if w.h.Held(w.paths[0].Name) {
		t.Errorf("%s: the quick path is held back", when)
	}
}

func beside(name string) *heldWorld {
	return &heldWorld{paths: []HeldPath{{Name: name, RTT: 16 * time.Millisecond}, {Name: "geo", RTT: 600 * time.Millisecond}}}
}

func TestHoldback(t *testing.T) {
	w := beside("vdsl")
	w.run(100, 20e3, 10e3)
	w.is(t, "without traffic", false)
	w.run(9, 5e6, 100e3)
	w.is(t, "after nine seconds", false)
	w.run(1, 5e6, 100e3)
	w.is(t, "after ten", true)
	w.run(599, 5e6, 0)
	w.is(t, "nine minutes later", true)
	w.run(1, 5e6, 0)
	w.is(t, "tried again", false)
	w.run(10, 5e6, 100e3)
	w.is(t, "and again", true)
	w.paths = append(w.paths, HeldPath{Name: "lte", RTT: 50 * time.Millisecond})
	w.run(1, 5e6, 0, 0)
	w.is(t, "another set", false)
}

// moves is so many seconds in which the first path and the satellite move so many bytes each.
type moves struct {
	seconds  int
	one, geo uint64
}

func TestHoldbackKeeps(t *testing.T) {
	for _, c := range []struct {
		when string
		path string
		set  func(paths []HeldPath)
		runs []moves
		want bool
	}{
		{"it has next to nothing", "adsl", nil, []moves{{12, 1.2e6, 100e3}}, true},
		{"it has as much", "adsl", nil, []moves{{5, 1.2e6, 100e3}, {60, 1.2e6, 1e6}}, false},
		{"the bond knows better", "adsl", func(p []HeldPath) { p[1].Rate = 2.4e6 }, []moves{{60, 1.2e6, 100e3}}, false},
		{"it is not far", "vdsl", func(p []HeldPath) { p[1].RTT = 260 * time.Millisecond }, []moves{{60, 5e6, 100e3}}, false},
		{"nothing to compare with", "vdsl", func(p []HeldPath) { p[0].RTT = 0 }, []moves{{60, 5e6, 100e3}}, false},
	} {
		w := beside(c.path)
		if c.set != nil {
			c.set(w.paths)
		}
		for _, m := range c.runs {
			w.run(m.seconds, m.one, m.geo)
		}
		w.is(t, c.when, c.want)
	}

	w := beside("vdsl")
	w.run(10, 5e6, 100e3)
	w.paths[1].Moved = 1000 // its carriers have closed
	w.run(1, 5e6, 0)
	w.is(t, "counters went down", true)
}
