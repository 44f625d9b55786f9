package scheduler

import (
	"testing"
	"time"
)

// A Bond over random links with a perfect receiver at their far end (world_test.go), under random traffic and random
// mischief. The invariants are checked after every step; when the mischief ends, everything has to come to an end.

func (w *world) enqueue(key FlowKey, class Class, size int) {
	h := Handle(len(w.stages))
	w.stages, w.keys = append(w.stages, stageQueued), append(w.keys, key)
	w.b.Enqueue(w.now, key, class, h, size, w.rng.IntN(4) == 0)
	w.after()
}

// traffic offers a little of everything.
func (w *world) traffic() {
	switch r := w.rng.IntN(10); {
	case r < 4: // a download
		key := FlowKey(1 + w.rng.IntN(3))
		for range 1 + w.rng.IntN(60) {
			w.enqueue(key, Ordered, 600+w.rng.IntN(800))
		}
	case r < 6: // somebody talks
		w.enqueue(10, Unordered, 60+w.rng.IntN(300))
	case r < 7: // QUIC
		for range w.rng.IntN(30) {
			w.enqueue(11, Unordered, 1180)
		}
	case r < 8:
		w.enqueue(12, Loose, 52)
	case r < 9: // a short connection
		key := FlowKey(100 + w.rng.IntN(1000))
		for range 1 + w.rng.IntN(5) {
			w.enqueue(key, Ordered, 40+w.rng.IntN(1100))
		}
	default:
		key := FlowKey(1<<20 + w.rng.IntN(2))
		s := w.streams[key]
		if s == nil {
			s = &farStream{}
			w.streams[key] = s
		}
		s.offered += w.rng.IntN(100_000)
		left := s.offered - int(s.granted)
		w.b.Offer(w.now, key, left, max(0, left-w.rng.IntN(20_000)), w.rng.IntN(2) == 0)
	}
}

// mischief does something to a path.
func (w *world) mischief() {
	id := w.rng.IntN(len(w.lines))
	k, p := w.lines[id], w.b.Path(PathID(id))
	w.trace("mischief %d\n", id)
	switch w.rng.IntN(11) {
	case 0, 1:
		k.dead = true
	case 2, 3, 4:
		k.dead = false
	case 5:
		w.b.Fail(w.now, p)
	case 6:
		w.b.Revalidate(w.now, p)
	case 7:
		w.b.Proven(w.now, p)
	case 8:
		w.b.SetTerms(w.now, p, Terms{Backup: !p.Config.Backup, Metered: p.Config.Metered})
	case 9:
		p.SetMTU([]int{1252, 1300, 1472}[w.rng.IntN(3)])
	case 10:
		if len(w.lines) > 2 && id > 0 && w.rng.IntN(3) == 0 {
			w.b.Close(w.now, p)
		}
	}
	w.after()
}

// run is a whole life: traffic and mischief, then rest.
func (w *world) run(length time.Duration) {
	for w.now < length && w.fail == nil {
		end := w.now + time.Duration(w.rng.Int64N(int64(30*ms)))
		for w.now < end && w.fail == nil {
			w.step(end)
		}
		w.traffic()
		if w.rng.IntN(6) == 0 {
			w.mischief()
		}
		w.settle()
	}
	for i, k := range w.lines {
		p := w.b.Path(PathID(i))
		k.dead, k.loss, k.ackLoss = false, 0, 0
		if i == 0 {
			p.SetMTU(1472)
		}
		w.b.Proven(w.now, p)
	}
	for _, key := range []FlowKey{1 << 20, 1<<20 + 1} {
		if s := w.streams[key]; s != nil {
			w.b.Offer(w.now, key, s.offered-int(s.granted), 1<<30, false)
		}
	}
	w.settle()
	for end := w.now + 20*time.Second; w.now < end && w.fail == nil; {
		w.step(end)
	}
	w.over()
}

// over: at rest nothing is left behind.
func (w *world) over() {
	if w.fail != nil {
		return
	}
	if w.b.queue.bytes > 0 || w.b.rtx.len() > 0 {
		w.broken("at rest: %d bytes wait, %d flows have repairs", w.b.queue.bytes, w.b.rtx.len())
	}
	for h, s := range w.stages {
		if s != stageDone {
			w.broken("at rest: packet %d of flow %d is at stage %d", h, w.keys[h], s)
			return
		}
	}
	for key, s := range w.streams {
		if int(s.granted) != s.offered || len(s.bytes) != s.offered {
			w.broken("at rest: stream %d: %d of %d bytes sent, %d arrived", key, s.granted, s.offered, len(s.bytes))
		}
		for o, there := range s.bytes {
			if !there {
				w.broken("at rest: stream %d: byte %d is missing", key, o)
				break
			}
		}
	}
	if w.steps > 400*int(w.now/ms) {
		w.broken("%d steps: that is spinning", w.steps)
	}
}

// live runs the world of seed and returns the hash of its trace.
func live(t testing.TB, seed uint64, length time.Duration) uint64 {
	w := newWorld(t, seed)
	w.run(length)
	if w.fail != nil {
		t.Fatalf("seed %d: %v", seed, w.fail)
	}
	return w.hash.Sum64()
}

func TestBondUnderMischief(t *testing.T) {
	for seed := range uint64(40) {
		live(t, seed, 2*time.Second)
	}
}

// Equal seeds make equal traces, to the nanosecond.
func TestBondIsDeterministic(t *testing.T) {
	for seed := uint64(1000); seed < 1004; seed++ {
		if a, b := live(t, seed, time.Second), live(t, seed, time.Second); a != b {
			t.Fatalf("seed %d: traces %x and %x", seed, a, b)
		}
	}
}

func FuzzBond(f *testing.F) {
	f.Add(uint64(5000))
	f.Fuzz(func(t *testing.T, seed uint64) { live(t, seed, time.Second) })
}
