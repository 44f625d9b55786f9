package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

// After a turn the deadline lies ahead, whatever happened before and however late the turn was: otherwise the engine
// would spin. Here the schedule is wild and the peer makes no sense, but sends only what is well formed.
func TestDeadlineLiesAhead(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 8))
		o := &owner{t: t, b: New(Config{Policy: Policy(rng.IntN(3))}, rand.New(rand.NewPCG(seed, 1)))}
		for i := range 1 + rng.IntN(4) {
			p := o.b.AddPath(0, PathID(i), PathConfig{Group: uint8(rng.IntN(3)), Backup: rng.IntN(4) == 0, Metered: rng.IntN(3) == 0, MTU: 1472})
			o.b.Proven(0, p)
		}
		for step := range 1500 {
			o.now = later(rng, o.now, o.b.Deadline())
			p := o.b.Paths()[rng.IntN(len(o.b.Paths()))]
			nonsense(o, rng, p, Handle(step))
			o.turn()
			if d := o.b.Deadline(); d <= o.now {
				t.Fatalf("seed %d step %d: at %v the deadline is %v", seed, step, o.now, d)
			}
			if err := o.b.checkAccounts(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
	}
}

// later is the time of the next turn: at once, in time, early or late.
func later(rng *rand.Rand, now, deadline time.Duration) time.Duration {
	switch rng.IntN(8) {
	case 0:
		return now
	case 1:
		return now + time.Duration(rng.Int64N(int64(ms)))
	case 2:
		return deadline + time.Duration(rng.Int64N(int64(50*ms)))
	case 3:
		if rng.IntN(20) == 0 {
			return now + time.Duration(rng.Int64N(int64(10*time.Second))) // the host slept
		}
	}
	return deadline
}

// nonsense does one thing that the contract allows.
func nonsense(o *owner, rng *rand.Rand, p *Path, h Handle) {
	b := o.b
	switch rng.IntN(12) {
	case 0, 1, 2:
		for range rng.IntN(20) {
			b.Enqueue(o.now, FlowKey(rng.IntN(5)), Class(rng.IntN(3)), h, 40+rng.IntN(1400), rng.IntN(2) == 0)
		}
	case 3, 4, 5, 6:
		if n := p.NextPN(); n > 0 {
			last := n - 1 - uint64(rng.Int64N(int64(min(n, 5))))
			first := last - uint64(rng.Int64N(int64(min(last+1, 60))))
			a := Ack{Path: p.ID, Delay: time.Duration(rng.Int64N(int64(time.Second))), CE: uint64(rng.IntN(100)), Ranges: []Range{{first, last}}}
			a.Owd = time.Duration(rng.Int64N(int64(time.Second))) - 500*ms
			o.onAck(a)
		}
	case 7:
		b.Received(o.now, o.now, p, uint64(rng.IntN(2000)), 1000, time.Duration(rng.Int64N(int64(time.Second))), rng.IntN(3) > 0, uint8(rng.IntN(4)))
	case 8:
		if rng.IntN(3) == 0 {
			b.Fail(o.now, p)
		}
	case 9:
		if rng.IntN(4) == 0 {
			b.Revalidate(o.now, p)
		}
		b.Proven(o.now, p)
	case 10:
		b.SetTerms(o.now, p, Terms{Backup: rng.IntN(2) == 0})
	case 11:
		b.Offer(o.now, FlowKey(100+rng.IntN(2)), rng.IntN(50_000), rng.IntN(50_000), rng.IntN(2) == 0)
	}
}
