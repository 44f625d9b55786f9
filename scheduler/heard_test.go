package scheduler

import (
	"testing"
	"time"
)

// A busy path that falls silent has its acknowledgement repeated once; a sparse one has not.
func TestSilenceIsRetold(t *testing.T) {
	m := newMailbox(t, 20*ms)
	m.retellAt = Never
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

// What a path had delivered before it died need not be sent again, if another path tells so; and of the dead one nothing else is believed.
func TestRetoldDataAreNotSentAgain(t *testing.T) {
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
	told := Ack{Path: 0, Retold: true, Owd: 10 * ms, Ranges: []Range{{0, 5}}}
	inflight := p.inflight
	o.onAck(told) // while the path is well this is none of its business
	if p.inflight != inflight || o.b.byKey[1].outAt(0).done {
		t.Error("what another path says of one that is well was believed")
	}
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
