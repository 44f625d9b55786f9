package scheduler

import "time"

// Release timing of a hole in an ordered flow (research/transport.md §2).
const (
	// holdMax bounds how long a hole holds later packets back beyond the round trip of the fastest path, which the inner
	// sender waits for anyway. A Linux sender's RTO is at least 200 ms above its smoothed round trip, so that a hold below
	// that cannot cause one.
	holdMax = 150 * time.Millisecond
	// holdSlack covers the acknowledgement delay and timers of the repair.
	holdSlack = ackDelayMax + 15*time.Millisecond
	// reorderIdle: a flow without packets for so long is forgotten. Longer than the sender's flowIdle.
	reorderIdle = 60 * time.Second
	// reorderSpan is how far beyond the next expected packet a sequence number may lie: half the 16-bit space, less what
	// may arrive late.
	reorderSpan = 1 << 14
	// lateSpan is how far back a packet that was passed over may still come: 200 ms at 100 Mb/s.
	lateSpan = 2048
)

// Drop says why a received packet was not taken. Zero means it was.
type Drop uint8

const (
	Taken        Drop = iota
	DropReplay        // the packet was delivered before, or is held already
	DropTooFar        // its number is out of range
	DropPoolFull      // the reorder pool is full
)

func (d Drop) String() string {
	return [...]string{"taken", "duplicate", "out of range", "pool full"}[d]
}

// held is a place in an ordered flow's sequence.
type held struct {
	present bool
	gone    bool // the sender gave it up, or it was delivered before its turn
	early   bool // the latter
	handle  Handle
	size    int32
	at      time.Duration
}

// orderedFlow is the receiving side of one ordered flow.
type orderedFlow struct {
	id    uint16
	next  uint64 // the packet to release next
	top   uint64 // one past the highest number seen
	ring  []held // packets [next, top), by number
	count int    // of them present
	last  time.Duration
	// filled is when a hole was last filled by an arrival: repairs are coming in, and the inner sender hears of each.
	filled time.Duration
	due    time.Duration // when the present hole is passed over; Never without one
	// missed holds a bit for each of the lateSpan numbers below next: released without having arrived.
	missed [lateSpan / 64]uint64
	slot   int
}

// Reorder releases the packets of ordered flows in order, each flow for itself.
type Reorder struct {
	flows    []*orderedFlow // by slot, nil where free
	free     []int
	byID     map[uint16]*orderedFlow
	ready    fifo[Handle]
	bytes    int
	limit    int
	nextDue  time.Duration
	expireAt time.Duration
	hold     time.Duration
	Stats    ReorderStats
}

// ReorderStats counts since the session began.
type ReorderStats struct {
	InOrder, Held, Late, Duplicates, TooFar, PoolFull uint64
	AtOnce                                            uint64
	TimedOut                                          uint64 // holes passed over by the timer
	Skipped                                           uint64 // holes the sender gave up
	MaxHeldBytes                                      uint64
}

// defaultReorderPool bounds the bytes held for all ordered flows of a session: 110 Mb/s of links for a second.
const defaultReorderPool = 16 << 20

// NewReorder makes one that holds at most limit bytes, or the default for 0.
func NewReorder(limit int) *Reorder {
	if limit == 0 {
		limit = defaultReorderPool
	}
	return &Reorder{byID: map[uint16]*orderedFlow{}, limit: limit, nextDue: Never, hold: holdMax}
}

// SetHold derives the hold time from the paths in use: the spread of their delays, and the time in which the sender
// hears of a loss and repairs it on the fastest.
func (r *Reorder) SetHold(spread, fastRTT time.Duration) {
	r.hold = min(spread+fastRTT+fastRTT/4+holdSlack, fastRTT+holdMax)
}

// Push takes packet seq (low 16 bits) of flow id, of size bytes. Unless it returns Taken, the handle stays the
// caller's. Taken ones come back from Pop.
func (r *Reorder) Push(now time.Duration, id, seq16 uint16, h Handle, size int) Drop {
	f := r.flow(now, id)
	f.last = now
	seq, ok := f.expand(seq16)
	if !ok {
		r.Stats.TooFar++
		return DropTooFar
	}
	if seq < f.next {
		// Released without it; TCP can still use it.
		return r.pushLate(f, seq, h)
	}
	if seq == f.next && f.count == 0 && f.top <= seq+1 {
		f.pass(true)
		f.top = max(f.top, f.next)
		r.Stats.InOrder++
		r.ready.push(h)
		return Taken
	}
	// The one that everything waits for is never refused: it makes room.
	if seq != f.next && r.bytes+size > r.limit {
		r.Stats.PoolFull++
		return DropPoolFull
	}
	f.reach(seq)
	if seq == f.next && f.count > 0 {
		f.filled = now
	}
	e := f.at(seq)
	if e.present || e.early {
		r.Stats.Duplicates++
		return DropReplay
	}
	*e = held{present: true, handle: h, size: int32(size), at: now}
	f.count++
	r.bytes += size
	r.Stats.Held++
	r.Stats.MaxHeldBytes = max(r.Stats.MaxHeldBytes, uint64(r.bytes))
	r.run(now, f)
	return Taken
}

// PushAtOnce takes a packet that is to be delivered without waiting for those before it, once.
func (r *Reorder) PushAtOnce(now time.Duration, id, seq16 uint16, h Handle) Drop {
	f := r.flow(now, id)
	f.last = now
	seq, ok := f.expand(seq16)
	if !ok {
		r.Stats.TooFar++
		return DropTooFar
	}
	if seq < f.next {
		return r.pushLate(f, seq, h)
	}
	f.reach(seq)
	if e := f.at(seq); e.present || e.early {
		r.Stats.Duplicates++
		return DropReplay
	}
	// Its place is settled: nothing behind it waits for it.
	f.at(seq).gone, f.at(seq).early = true, true
	r.Stats.AtOnce++
	r.ready.push(h)
	r.run(now, f)
	return Taken
}

// pushLate takes a packet that was passed over, if it has not been there before.
func (r *Reorder) pushLate(f *orderedFlow, seq uint64, h Handle) Drop {
	back := f.next - 1 - seq
	word, bit := f.missedBit(seq)
	if back >= lateSpan || *word&bit == 0 {
		r.Stats.Duplicates++
		return DropReplay
	}
	*word &^= bit
	r.Stats.Late++
	r.ready.push(h)
	return Taken
}

// Skip notes that the sender gave up count packets from seq16 on.
func (r *Reorder) Skip(now time.Duration, id, seq16, count uint16) {
	f := r.byID[id]
	if f == nil || count > reorderSpan {
		return
	}
	for i := range count {
		seq, ok := f.expand(seq16 + i)
		if !ok || seq < f.next {
			continue
		}
		f.reach(seq)
		if e := f.at(seq); !e.present {
			e.gone = true
		}
	}
	r.run(now, f)
}

// Pop returns the next released packet.
func (r *Reorder) Pop() (Handle, bool) {
	if r.ready.len() == 0 {
		return 0, false
	}
	return r.ready.pop(), true
}

// Deadline is when a hole is passed over.
func (r *Reorder) Deadline() time.Duration { return r.nextDue }

// Bytes is what is held now.
func (r *Reorder) Bytes() int { return r.bytes }

// Advance passes over the holes whose time has come.
func (r *Reorder) Advance(now time.Duration) {
	if now >= r.expireAt {
		r.expire(now)
	}
	if now < r.nextDue {
		return
	}
	for _, f := range r.flows {
		for f != nil && f.due <= now {
			for f.next < f.top && !f.at(f.next).present {
				*f.at(f.next) = held{}
				r.Stats.TimedOut++
				f.pass(false)
			}
			r.run(now, f)
		}
	}
	r.findDue()
}

// run releases what is in order now and times the hole that remains.
func (r *Reorder) run(now time.Duration, f *orderedFlow) {
	for f.next < f.top {
		e := f.at(f.next)
		switch {
		case e.present:
			r.ready.push(e.handle)
			r.bytes -= int(e.size)
			f.count--
			*e = held{}
			f.pass(true)
			continue
		case e.gone:
			early := e.early
			*e = held{}
			if !early {
				r.Stats.Skipped++
			}
			f.pass(early)
			continue
		}
		break
	}
	was := f.due
	f.due = Never
	if f.count > 0 {
		// The first packet behind the hole has waited since it arrived. While one hole after the other is filled, as after the loss of a
		// path, that is no reason to pass over those that are still to come.
		for seq := f.next; seq < f.top; seq++ {
			if e := f.at(seq); e.present {
				f.due = max(e.at, f.filled) + r.hold
				break
			}
		}
	}
	if f.due < r.nextDue {
		r.nextDue = f.due
	} else if was == r.nextDue && f.due != was {
		r.findDue()
	}
}

func (r *Reorder) findDue() {
	r.nextDue = Never
	for _, f := range r.flows {
		if f != nil {
			r.nextDue = min(r.nextDue, f.due)
		}
	}
}

func (r *Reorder) flow(now time.Duration, id uint16) *orderedFlow {
	if f := r.byID[id]; f != nil {
		return f
	}
	f := &orderedFlow{id: id, due: Never, last: now}
	if n := len(r.free); n > 0 {
		f.slot = r.free[n-1]
		r.free = r.free[:n-1]
		r.flows[f.slot] = f
	} else {
		f.slot = len(r.flows)
		r.flows = append(r.flows, f)
	}
	r.byID[id] = f
	return f
}

// expire forgets silent flows that hold nothing.
func (r *Reorder) expire(now time.Duration) {
	r.expireAt = now + expireEvery
	for i, f := range r.flows {
		if f != nil && f.count == 0 && now-f.last > reorderIdle {
			delete(r.byID, f.id)
			r.flows[i] = nil
			r.free = append(r.free, i)
		}
	}
}

// expand reconstructs a sequence number from its low 16 bits, nearest to what is expected.
func (f *orderedFlow) expand(low uint16) (uint64, bool) {
	d := int64(int16(low - uint16(f.next)))
	seq := int64(f.next) + d
	if seq < 0 || d >= reorderSpan {
		return 0, false
	}
	return uint64(seq), true
}

func (f *orderedFlow) at(seq uint64) *held { return &f.ring[seq&uint64(len(f.ring)-1)] }

// reach makes room up to and including seq.
func (f *orderedFlow) reach(seq uint64) {
	need := seq + 1 - f.next
	if need > uint64(len(f.ring)) {
		n := max(64, len(f.ring))
		for uint64(n) < need {
			n *= 2
		}
		grown := make([]held, n)
		for s := f.next; s < f.top; s++ {
			grown[s&uint64(n-1)] = *f.at(s)
		}
		f.ring = grown
	}
	f.top = max(f.top, seq+1)
}

// pass moves the expectation on by one; arrived says whether that packet was delivered.
func (f *orderedFlow) pass(arrived bool) {
	word, bit := f.missedBit(f.next)
	if arrived {
		*word &^= bit
	} else {
		*word |= bit
	}
	f.next++
}

func (f *orderedFlow) missedBit(seq uint64) (word *uint64, bit uint64) {
	return &f.missed[seq%lateSpan/64], 1 << (seq % 64)
}
