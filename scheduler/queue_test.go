package scheduler

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// lone is a Bond with paths that never refuse: the queue alone decides.
func lone(t *testing.T, n int) *Bond {
	t.Helper()
	b := New(Config{}, rand.New(rand.NewPCG(1, 1)))
	for i := range n {
		p := b.AddPath(0, PathID(i), PathConfig{Group: uint8(i), MTU: 1472})
		b.Proven(0, p)
	}
	return b
}

// take grants one packet and takes it as arrived at once, so that window and pacing never stand in the way.
func take(t *testing.T, b *Bond, now time.Duration) (Grant, bool) {
	t.Helper()
	g, ok := b.Next(now)
	if ok && g.Ordered {
		f := b.byID[g.Flow]
		b.finish(f, f.outAt(g.Seq))
	}
	return g, ok
}

func TestFlowsShareByBytes(t *testing.T) {
	b := lone(t, 1)
	// One flow with large packets, one with small ones, both with plenty.
	for i := range 400 {
		b.Enqueue(0, 1, Ordered, Handle(i), 1400, false)
	}
	for i := range 2000 {
		b.Enqueue(0, 2, Ordered, Handle(1000+i), 200, false)
	}
	var got [2]int
	for range 1000 {
		g, ok := take(t, b, 0)
		if !ok {
			t.Fatal("nothing granted")
		}
		if g.Handle >= 1000 {
			got[1] += g.Size
		} else {
			got[0] += g.Size
		}
	}
	if r := float64(got[0]) / float64(got[1]); r < .9 || r > 1.1 {
		t.Errorf("shares %v", got)
	}
}

func TestNewFlowGoesFirst(t *testing.T) {
	b := lone(t, 1)
	for i := range 100 {
		b.Enqueue(0, 1, Ordered, Handle(i), 1400, false)
	}
	for range 5 {
		take(t, b, 0)
	}
	b.Enqueue(0, 2, Unordered, 500, 100, false)
	for i := range 3 {
		if g, _ := take(t, b, 0); g.Handle == 500 {
			return
		} else if i == 2 {
			t.Errorf("the new flow still waits behind %d", g.Handle)
		}
	}
}

func TestOverflowHitsTheFattestFlow(t *testing.T) {
	b := New(Config{QueueLimit: 10_000}, rand.New(rand.NewPCG(1, 1)))
	for i := range 6 {
		b.Enqueue(0, 1, Unordered, Handle(i), 1400, false)
	}
	b.Enqueue(0, 2, Unordered, 100, 1000, false)
	b.Enqueue(0, 2, Unordered, 101, 1000, false)
	freed := b.Freed()
	if len(freed) != 1 || freed[0] != 0 {
		t.Errorf("dropped %v, want the head of the fat flow", freed)
	}
	if b.Backlog() > 10_000 {
		t.Errorf("%d bytes wait", b.Backlog())
	}
}

func TestCodelDropsFromAStandingQueueAndMarksWhereItMay(t *testing.T) {
	for _, ect := range []bool{false, true} {
		b := lone(t, 1)
		var now time.Duration
		h, dropped, marked := Handle(0), 0, 0
		for range 50 {
			b.Enqueue(now, 1, Unordered, h, 1000, ect)
			h++
		}
		// One packet in, one out, each millisecond: the queue stands at 50 ms.
		for range 2000 {
			now += ms
			b.Enqueue(now, 1, Unordered, h, 1000, ect)
			h++
			g, _ := take(t, b, now)
			if g.Mark {
				marked++
			}
		}
		dropped = int(b.queue.drops)
		if ect && (marked < 10 || dropped > 0) || !ect && (dropped < 10 || marked > 0) {
			t.Errorf("ect %v: %d dropped, %d marked", ect, dropped, marked)
		}
	}
}

// Sojourn below the target is never punished.
func TestCodelLeavesAShortQueueAlone(t *testing.T) {
	b := lone(t, 1)
	var now time.Duration
	for i := range 5000 {
		now += ms
		b.Enqueue(now, 1, Unordered, Handle(i), 1000, false)
		take(t, b, now)
	}
	if b.queue.drops != 0 {
		t.Errorf("%d drops", b.queue.drops)
	}
}

// CoDel's target is no measure for a line on which one packet takes longer, nor for one whose holes are repaired all the time.
func TestTargetFollowsTheLine(t *testing.T) {
	target := func(change func(p *Path)) time.Duration {
		b := lone(t, 1)
		p := b.paths[0]
		p.rtt.update(50 * ms)
		p.ctl.Restart(0, 10e6)
		if change != nil {
			change(p)
		}
		f := b.flowFor(0, 1, Ordered)
		return b.limits(time.Minute, f).target
	}
	plain := target(nil)
	if plain != 10*ms+21500*us {
		t.Errorf("a fast clean line: %v", plain)
	}
	if d := target(func(p *Path) { p.loss = .01 }); d != plain+50*ms {
		t.Errorf("1 %% lost at a round trip of 50 ms: %v, want a round trip more", d)
	}
	thin := target(func(p *Path) {
		p.rtt = rttEstimator{}
		p.rtt.update(2 * time.Second) // the first window in 2 s: 24 kB/s
	})
	if want := seconds(thinBacklog * maxPacket / (32 * 1472 / 2.)); thin != want {
		t.Errorf("a thin line: %v, want four packets, %v", thin, want)
	}
}

// What the inner sender repeats goes ahead of a long backlog, in its own order, and behind a short one.
func TestRepeatedPacketsGoAheadOfALongBacklog(t *testing.T) {
	for _, c := range []struct {
		name   string
		wait   time.Duration
		bereft bool
		ahead  bool
	}{
		{"a short backlog", 50 * ms, false, false},
		{"a long one", longBacklog + ms, false, true},
		{"a short one after the loss of a path", 50 * ms, true, true},
	} {
		b := lone(t, 1)
		for i := range 10 {
			b.EnqueueData(0, 1, Ordered, Handle(i), 1000, false, uint32(1000*(i+1)))
		}
		if c.bereft {
			b.bereftTill = time.Second
		}
		b.EnqueueData(c.wait, 1, Ordered, 100, 1000, false, 1000)
		b.EnqueueData(c.wait, 1, Ordered, 101, 1000, false, 2000)
		b.EnqueueData(c.wait, 1, Ordered, 10, 1000, false, 11000)
		var got []Handle
		for range 2 {
			g, ok := take(t, b, c.wait)
			if !ok {
				t.Fatalf("%s: nothing granted", c.name)
			}
			got = append(got, g.Handle)
		}
		if ahead := slices.Equal(got, []Handle{100, 101}); ahead != c.ahead {
			t.Errorf("%s: first come %v", c.name, got)
		}
	}
}

// A repeat that goes ahead of its original comes in its place: the original is not carried as well, and its buffer is free at once.
func TestTheOriginalIsDroppedBehindItsRepeat(t *testing.T) {
	b := lone(t, 1)
	for i := range 6 {
		b.EnqueueData(0, 1, Ordered, Handle(i), 1000, false, uint32(1000*(i+1)))
	}
	wait := longBacklog + ms
	b.shrunkTill = time.Second
	b.EnqueueData(wait, 1, Ordered, 12, 1000, false, 3000)
	b.EnqueueData(wait, 1, Ordered, 15, 1000, false, 6000)
	b.EnqueueData(wait, 1, Ordered, 19, 1000, false, 500) // cut otherwise: none waits that ends there
	b.EnqueueData(wait, 1, Ordered, 14, 500, false, 5000) // half of one
	if freed := b.Freed(); !slices.Equal(freed, []Handle{2, 5}) {
		t.Errorf("freed are %v, want the originals", freed)
	}
	if b.Backlog() != 7500 {
		t.Errorf("%d bytes wait, want 7500", b.Backlog())
	}
	var got []Handle
	for range 10 {
		if g, ok := take(t, b, wait); ok {
			got = append(got, g.Handle)
		}
	}
	if !slices.Equal(got, []Handle{12, 15, 19, 14, 0, 1, 3, 4}) || b.Backlog() != 0 || b.queue.packets != 0 {
		t.Errorf("came %v, and %d bytes, %d packets are left", got, b.Backlog(), b.queue.packets)
	}
}

// Only a path that has carried some of the backlog leaves one behind when it dies, and none if it is back.
func TestWhichDeathsLeaveABacklog(t *testing.T) {
	for _, c := range []struct {
		far  time.Duration
		want bool
	}{{100 * ms, true}, {300 * ms, false}} {
		o, _, q := two(t, 1472, 1472)
		q.out.reset()
		q.out.update(c.far)
		o.b.Fail(0, q)
		if got := o.b.bereftTill > 0; got != c.want {
			t.Errorf("a path of %v has died: bereft is %v, want %v", c.far, got, c.want)
		}
		q.ackedSent = q.stateSince
		o.b.alive(0, q)
		if q.state != Up || o.b.bereftTill > 0 {
			t.Errorf("the path is %v again, and bereft until %v", q.state, o.b.bereftTill)
		}
	}
}

// After the death of a path what its sender repeats is not dropped once more, though it stands behind a short backlog.
func TestRepeatsAreSparedAfterADeath(t *testing.T) {
	for _, dead := range []bool{false, true} {
		b := lone(t, 1)
		if dead {
			b.shrunkTill = time.Hour
		}
		b.EnqueueData(0, 1, Ordered, 1, 1000, false, 1000)
		b.EnqueueData(0, 1, Ordered, 2, 1000, false, 1000)
		if got := b.byKey[1].q.at(1).spared; got != dead {
			t.Errorf("a path has died: %v; the repeat is spared: %v", dead, got)
		}
	}
}
