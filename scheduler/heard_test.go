package scheduler

import (
	"slices"
	"testing"
	"time"
)

// A busy path that falls silent has its acknowledgement repeated once; a sparse one has not.
func TestSilenceIsRetold(t *testing.T) {
	m := newMailbox(t, 20*ms)
	m.retellAt, m.holeAt = Never, Never
	b := New(Config{}, nil)
	p := &Path{}
	for round, n := range []int{quietRun - 1, quietRun, quietRun + 5} {
		m.now += quietAfter + ms // the last round is over
		for range n {
			m.get(0, 0)
			m.now += ms
		}
		if due := m.retellAt != Never; due != (round > 0) {
			t.Fatalf("after %d datagrams it will be retold: %v", n, due)
		}
		for _, wait := range []struct {
			to   time.Duration
			want bool
		}{{quietAfter - 2*ms, false}, {ms, round > 0}, {quietAfter, false}} {
			m.now += wait.to
			m.quiet(m.now)
			p.in = m.inbound
			if got := b.RetellDue(p); got != wait.want {
				t.Errorf("after %d datagrams and some silence: due %v, want %v", n, got, wait.want)
			}
			m.inbound = p.in
		}
	}
}

// What is missing on a path that is far slower than another is told of there, once as many have come after it as make it lost.
func TestHolesOfASlowPathAreToldElsewhere(t *testing.T) {
	o, p, q := two(t, 1472, 1472)
	q.known(6.25e6, 2*(holeGain+20*ms))
	o.now = time.Second
	var pn [2]uint64
	get := func(x *Path, skip uint64, n int) {
		pn[x.ID] += skip
		for range n {
			o.b.Received(o.now, o.now, x, pn[x.ID], 1000, 7*ms, true, 0)
			pn[x.ID]++
		}
	}
	due := func(x *Path) bool {
		o.b.Advance(o.now)
		return o.b.RetellDue(x)
	}
	for _, c := range []struct {
		what string
		x    *Path
		skip uint64
		n    int
		wait time.Duration
		want bool
	}{
		{"in order", q, 0, 5, 0, false},
		{"two after the hole", q, 1, 2, 0, false},
		{"the third after it", q, 0, 1, 0, true},
		{"told once", q, 0, 5, holeGap, false},
		{"another hole", q, 1, 3, 0, true},
		{"one right behind it", q, 3, 3, 0, false},
		{"that one, later", q, 0, 0, holeGap, true},
		{"the fast path", p, 0, 3, 0, false},
		{"a hole there", p, 2, 10, 0, false},
	} {
		o.now += c.wait
		get(c.x, c.skip, c.n)
		if got := due(c.x); got != c.want {
			t.Errorf("%s: to be told of %v, want %v", c.what, got, c.want)
		}
	}
}

// eightSent is two with eight packets of one flow in flight on the fast path.
func eightSent(t *testing.T) (*owner, *Path, *Path) {
	t.Helper()
	o, p, q := two(t, 1472, 1472)
	for i := range 8 {
		o.b.Enqueue(0, 1, Ordered, Handle(i), 1000, false)
	}
	for range 12 { // pacing
		o.turn()
		o.now += 200 * us
	}
	if pn := p.NextPN(); pn != 8 {
		t.Fatalf("%d of 8 are on the fast path", pn)
	}
	return o, p, q
}

// The sender repairs a hole that it is told of by another path, and keeps its books of the path as they were until that one speaks for itself.
func TestHolesAreRepairedWhenToldOf(t *testing.T) {
	o, p, q := eightSent(t)
	told := Ack{Path: 0, Retold: true, Owd: 10 * ms, Ranges: []Range{{7, 7}, {3, 5}, {1, 1}}} // 6 may come yet; of 0 it says nothing
	for range 2 {
		o.onAck(told)
		if p.hasAcked || p.Stats.AckedDatagrams != 0 || p.Stats.LostDatagrams != 0 {
			t.Fatalf("%d acknowledged, %d lost: the books have changed", p.Stats.AckedDatagrams, p.Stats.LostDatagrams)
		}
		for range 6 {
			o.turn()
			o.now += 200 * us
		}
		if n := p.Stats.RetransmittedFrames + q.Stats.RetransmittedFrames; n != 1 {
			t.Errorf("%d were sent again, want 1", n)
		}
	}
	o.now += 15 * ms
	o.onAck(Ack{Path: 0, Owd: 10 * ms, Ranges: []Range{{3, 8}, {0, 1}}})
	if p.Stats.LostDatagrams != 1 {
		t.Errorf("%d lost in the books, want 1", p.Stats.LostDatagrams)
	}
	if n := p.Stats.RetransmittedFrames + q.Stats.RetransmittedFrames; n != 1 {
		t.Errorf("%d were sent again, want 1", n)
	}
}

// What a path had delivered before it died need not be sent again, if another path tells so; and of the dead one nothing else is believed.
func TestRetoldDataAreNotSentAgain(t *testing.T) {
	o, p, q := eightSent(t)
	told := Ack{Path: 0, Retold: true, Owd: 10 * ms, Ranges: []Range{{0, 5}}}
	inflight := p.inflight
	o.b.Fail(o.now, p)
	o.onAck(told)
	if p.state != Suspect || p.inflight != inflight || p.hasAcked {
		t.Errorf("the path is %v with %d bytes in flight, as if it had answered", p.state, p.inflight)
	}
	before := q.Stats.RetransmittedFrames
	for range 12 {
		o.turn()
		o.now += 200 * us
	}
	if n := q.Stats.RetransmittedFrames - before; n != 2 {
		t.Errorf("%d were sent again, want the 2 that have not arrived", n)
	}
}

// What is repaired first when a path dies is a guess. Once the peer has told what it has got, the rest goes out in its order: everything waits for the first.
func TestRepairsAreInOrderOnceTold(t *testing.T) {
	o, p, _ := eightSent(t)
	for pn := range uint64(8) {
		p.log.at(pn).at = time.Duration(pn) * ms
	}
	o.b.suspect(o.now, p, 4*ms)
	f := o.b.byKey[1]
	waiting := func() (seqs []uint64) {
		for i := range f.retx.len() {
			if seq := *f.retx.at(i); f.outAt(seq) != nil && !f.outAt(seq).done {
				seqs = append(seqs, seq)
			}
		}
		return seqs
	}
	if got := waiting(); !slices.Equal(got, []uint64{5, 6, 7, 0, 1, 2, 3, 4}) {
		t.Errorf("the order is %v, want what was sent last before the older", got)
	}
	o.b.heard(o.now, p, Ack{Path: 0, Retold: true, Ranges: []Range{{0, 2}}})
	if got := waiting(); !slices.Equal(got, []uint64{3, 4, 5, 6, 7}) {
		t.Errorf("told of 0 to 2 the order is %v", got)
	}
}
