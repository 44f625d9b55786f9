package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Mishaps that were found once, each in its smallest form.

// known sets what a path has learned: a rate in bytes/s, and a one-way delay of which the round trip is twice.
func (p *Path) known(rate float64, delay time.Duration) {
	p.rtt = rttEstimator{latest: 2 * delay, smoothed: 2 * delay, variance: delay / 8, samples: 9}
	p.out.has, p.out.mean, p.out.high = true, delay, delay
	p.learnRate(0, rate, 2*delay)
}

// two is a Bond with a fast and a slow path that knows both.
func two(t *testing.T, mtu0, mtu1 int) (*owner, *Path, *Path) {
	t.Helper()
	b := New(Config{}, rand.New(rand.NewPCG(1, 1)))
	p := b.AddPath(0, 0, PathConfig{Group: 0, MTU: mtu0})
	q := b.AddPath(0, 1, PathConfig{Group: 1, MTU: mtu1})
	for i, x := range []*Path{p, q} {
		b.Proven(0, x)
		x.known(6.25e6, time.Duration(10+20*i)*ms)
		x.probeAt = probeIdle
	}
	b.refresh(0)
	return &owner{t: t, b: b}, p, q
}

// While everything is down, a copy that was being considered must not keep the owner awake.
func TestAllPathsLostWhileACopyIsDue(t *testing.T) {
	o, p, q := two(t, 1472, 1472)
	o.b.Enqueue(0, 1, Ordered, 1, 1000, false)
	o.turn()
	if o.b.copyAt == Never {
		t.Fatal("no copy is being considered")
	}
	o.now = ms
	o.b.Fail(o.now, p)
	o.b.Fail(o.now, q)
	for range 10 {
		o.now = o.b.Deadline()
		o.turn()
		if d := o.b.Deadline(); d <= o.now {
			t.Fatalf("at %v the deadline is %v", o.now, d)
		}
	}
}

// A session that has one path only forgets its flows, too: there are 65,536 numbers.
func TestFlowsAreForgottenOnASinglePath(t *testing.T) {
	o, p, q := two(t, 1472, 1472)
	o.b.Close(0, q)
	for i := range 50 {
		o.b.Enqueue(o.now, FlowKey(i), Ordered, Handle(i), 100, false)
		pn := p.NextPN()
		o.turn()
		o.now += 20 * ms
		o.onAck(Ack{Path: 0, Owd: 10 * ms, Ranges: []Range{{pn, p.NextPN() - 1}}})
		o.turn()
	}
	o.now += flowIdle + expireEvery
	o.turn()
	o.now += expireEvery
	o.turn()
	if n := len(o.b.byID); n > 0 {
		t.Errorf("%d of 50 flows are still known", n)
	}
}

// A packet that no path takes any more must not stand in front of its flow for ever.
func TestAPacketTooLongForWhatIsLeft(t *testing.T) {
	o, p, q := two(t, 1472, 1252)
	freed := map[Handle]int{}
	o.freed = func(h Handle) { freed[h]++ }
	o.b.Enqueue(0, 1, Ordered, 1, 1400, false)
	o.turn() // outstanding on path 0
	o.b.Fail(0, p)
	o.b.Enqueue(0, 1, Ordered, 2, 1400, false)
	o.b.Enqueue(0, 1, Ordered, 3, 1000, false)
	sent := 0
	o.out = func(l *letter) {
		if len(l.grants) > 0 {
			sent++
		}
	}
	for range 300 {
		o.until(o.now + 10*ms)
		if n := q.NextPN(); n > 0 && q.inflight > 0 {
			o.onAck(Ack{Path: 1, Owd: 30 * ms, Ranges: []Range{{0, n - 1}}})
		}
	}
	if sent != 1 || freed[1] != 1 || freed[2] != 1 || freed[3] != 1 {
		t.Errorf("%d packets sent, freed %v", sent, freed)
	}
	if err := o.b.checkAccounts(); err != nil {
		t.Error(err)
	}
}

// What the session said on a path that was suspect counts as lost when the path goes down.
func TestAFactSentWhileSuspectIsNotForgotten(t *testing.T) {
	o, p, _ := two(t, 1472, 1472)
	var lost []uint64
	o.control = func(name uint64, acked bool) {
		if !acked {
			lost = append(lost, name)
		}
	}
	o.b.Fail(0, p)
	o.b.Record(0, p, Datagram{Size: 60, Eliciting: true, Unpaced: true, Chunks: []Chunk{{Kind: ChunkControl, Seq: 7}}})
	o.until(downAfter)
	if p.State() != Down || len(lost) != 1 || lost[0] != 7 {
		t.Errorf("path %v, lost %v", p.State(), lost)
	}
}

// A path that is down for a day is probed all day; what it remembers of that is bounded.
func TestADeadPathKeepsNoRecords(t *testing.T) {
	o, p, _ := two(t, 1472, 1472)
	o.b.Fail(0, p)
	for range 500 {
		o.now += probeMax
		o.turn()
	}
	if n := p.log.next - p.log.base; n > 64 {
		t.Errorf("%d records", n)
	}
}

// The large packet behind a small one that CoDel drops does not go where only the small one fits.
func TestTheNextPacketIsPlacedAnew(t *testing.T) {
	o, p, q := two(t, 1252, 1472)
	o.granted = func(_ *Path, g *Grant) {
		if err := o.b.checkGrant(o.now, g); err != nil {
			t.Error(err)
		}
	}
	p.ctl.SetMaxRate(200_000)
	q.ctl.SetMaxRate(200_000) // half of what comes
	h := Handle(0)
	for range 1000 {
		for range 2 {
			o.b.Enqueue(o.now, 1, Unordered, h, []int{200, 200, 200, 200, 1400}[h%5], false)
			h++
		}
		o.turn()
		for _, x := range []*Path{p, q} {
			if n := x.NextPN(); n > 0 && x.inflight > 0 {
				o.onAck(Ack{Path: x.ID, Owd: x.out.mean, Ranges: []Range{{0, n - 1}}})
			}
		}
		o.now += ms
	}
	if o.b.queue.drops == 0 {
		t.Error("CoDel has dropped nothing: the test is void")
	}
}

// Waiting stream bytes are not packets: they do not count towards the limit, and are never dropped.
func TestStreamsDoNotOverflowTheQueue(t *testing.T) {
	b := New(Config{QueueLimit: 10_000}, rand.New(rand.NewPCG(1, 1)))
	b.Offer(0, 9, 1<<20, 1<<20, true)
	for i := range 9 {
		b.Enqueue(0, 1, Unordered, Handle(i), 1000, false)
	}
	if n := len(b.Freed()); n != 0 {
		t.Errorf("%d packets dropped below the limit", n)
	}
	b.Enqueue(0, 1, Unordered, 10, 1400, false)
	if f := b.Freed(); len(f) != 1 || f[0] != 0 {
		t.Errorf("dropped %v", f)
	}
}

// A piece that was cut for a large path and is lost is cut again for a smaller one.
func TestAStreamPieceFitsWhereItIsRepaired(t *testing.T) {
	for _, mtu := range []int{700, 1249, 1250, 1251, 1252, 1460} {
		o, p, _ := two(t, 1472, mtu)
		o.granted = func(_ *Path, g *Grant) {
			if err := o.b.checkGrant(o.now, g); err != nil {
				t.Errorf("mtu %d: %v", mtu, err)
			}
		}
		o.b.Offer(0, 9, 1217+1434, 1<<20, true)
		p.SetMTU(1217 + streamOverhead)
		o.turn()
		sent := 0
		o.out = func(l *letter) {
			for _, g := range l.grants {
				sent += g.Size
			}
		}
		o.b.Fail(0, p)
		o.until(100 * ms)
		if sent != 1217+1434 {
			t.Errorf("mtu %d: %d bytes sent again", mtu, sent)
		}
	}
}

// A packet that is delivered at once may come after the SKIP that gave it up, while something before it is missing.
func TestAtOnceAfterItWasGivenUp(t *testing.T) {
	o := newOrder(t)
	o.push(0)
	o.push(3)
	o.want(0)
	o.Skip(o.now, 1, 2, 1)
	for i, want := range []Drop{Taken, DropReplay} {
		if d := o.PushAtOnce(o.now, 1, 2, 2); d != want {
			t.Errorf("copy %d: %v, want %v", i, d, want)
		}
	}
	o.want(2)
	o.push(1)
	o.want(1, 3)
}

// The fastest path of a group does not lead it while it takes less than a full packet and another takes one.
func TestLeaderTakesFullPackets(t *testing.T) {
	o, p, q := two(t, 1200, 1472)
	q.Config.Group = p.Config.Group
	for _, c := range []struct {
		full int
		want *Path
	}{{1000, p}, {1472, q}, {1500, p}} { // 1500: neither does
		o.b.SetFull(c.full)
		o.b.hasLeader[p.Config.Group] = false
		o.b.refresh(o.now)
		if len(o.b.active) != 1 || o.b.active[0] != c.want {
			t.Errorf("full packets of %d: path %d leads, want %d", c.full, o.b.active[0].ID, c.want.ID)
		}
	}
}
