package link

import (
	"math/rand/v2"
	"time"
)

// Verdict is what became of a packet handed to Send.
type Verdict uint8

const (
	// Queued: the packet will be delivered, unless an outage begins or the
	// link is cut while it waits.
	Queued Verdict = iota
	// Marked: as Queued, and the packet met a queue beyond MarkAbove: it
	// arrives with CE if it was sent with ECT. The caller keeps that bit.
	Marked
	DroppedQueue   // the queue was full
	DroppedLoss    // lost behind the queue; it uses the link's capacity
	DroppedOutage  // the link was cut
	DroppedMTU     // larger than the link carries
	DroppedPolicer // beyond the policer's bucket
	verdicts
)

// String names the verdict.
func (v Verdict) String() string {
	names := [verdicts]string{"queued", "marked", "dropped: queue full", "dropped: loss", "dropped: outage", "dropped: mtu", "dropped: policer"}
	if v < verdicts {
		return names[v]
	}
	return "unknown"
}

// Accepted reports whether the packet is on its way.
func (v Verdict) Accepted() bool { return v <= Marked }

// Stats counts what happened so far.
type Stats struct {
	Sent      uint64           // packets handed to Send
	Verdicts  [verdicts]uint64 // by verdict; an outage that catches a queued packet counts as DroppedOutage too
	Delivered uint64           // packets taken by Receive
	Bytes     uint64           // bytes taken by Receive
	Left      uint64           // packets that left the serialiser, lost ones included
	LeftBytes uint64
	Wait      time.Duration // sum over Left of the time in queue and serialiser
	MaxQueue  int           // largest number of bytes waiting
}

type item[T any] struct {
	v       T
	size    int
	bits    float64       // still to serve from start on
	sent    time.Duration // arrival at the queue
	start   time.Duration // beginning of its service
	depart  time.Duration
	deliver time.Duration
	cur     cursor // place in the trace before its service
	lost    bool
	late    bool // stays behind: reordered
}

// Link is one direction of a link carrying values of type T.
type Link[T any] struct {
	cfg   Config
	cap   int // bytes the queue holds
	rng   *rand.Rand
	seed  uint64 // of the jitter: a function of time, whatever the calls
	stats Stats

	queue   fifo[item[T]] // not yet through the serialiser, in order
	queued  int           // its bytes
	flight  []item[T]     // scheduled deliveries by time, from first on; includes those of queue
	first   int
	free    time.Duration // the serialiser is busy until then
	ordered time.Duration // the latest delivery of a packet in order
	cur     cursor
	bad     bool // Gilbert-Elliott state
	tokens  float64
	filled  time.Duration
}

// New makes a link. It takes what Config.Check accepts; rng is used by this
// link alone.
func New[T any](cfg Config, rng *rand.Rand) *Link[T] {
	l := &Link[T]{cfg: cfg, rng: rng, seed: rng.Uint64()}
	l.cap = cfg.queueBytes()
	if cfg.Policer != nil {
		l.tokens = float64(cfg.Policer.Burst)
	}
	return l
}

// Send hands a packet of size IP bytes to the link.
func (l *Link[T]) Send(now time.Duration, size int, v T) Verdict {
	l.leave(now)
	l.stats.Sent++
	verdict := l.admit(now, size)
	if !verdict.Accepted() && verdict != DroppedLoss {
		l.stats.Verdicts[verdict]++
		return verdict
	}
	late := l.cfg.ReorderProb > 0 && l.rng.Float64() < l.cfg.ReorderProb
	it := item[T]{v: v, size: size, bits: float64(size) * 8, sent: now, start: max(now, l.free), late: late, lost: verdict == DroppedLoss}
	if it.lost {
		var none T
		it.v = none
	}
	l.queued += size
	l.stats.MaxQueue = max(l.stats.MaxQueue, l.queued)
	l.stats.Verdicts[verdict]++
	l.schedule(it)
	return verdict
}

// admit decides the fate of a packet on arrival.
func (l *Link[T]) admit(now time.Duration, size int) Verdict {
	c := &l.cfg
	if c.MTU > 0 && size > c.MTU {
		return DroppedMTU
	}
	if c.cutAt(now) {
		return DroppedOutage
	}
	if p := c.Policer; p != nil {
		l.tokens = min(float64(p.Burst), l.tokens+p.Rate/8*(now-l.filled).Seconds())
		l.filled = now
		if l.tokens < float64(size) {
			return DroppedPolicer
		}
		l.tokens -= float64(size)
	}
	limited := c.Rate > 0 || len(c.Trace) > 0 || len(c.Steps) > 0
	if limited && l.queued > 0 && l.queued+size > l.cap {
		return DroppedQueue
	}
	loss := c.Loss
	if g := c.Gilbert; g != nil {
		change := g.ToBad
		if l.bad {
			change = g.ToGood
		}
		if l.rng.Float64() < change {
			l.bad = !l.bad
		}
		loss = g.LossGood
		if l.bad {
			loss = g.LossBad
		}
	}
	if loss > 0 && l.rng.Float64() < loss {
		return DroppedLoss
	}
	if c.MarkAbove > 0 && l.QueueDelay(now) > c.MarkAbove {
		return Marked
	}
	return Queued
}

// schedule computes the packet's way through serialiser and delay and files it.
func (l *Link[T]) schedule(it item[T]) {
	it.cur = l.cur
	if len(l.cfg.Trace) > 0 {
		it.depart = l.cfg.depart(it.start, it.size, &l.cur)
	} else {
		it.depart = l.cfg.finish(it.start, it.bits)
	}
	l.free = it.depart
	l.queue.push(it)
	if it.lost || l.cfg.cutAt(it.depart) {
		return
	}
	it.deliver = it.depart + l.cfg.Delay + l.jitter(it.depart)
	if it.late {
		it.deliver += l.cfg.ReorderDelay
		if l.cfg.ReorderDelay == 0 {
			it.deliver += DefaultReorderDelay
		}
		it.deliver = max(it.deliver, l.ordered)
	} else {
		it.deliver = max(it.deliver, l.ordered)
		l.ordered = it.deliver
	}
	i := len(l.flight)
	l.flight = append(l.flight, it)
	for ; i > l.first && l.flight[i-1].deliver > it.deliver; i-- {
		l.flight[i] = l.flight[i-1]
	}
	l.flight[i] = it
}

// jitter is the extra delay of a packet that leaves at t.
func (l *Link[T]) jitter(t time.Duration) time.Duration {
	if l.cfg.Jitter <= 0 {
		return 0
	}
	block := l.cfg.JitterBlock
	if block <= 0 {
		block = DefaultJitterBlock
	}
	// splitmix64 of seed and block number.
	x := l.seed + uint64(t/block)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return time.Duration(float64(l.cfg.Jitter) * (float64(x>>11) / (1 << 53)))
}

// leave takes out of the queue what the serialiser has finished by now.
func (l *Link[T]) leave(now time.Duration) {
	for l.queue.len() > 0 && l.queue.front().depart <= now {
		it := l.queue.pop()
		l.queued -= it.size
		l.stats.Left++
		l.stats.LeftBytes += uint64(it.size)
		l.stats.Wait += it.depart - it.sent
		if !it.lost && l.cfg.cutAt(it.depart) {
			l.stats.Verdicts[DroppedOutage]++
		}
	}
}

// Next is the instant of the next delivery, or Never.
func (l *Link[T]) Next() time.Duration {
	if l.first == len(l.flight) {
		return Never
	}
	return l.flight[l.first].deliver
}

// Receive takes the next packet delivered by now. Call it until ok is false.
func (l *Link[T]) Receive(now time.Duration) (v T, ok bool) {
	if l.Next() > now {
		return v, false
	}
	l.leave(now)
	it := &l.flight[l.first]
	v = it.v
	l.stats.Delivered++
	l.stats.Bytes += uint64(it.size)
	*it = item[T]{}
	l.first++
	if l.first == len(l.flight) {
		l.flight, l.first = l.flight[:0], 0
	} else if l.first >= 64 && l.first*2 >= len(l.flight) {
		n := copy(l.flight, l.flight[l.first:])
		clear(l.flight[n:])
		l.flight, l.first = l.flight[:n], 0
	}
	return v, true
}

// QueueDelay is the time a packet handed over now would wait for its own
// transmission to begin.
func (l *Link[T]) QueueDelay(now time.Duration) time.Duration {
	l.leave(now)
	return max(0, l.free-now)
}

// QueueBytes is the number of bytes waiting or in transmission.
func (l *Link[T]) QueueBytes(now time.Duration) int {
	l.leave(now)
	return l.queued
}

// Stats returns the counters. Wait and Left are as of the last call that had
// a time.
func (l *Link[T]) Stats() Stats { return l.stats }

// Config returns the settings in force.
func (l *Link[T]) Config() Config { return l.cfg }
