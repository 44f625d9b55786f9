package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

// In steady state a packet costs no garbage on its whole way: enqueue, grant, record, acknowledgement received and
// acknowledgement sent.
func TestNoGarbageInSteadyState(t *testing.T) {
	for name, class := range map[string]Class{"ordered": Ordered, "unordered": Unordered, "loose": Loose, "stream": Stream} {
		b := New(Config{}, rand.New(rand.NewPCG(1, 1)))
		for i := range 3 {
			p := b.AddPath(0, PathID(i), PathConfig{Group: uint8(i), MTU: 1472})
			b.Proven(0, p)
			p.known(6.25e6, time.Duration(5+10*i)*ms)
		}
		b.refresh(0)
		var (
			now    time.Duration
			ranges [2]Range
			chunks [1]Chunk
			sent   int
		)
		turn := func() {
			now += ms
			if class == Stream {
				b.Offer(now, 1, 30_000, 1<<24, true)
			} else {
				for i := range 16 {
					b.Enqueue(now, FlowKey(i&1), class, Handle(i), 1000, false)
				}
			}
			b.Advance(now)
			for g, ok := b.Next(now); ok; g, ok = b.Next(now) {
				d := Datagram{Size: g.Size + overhead, Eliciting: true}
				if g.Ordered || g.Stream {
					chunks[0] = g.Chunk()
					d.Chunks = chunks[:]
				}
				b.Record(now, g.Path, d)
				sent++
			}
			for i, p := range b.Paths() {
				b.ProbeDue(now, p)
				// Of ten datagrams one is reported in the ACK after the next, so that something is lost, and late.
				n := p.NextPN()
				if n < 40 {
					continue
				}
				ranges[0], ranges[1] = Range{n - n%10, n - 1}, Range{0, n - n%10 - 2}
				if n%10 == 0 {
					ranges[0] = ranges[1]
				}
				if err := b.OnAck(now, Ack{Path: p.ID, Owd: time.Duration(5+10*i) * ms, Ranges: ranges[:]}); err != nil {
					t.Fatal(err)
				}
				b.Received(now, now, p, n, 1000, 5*ms, true, 0)
				if b.AckDue(now, p) {
					b.TakeAck(now, p)
				}
			}
			b.Freed()
			b.Arrived()
			b.Changes()
			b.Control()
			for b.HasSkips() {
				b.NextSkip()
			}
			b.Deadline()
		}
		for range 3000 {
			turn()
		}
		was := sent
		if n := testing.AllocsPerRun(1000, turn); n > 0 {
			t.Errorf("%s: %v allocations per turn", name, n)
		}
		if sent-was < 5000 {
			t.Errorf("%s: only %d datagrams in 1000 turns", name, sent-was)
		}
	}
}

// The same for the receiving side: in order, and with a hole in front of everything.
func TestNoGarbageInReorder(t *testing.T) {
	r := NewReorder(0)
	var now time.Duration
	var seq uint16
	turn := func() {
		now += ms
		for _, d := range [...]uint16{0, 2, 3, 1, 4, 6, 7} {
			r.Push(now, 1, seq+d, 0, 1000)
		}
		r.Skip(now, 1, seq+5, 1)
		r.PushAtOnce(now, 1, seq+9, 0)
		r.PushAtOnce(now, 1, seq+8, 0)
		seq += 10
		for _, ok := r.Pop(); ok; _, ok = r.Pop() {
		}
		r.Advance(now)
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n > 0 {
		t.Errorf("%v allocations per turn", n)
	}
}
