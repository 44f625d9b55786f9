package scheduler

import (
	"testing"
	"time"
)

// splitWorld is an uplink with several members of a group: what they carry together follows from those that are in use.
type splitWorld struct {
	s    split
	now  time.Duration
	look splitLook
	// rate, bytes/s, of those that carry and of the helper, by the number of the former and whether there is one.
	rate  func(members int, helped bool) (carrier, helper float64)
	queue func(members int, helped bool) time.Duration
	tried int // trials begun
	spent time.Duration
}

func newSplitWorld(rate func(int, bool) (float64, float64)) *splitWorld {
	return &splitWorld{
		look: splitLook{leader: 0, eligible: []PathID{0, 1}, queues: make([]time.Duration, 4), full: true, rtt: 24 * time.Millisecond},
		rate: rate, queue: func(int, bool) time.Duration { return 0 },
	}
}

func (w *splitWorld) run(d time.Duration) {
	for end := w.now + d; w.now < end; w.now += refreshEvery {
		helped := w.s.phase == splitHelped
		n := max(len(w.s.members), 1)
		carrier, helper := w.rate(n, helped)
		w.look.carrier += uint64(carrier * refreshEvery.Seconds())
		w.look.carried += uint64((carrier + helper) * refreshEvery.Seconds())
		w.look.queue = w.queue(n, helped)
		w.s.look(w.now, w.look)
		if w.s.phase == splitHelped {
			w.spent += refreshEvery
			if !helped {
				w.tried++
			}
		}
	}
}

// policed is an uplink whose members have a rate each.
func policed(rate float64) func(int, bool) (float64, float64) {
	return func(n int, helped bool) (float64, float64) {
		if helped {
			return rate * float64(n), rate * float64(n) * splitHelp
		}
		return rate * float64(n), 0
	}
}

// shared is a line.
func shared(rate float64) func(int, bool) (float64, float64) {
	return func(_ int, helped bool) (float64, float64) {
		if helped {
			return rate / (1 + splitHelp), rate * splitHelp / (1 + splitHelp)
		}
		return rate, 0
	}
}

// Where each member has a rate of its own, the second stays after one trial, and the third after another.
func TestSplitFindsPolicedMembers(t *testing.T) {
	w := newSplitWorld(policed(1e6))
	w.look.eligible = []PathID{0, 1, 2}
	w.run(2500 * time.Millisecond)
	if w.tried != 0 {
		t.Fatal("a trial although the group has hardly been full")
	}
	w.run(4500 * time.Millisecond)
	if len(w.s.members) != 2 || w.s.members[0] != 0 || w.s.members[1] != 1 {
		t.Fatalf("members %v after 7 s", w.s.members)
	}
	w.run(15 * time.Second)
	if len(w.s.members) != 3 {
		t.Fatalf("members %v after 22 s", w.s.members)
	}
	if w.run(time.Minute); len(w.s.members) != 3 || w.tried != 2 {
		t.Errorf("members %v, %d trials after a minute more", w.s.members, w.tried)
	}
}

// On a shared line there are few trials, and short ones.
func TestSplitShowsNothing(t *testing.T) {
	w := newSplitWorld(shared(1e6))
	w.look.eligible = []PathID{0, 1, 2, 3}
	if w.run(10 * time.Minute); len(w.s.members) != 0 {
		t.Fatalf("members %v", w.s.members)
	}
	// After 10, 20, 40, 80, 160 s, and then five minutes.
	if w.tried != 6 || w.spent > 6*500*time.Millisecond {
		t.Errorf("%d trials of %v in all", w.tried, w.spent)
	}

	// A queue ends one at once.
	w = newSplitWorld(policed(1e6))
	w.queue = func(_ int, helped bool) time.Duration {
		if helped {
			return 25 * time.Millisecond
		}
		return 5 * time.Millisecond
	}
	if w.run(20 * time.Second); w.tried != 2 || w.spent > 2*100*time.Millisecond || len(w.s.members) != 0 {
		t.Errorf("%d trials of %v in all with a queue", w.tried, w.spent)
	}

	// Where the other's probes meet the queue as well, there is one after a minute.
	w = newSplitWorld(shared(1e6))
	w.queue = func(int, bool) time.Duration { return 4 * time.Millisecond }
	w.look.queues[1] = 3 * time.Millisecond
	if w.run(time.Minute); w.tried != 0 {
		t.Errorf("%d trials in a minute on what looks like a shared line", w.tried)
	}
	if w.run(9 * time.Minute); w.tried < 2 || w.tried > 5 {
		t.Errorf("%d trials in ten minutes on what looks like a shared line", w.tried)
	}
	// It is not the queue that counts, but that both meet it.
	w = newSplitWorld(policed(1e6))
	w.queue = func(int, bool) time.Duration { return 4 * time.Millisecond }
	if w.run(7 * time.Second); len(w.s.members) != 2 {
		t.Error("two narrow places of their own are not found")
	}
}

// What only looks like a gain: a line that has grown by itself, a transfer that ends, a neighbour that gives way.
func TestSplitIsNotFooled(t *testing.T) {
	w := newSplitWorld(shared(1e6))
	for w.tried == 0 {
		w.run(refreshEvery)
	}
	w.rate = func(_ int, helped bool) (float64, float64) {
		if helped {
			return 1.04e6, .26e6
		}
		return 1.3e6, 0
	}
	if w.run(5 * time.Second); len(w.s.members) != 0 {
		t.Error("the line grew in the trial, and stayed so: that was not the helper")
	}

	w = newSplitWorld(policed(1e6))
	for w.tried == 0 {
		w.run(refreshEvery)
	}
	w.look.full, w.rate = false, policed(0)
	w.run(30 * time.Second)
	if len(w.s.members) != 0 || w.s.patience != 0 {
		t.Errorf("the transfer ended in the trial: members %v, patience %v", w.s.members, w.s.patience)
	}
	w.look.full, w.rate = true, policed(1e6)
	if w.run(8 * time.Second); len(w.s.members) != 2 {
		t.Error("the next transfer does not show what the last had no time for")
	}

	w = newSplitWorld(policed(1e6))
	w.look.crowded = true
	if w.run(time.Minute); w.tried != 0 {
		t.Error("a trial beside a neighbour")
	}
	w = newSplitWorld(policed(1e6))
	for w.now < time.Minute {
		w.look.full = w.now/refreshEvery%2 == 0
		w.run(refreshEvery)
	}
	if w.tried != 0 {
		t.Error("a trial though the group is full half of the time only")
	}
}

// A split ends with the set of paths, and when the members carry no more than one did.
func TestSplitEnds(t *testing.T) {
	w := newSplitWorld(policed(1e6))
	if w.run(10 * time.Second); len(w.s.members) != 2 {
		t.Fatalf("members %v", w.s.members)
	}
	w.look.eligible = []PathID{0, 1, 2}
	if w.run(refreshEvery); len(w.s.members) != 0 {
		t.Error("still split though there is a new path")
	}
	if w.run(10 * time.Second); len(w.s.members) != 2 {
		t.Error("not found again with the new path")
	}
	w.rate = shared(1e6)
	if w.run(30 * time.Second); len(w.s.members) != 0 {
		t.Error("still split on what has become a shared line")
	}
	if w.s.patience < splitPatience {
		t.Error("the next trial follows at once")
	}
}
