package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

// order is a Reorder with one flow, whose handles are the sequence numbers.
type order struct {
	t *testing.T
	*Reorder
	now time.Duration
}

func newOrder(t *testing.T) *order { return &order{t: t, Reorder: NewReorder(0)} }

func (o *order) push(seq int) Drop { return o.Push(o.now, 1, uint16(seq), Handle(seq), 100) }

func (o *order) want(seqs ...int) {
	o.t.Helper()
	for _, s := range seqs {
		if h, ok := o.Pop(); !ok || h != Handle(s) {
			o.t.Fatalf("at %v came %d (%v), want %d", o.now, h, ok, s)
		}
	}
	if h, ok := o.Pop(); ok {
		o.t.Fatalf("at %v came %d, want nothing", o.now, h)
	}
}

func (o *order) advance(d time.Duration) { o.now += d; o.Advance(o.now) }

func TestReorderReleasesInOrder(t *testing.T) {
	o := newOrder(t)
	o.push(0)
	o.want(0)
	o.push(2)
	o.push(3)
	o.want()
	o.push(1)
	o.want(1, 2, 3)
	if o.Bytes() != 0 || o.Deadline() != Never {
		t.Errorf("%d bytes held, deadline %v", o.Bytes(), o.Deadline())
	}
}

func TestReorderPassesOverAHoleInTime(t *testing.T) {
	o := newOrder(t)
	o.SetHold(10*ms, 20*ms)
	hold := 10*ms + 25*ms + holdSlack
	o.push(0)
	o.push(2)
	o.now += 5 * ms
	o.push(4)
	o.want(0)
	if d := o.Deadline(); d != hold {
		t.Fatalf("deadline %v, want %v", d, hold)
	}
	o.advance(hold - 5*ms)
	o.want(2)
	if d := o.Deadline(); d != 5*ms+hold {
		t.Fatalf("the second hole ends at %v, want %v", d, 5*ms+hold)
	}
	// The first one comes after all: TCP can still use it, once.
	o.push(1)
	o.want(1)
	if d := o.push(1); d != DropReplay {
		t.Errorf("the same again: %v", d)
	}
	o.advance(5 * ms)
	o.want(4)
}

func TestReorderHoldIsBounded(t *testing.T) {
	o := newOrder(t)
	o.SetHold(time.Second, 30*ms)
	o.push(1)
	if d := o.Deadline(); d != 30*ms+holdMax {
		t.Errorf("held until %v, want %v", d, 30*ms+holdMax)
	}
}

func TestReorderSkip(t *testing.T) {
	o := newOrder(t)
	o.push(3)
	o.Skip(o.now, 1, 0, 2)
	o.want()
	o.Skip(o.now, 1, 2, 1)
	o.want(3)
	// Ahead of the data, and across what arrives in between.
	o.Skip(o.now, 1, 5, 2)
	o.push(4)
	o.want(4)
	o.push(7)
	o.want(7)
	if o.Stats.Skipped != 5 || o.Stats.TimedOut != 0 {
		t.Errorf("%+v", o.Stats)
	}
}

func TestReorderRefusesDuplicatesAndTheFarFuture(t *testing.T) {
	o := newOrder(t)
	o.push(0)
	o.push(2)
	for _, c := range []struct {
		seq  int
		want Drop
	}{{0, DropReplay}, {2, DropReplay}, {reorderSpan + 5, DropTooFar}, {1, Taken}} {
		if d := o.push(c.seq); d != c.want {
			t.Errorf("push(%d) = %v, want %v", c.seq, d, c.want)
		}
	}
	o.want(0, 1, 2)
}

func TestReorderPoolIsBounded(t *testing.T) {
	o := &order{t: t, Reorder: NewReorder(1000)}
	for i := 1; i <= 10; i++ {
		if d := o.push(i); d != Taken {
			t.Fatalf("push(%d) = %v", i, d)
		}
	}
	if d := o.push(11); d != DropPoolFull {
		t.Errorf("over the pool: %v", d)
	}
	o.push(0)
	o.want(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
}

func TestReorderFlowsAreIndependent(t *testing.T) {
	o := newOrder(t)
	o.Push(0, 1, 1, 100, 1)
	o.Push(0, 2, 0, 200, 1)
	o.want(200)
}

// Against the obvious implementation: whatever the order of arrival, each number comes out at most once, those that were
// not passed over come in order, and the 16-bit numbers wrap.
func TestReorderAgainstOracle(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		o := newOrder(t)
		type arrival struct {
			at  time.Duration
			seq int
		}
		var as []arrival
		base := 0
		if seed%2 == 1 {
			base = 1<<16 - 200
			for i := range base {
				o.push(i)
				o.Pop()
			}
		}
		for i := range 600 {
			if rng.IntN(50) == 0 {
				continue
			}
			as = append(as, arrival{time.Duration(i)*ms + time.Duration(rng.IntN(40))*ms, base + i})
		}
		for i := range as {
			for j := i; j > 0 && as[j].at < as[j-1].at; j-- {
				as[j], as[j-1] = as[j-1], as[j]
			}
		}
		out := map[Handle]bool{}
		last := -1
		drain := func() {
			for h, ok := o.Pop(); ok; h, ok = o.Pop() {
				if out[h] {
					t.Fatalf("seed %d: %d came out twice", seed, h)
				}
				out[h] = true
				if int(h) < last {
					t.Fatalf("seed %d: %d after %d although nothing was late beyond the hold", seed, h, last)
				}
				last = int(h)
			}
		}
		for _, a := range as {
			for o.Deadline() <= a.at {
				o.now = o.Deadline()
				o.Advance(o.now)
				drain()
			}
			o.now = a.at
			o.push(a.seq)
			drain()
		}
		o.advance(time.Second)
		drain()
		if len(out) != len(as) {
			t.Fatalf("seed %d: %d of %d came out; %+v", seed, len(out), len(as), o.Stats)
		}
	}
}

// While repairs come in, one after the other, the holes behind them are not passed over; when they stop coming they are.
func TestHolesBeingRepairedAreWaitedFor(t *testing.T) {
	o := newOrder(t)
	o.SetHold(10*ms, 20*ms)
	hold := 10*ms + 25*ms + holdSlack
	o.push(0)
	for seq := 2; seq < 12; seq += 2 {
		o.push(seq)
	}
	o.want(0)
	for seq := 1; seq < 7; seq += 2 {
		o.advance(hold - ms)
		o.push(seq)
		o.want(seq, seq+1)
	}
	o.advance(hold - ms)
	o.want()
	o.advance(2 * ms)
	o.want(8, 10)
}
