package scheduler

import (
	"math/rand/v2"
	"time"

	"github.com/bondd/bondd/scheduler/cc"
)

// Config of a Bond. The zero value means the defaults.
type Config struct {
	QueueLimit int // bytes that may wait; default 4 MiB
	Policy     Policy
	Retry      time.Duration // how long after its first transmission, beside a round trip, an ordered packet is worth sending again; default 250 ms
}

const (
	defaultQueueLimit = 4 << 20
	// defaultRetry: the receiver holds later packets for at most 150 ms (Reorder), after one one-way delay; a repair that
	// starts later than this comes after the inner TCP has repaired the hole itself.
	defaultRetry = 250 * time.Millisecond
	// overhead of a full datagram beside the inner packet, bytes (tunnel/wire).
	overhead = 32
)

// Bond is the sending side over all paths of a session.
type Bond struct {
	cfg   Config
	rng   *rand.Rand
	paths []*Path // by ID
	// active are the paths that may carry data now: the best member of each group, and others that bring more.
	active     []*Path
	leaders    [256]PathID
	hasLeader  [256]bool
	splits     []*split // of the groups that have had two members
	eligible   []PathID // scratch, of splitGroup
	queues     []time.Duration
	chosen     PathID // policy Standby: the path in use
	refreshAt  time.Duration
	queue      fairQueue
	flows      []*flow // by slot, nil where free
	freeSlots  []int
	byKey      map[FlowKey]*flow
	byID       map[uint16]*flow
	nextID     uint16
	expireAt   time.Duration
	rtx        fifo[*flow] // flows that have something to send again
	skips      fifo[Skip]
	freed      []Handle
	lostCtl    []uint64
	ackedCtl   []uint64
	changes    []Change
	scratch    news
	seqs       []uint64
	fullness   fullness
	waiting    bool          // the last Next ended with packets queued
	asked      time.Duration // when Next was last called
	tails      fifo[*flow]   // flows that may want copies of what they have in flight
	copyAt     time.Duration // when the next acknowledgement is overdue
	copyBudget float64       // bytes
	arrived    []StreamPiece
	twin       twin
	twinCredit float64 // bytes
	twinAt     time.Duration
	bereftTill time.Duration // a path in use has died a moment ago
	shrunkTill time.Duration // one has died, and inner windows are still made for it
	full       int           // datagram of a full packet, bytes of UDP payload; 0: not told
	probeOrder int
	stats      Stats
}

// Stats counts since the session began.
type Stats struct {
	CodelDrops, CodelMarks, Overflows uint64
	GivenUp                           uint64 // ordered packets not sent again any more
	TooLong                           uint64 // packets dropped because no path in use takes their size
	Retransmitted, Reinjected, Copied uint64
	Twins                             uint64
	SentLate                          uint64 // packets that no path of their class had room for, sent by a slower one
}

// Change is a path that went from one rung to another.
type Change struct {
	Path     PathID
	From, To State
}

// Skip tells the receiver that packets [From, From+Count) of an ordered flow will not come.
type Skip struct {
	Flow  uint16
	From  uint64
	Count uint16
}

// Datagram describes one that leaves now.
type Datagram struct {
	Size      int // UDP payload, bytes
	Eliciting bool
	Probe     bool    // an MTU probe
	Unpaced   bool    // control traffic, not charged to the pacer
	Chunks    []Chunk // copied
}

// New makes a Bond without paths.
func New(cfg Config, rng *rand.Rand) *Bond {
	if cfg.QueueLimit == 0 {
		cfg.QueueLimit = defaultQueueLimit
	}
	if cfg.Retry == 0 {
		cfg.Retry = defaultRetry
	}
	return &Bond{cfg: cfg, rng: rng, byKey: map[FlowKey]*flow{}, byID: map[uint16]*flow{}, queue: fairQueue{limit: cfg.QueueLimit}, copyAt: Never, copyBudget: copyBurst}
}

// SetFull says how large the datagram of a full packet is, bytes of UDP payload. Groups heed it from their next refresh on.
func (b *Bond) SetFull(size int) { b.full = size }

// AddPath adds a path in state Validating. IDs must rise.
func (b *Bond) AddPath(now time.Duration, id PathID, cfg PathConfig) *Path {
	p := &Path{
		ID: id, Config: cfg, mtu: cfg.MTU, stateSince: now, reorder: packetThreshold, lossTime: Never, nextSend: now,
		ctl: cc.New(cc.Config{MSS: cfg.MTU, MaxRate: cfg.MaxRate}, b.rng),
	}
	p.in.due, p.in.retellAt, p.in.holeAt = Never, Never, Never
	p.in.lastAt = now - ackQuickIdle - 1
	p.probeAt = now
	p.ctl.ProbeRTTAt(now + time.Duration(b.probeOrder%4)*2500*time.Millisecond)
	b.probeOrder++
	b.paths = append(b.paths, p)
	return p
}

// Paths are all paths in order of their IDs, the closed ones too. Not to be changed.
func (b *Bond) Paths() []*Path { return b.paths }

// Path returns the path, or nil.
func (b *Bond) Path(id PathID) *Path {
	for _, p := range b.paths {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// flowFor finds or makes the flow of key.
func (b *Bond) flowFor(now time.Duration, key FlowKey, class Class) *flow {
	if f := b.byKey[key]; f != nil {
		return f
	}
	f := &flow{key: key, class: class, sparse: true, since: now, born: now, last: now, busy: now}
	if n := len(b.freeSlots); n > 0 {
		f.slot = b.freeSlots[n-1]
		b.freeSlots = b.freeSlots[:n-1]
		b.flows[f.slot] = f
	} else {
		f.slot = len(b.flows)
		b.flows = append(b.flows, f)
	}
	b.byKey[key] = f
	return f
}

// Enqueue takes a packet of size bytes. ect says that it may be marked instead of dropped (ECN-capable).
func (b *Bond) Enqueue(now time.Duration, key FlowKey, class Class, h Handle, size int, ect bool) {
	f := b.flowFor(now, key, class)
	f.classify(now, size)
	if class == Unordered {
		var rtt time.Duration
		if f.hearing.due(now) {
			rtt = b.fastestRTT()
		}
		f.surplus = f.hearing.arrive(now, size, f.surplus, rtt)
	}
	b.queue.push(f, item{handle: h, size: int32(size), ect: ect, at: now}, b.flows)
	b.reap()
}

// EnqueueData is Enqueue for a packet with data of an ordered flow, which end before position end in the inner sender's numbering (a TCP
// sequence number). What ends no later than something before it is repeated by the inner sender, because it was dropped here or beyond: its
// receiver has come to a stop there. Behind a long backlog, as a dead path leaves it, that would be a silence of as long, so there it goes
// ahead of what waits, and past CoDel. Its sender takes everything for lost that it overtakes (RFC 8985 §6.2), and repeats it: so behind a short
// backlog it does not. For a while after the death of a path an original that it overtakes is dropped, which would only come a second time, and
// CoDel spares all repeats. Not always: in a contest with a neighbour's queue the inner sender would yield too much.
func (b *Bond) EnqueueData(now time.Duration, key FlowKey, class Class, h Handle, size int, ect bool, end uint32) {
	f := b.flowFor(now, key, class)
	f.classify(now, size)
	again, spared := false, false
	if !f.hasTop || int32(end-f.top) > 0 {
		f.top, f.hasTop = end, true
	} else if spared = now < b.shrunkTill; !f.idle() {
		again = f.repeats > 0 || now-f.q.at(0).at > b.longBacklog(now)
	}
	b.queue.push(f, item{handle: h, size: int32(size), ect: ect, again: again, spared: spared || again, data: true, end: end, at: now}, b.flows)
	if again && spared {
		b.queue.replaced(f, end, size)
	}
	b.reap()
}

// longBacklog is the wait from which on repeated packets go ahead.
func (b *Bond) longBacklog(now time.Duration) time.Duration {
	if now < b.bereftTill {
		return bereftBacklog
	}
	return longBacklog
}

// Stats are the counters now.
func (b *Bond) Stats() Stats {
	s := b.stats
	s.CodelDrops, s.CodelMarks, s.Overflows = b.queue.drops, b.queue.marks, b.queue.overflows
	return s
}

// Backlog is the number of bytes waiting.
func (b *Bond) Backlog() int { return b.queue.bytes }

// Freed returns the handles that are finished with since the last call. The slice is valid until the next call of any
// method.
func (b *Bond) Freed() []Handle {
	b.reap()
	f := b.freed
	b.freed = b.freed[:0]
	return f
}

func (b *Bond) reap() {
	b.freed = append(b.freed, b.queue.dropped...)
	b.queue.dropped = b.queue.dropped[:0]
}

// Changes returns the path transitions since the last call, valid until the next call of any method.
func (b *Bond) Changes() []Change {
	c := b.changes
	b.changes = b.changes[:0]
	return c
}

// Control returns the session's control facts that were lost, and those that arrived, since the last call.
func (b *Bond) Control() (lost, acked []uint64) {
	lost, acked = b.lostCtl, b.ackedCtl
	b.lostCtl, b.ackedCtl = b.lostCtl[:0], b.ackedCtl[:0]
	return lost, acked
}

// NextSkip returns a SKIP to send.
func (b *Bond) NextSkip() (Skip, bool) {
	if b.skips.len() == 0 {
		return Skip{}, false
	}
	return b.skips.pop(), true
}

// HasSkips reports whether NextSkip would return one.
func (b *Bond) HasSkips() bool { return b.skips.len() > 0 }

// Record notes that a datagram leaves on p now, with number p.NextPN().
func (b *Bond) Record(now time.Duration, p *Path, d Datagram) {
	b.copyBudget = min(b.copyBudget+copyShare*float64(d.Size), copyBurst)
	p.record(now, d)
}

// Received notes a datagram of the peer on p: authenticated, not a replay. owd is our clock minus its timestamp.
func (b *Bond) Received(now, at time.Duration, p *Path, pn uint64, size int, owd time.Duration, eliciting bool, ecn uint8) {
	p.Stats.RecvBytes += uint64(size)
	p.Stats.RecvDatagrams++
	gap := p.in.received(now, at, pn, size, owd, eliciting, ecn, p.rtt.srtt())
	b.missed(now, p, gap)
	if eliciting && p.Config.Metered && p.state == Up {
		p.probeAt = max(p.probeAt, now+passiveProbe)
	}
}

// OnAck applies an acknowledgement of our datagrams.
func (b *Bond) OnAck(now time.Duration, a Ack) error {
	p := b.Path(a.Path)
	if p == nil || p.state == Closed {
		return nil
	}
	b.scratch.acked, b.scratch.lost = b.scratch.acked[:0], b.scratch.lost[:0]
	if a.Retold {
		b.heard(now, p, a)
		return nil
	}
	fresh, err := p.onAck(now, a, &b.scratch)
	if err != nil {
		return err
	}
	if fresh {
		b.alive(now, p)
	}
	b.settleNews(now, p)
	return nil
}

// settleNews hands acknowledged and lost chunks back to their flows.
func (b *Bond) settleNews(now time.Duration, p *Path) {
	for _, c := range b.scratch.acked {
		switch c.Kind {
		case ChunkPacket:
			if f := b.byID[c.Flow]; f != nil {
				if o := f.outAt(c.Seq); o != nil {
					b.finish(f, o)
				}
			}
		case ChunkControl:
			b.ackedCtl = append(b.ackedCtl, c.Seq)
		}
	}
	for _, c := range b.scratch.lost {
		b.lost(now, p, c)
	}
	b.scratch.acked, b.scratch.lost = b.scratch.acked[:0], b.scratch.lost[:0]
}

func (b *Bond) lost(now time.Duration, p *Path, c Chunk) {
	switch c.Kind {
	case ChunkControl:
		b.lostCtl = append(b.lostCtl, c.Seq)
	case ChunkSkip:
		b.skips.push(Skip{Flow: c.Flow, From: c.Seq, Count: c.Count})
	case ChunkPacket:
		f := b.byID[c.Flow]
		if f == nil {
			return
		}
		o := f.outAt(c.Seq)
		if o == nil || o.done || o.queued || o.tries != c.Try {
			return
		}
		// A packet that nobody orders is worth one repair while its flow is striped, none otherwise.
		if f.class == Unordered && !f.bulk || f.class == Ordered && now-o.first > b.cfg.Retry+b.fastestRTT() {
			b.stats.GivenUp++
			b.giveUp(f, c.Seq, o)
			return
		}
		b.again(f, c.Seq, o)
	}
}

// fastestRTT is the shortest smoothed round trip of the paths in use.
func (b *Bond) fastestRTT() time.Duration {
	d := time.Duration(0)
	for i, p := range b.active {
		if r := p.rtt.srtt(); i == 0 || r < d {
			d = r
		}
	}
	return d
}

// again queues an ordered packet for another transmission.
func (b *Bond) again(f *flow, seq uint64, o *outstanding) {
	o.queued = true
	f.retx.push(seq)
	if !f.inRtx {
		f.inRtx = true
		b.rtx.push(f)
	}
}

// giveUp ends an ordered packet that will not arrive and tells the receiver.
func (b *Bond) giveUp(f *flow, seq uint64, o *outstanding) {
	if n := b.skips.len(); n > 0 {
		if last := b.skips.at(n - 1); last.Flow == f.id && last.From+uint64(last.Count) == seq && last.Count < 1<<15 {
			last.Count++
			b.finish(f, o)
			return
		}
	}
	b.skips.push(Skip{Flow: f.id, From: seq, Count: 1})
	b.finish(f, o)
}

// finish ends an ordered packet.
func (b *Bond) finish(f *flow, o *outstanding) {
	if o.done {
		return
	}
	o.done = true
	if f.class == Stream {
		b.arrived = append(b.arrived, StreamPiece{f.key, o.offset, int(o.size)})
	} else {
		b.freed = append(b.freed, o.handle)
	}
	for f.out.len() > 0 && f.out.at(0).done {
		f.out.pop()
		f.base++
	}
}
