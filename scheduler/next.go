package scheduler

import (
	"time"
)

// Grant is a packet bound to a path, to be sent now.
type Grant struct {
	Path   *Path
	Handle Handle
	Size   int
	Mark   bool // set congestion-experienced in the inner header
	Key    FlowKey
	// Unordered packets that have a twin: numbered like ordered ones, delivered at once.
	AtOnce bool
	// Stream pieces only: the bytes [Offset, Offset+Size) of stream Key.
	Stream bool
	Offset uint64
	// Ordered packets and stream pieces only; others are finished with as soon as they are sent, and their handle is the caller's again.
	Ordered bool
	Flow    uint16
	Seq     uint64
	Try     uint8 // 1 for the first transmission
}

// Chunk is what to record of an ordered grant or a piece.
func (g *Grant) Chunk() Chunk {
	return Chunk{Kind: ChunkPacket, Try: g.Try, Flow: g.Flow, Seq: g.Seq}
}

// scanFlows bounds how many flows are asked when the first ones have to wait.
const scanFlows = 16

// Next binds the next packet to a path. It returns false when nothing may leave now.
func (b *Bond) Next(now time.Duration) (Grant, bool) {
	b.waiting, b.asked, b.copyAt = false, now, Never
	if len(b.active) == 0 {
		return Grant{}, false
	}
	if g, ok := b.nextTwin(now); ok {
		return g, true
	}
	if g, ok := b.nextAgain(now, nil, 0); ok {
		return g, true
	}
	if g, ok := b.nextNew(now, nil, 0); ok {
		return g, true
	}
	if g, ok := b.nextCopy(now); ok {
		return g, true
	}
	b.waiting = b.queue.bytes > 0 || b.rtx.len() > 0
	for _, p := range b.active {
		p.held = b.waiting && p.resume > now && p.inflight < p.ctl.Window()
	}
	if b.queue.bytes == 0 {
		for _, p := range b.active {
			if p.inflight < p.ctl.Window() {
				p.markAppLimited()
			}
		}
	} else {
		for _, p := range b.active {
			// Left idle on purpose: its samples say nothing about its capacity either.
			if p.ready(now, maxPacket) {
				p.markAppLimited()
			}
		}
	}
	return Grant{}, false
}

// More binds another waiting packet that fits into room bytes of a datagram on p, if p would carry it anyway.
func (b *Bond) More(now time.Duration, p *Path, room int) (Grant, bool) {
	if g, ok := b.nextAgain(now, p, room); ok {
		return g, true
	}
	return b.nextNew(now, p, room)
}

// nextAgain serves retransmissions, which precede new data. only and room restrict it to one path, as in More.
func (b *Bond) nextAgain(now time.Duration, only *Path, room int) (Grant, bool) {
	for n := b.rtx.len(); n > 0; n-- {
		f := *b.rtx.at(0)
		for f.retx.len() > 0 {
			seq := *f.retx.at(0)
			o := f.outAt(seq)
			if o == nil || o.done || !o.queued {
				f.retx.pop()
				continue
			}
			if only != nil && int(o.size) > room {
				break
			}
			p := b.pickAgain(now, f, o)
			if p == nil && f.class == Stream && b.tooLong(f.framed(int(o.size))) {
				b.split(f, seq, o.size/2)
				continue
			}
			if p == nil && f.class != Stream && now-o.first > b.cfg.Retry && b.tooLong(f.framed(int(o.size))) {
				f.retx.pop()
				b.stats.GivenUp++
				b.giveUp(f, seq, o)
				continue
			}
			if p == nil || only != nil && p != only {
				break
			}
			f.retx.pop()
			o.queued = false
			o.tries++
			o.path, o.sent = p.ID, now
			b.stats.Retransmitted++
			p.Stats.RetransmittedFrames++
			b.twinRepair(now, p, f, seq, o)
			return b.regrant(p, f, seq, o), true
		}
		b.rtx.pop()
		if f.retx.len() > 0 {
			b.rtx.push(f)
		} else {
			f.inRtx = false
		}
	}
	return Grant{}, false
}

// nextNew serves the fair queue: new flows, then old ones, passing over those that have to wait.
func (b *Bond) nextNew(now time.Duration, only *Path, room int) (Grant, bool) {
	asked := 0
	var bulkWaits [Stream + 1]bool // by class: their limits differ
	for _, list := range [...]*ring{&b.queue.fresh, &b.queue.old} {
		var prev *flow
		for f := list.head; f != nil && asked < scanFlows; {
			if f.idle() || f.deficit <= 0 {
				b.watchTail(f)
				b.queue.settle(list, prev, f)
				f = list.after(prev)
				continue
			}
			size := f.head()
			if f.class != Stream && now-f.q.at(0).at > b.cfg.Retry && b.tooLong(f.framed(size)) {
				// The path it was made for has not come back; those behind it must not wait for that.
				b.stats.TooLong++
				b.queue.drop(f)
				continue
			}
			asked++
			var p *Path
			late := false
			if !(f.bulk && bulkWaits[f.class]) && (only == nil || size <= room || f.class == Stream && room >= pieceMin) {
				p = b.pick(now, f, size)
			}
			if p == nil && only == nil && f.hearing.deaf {
				p = b.pickLate(now, f, size)
				late = p != nil
			}
			if p == nil || only != nil && p != only {
				bulkWaits[f.class] = bulkWaits[f.class] || f.bulk
				prev, f = f, f.next
				continue
			}
			var g Grant
			var ok bool
			if f.class == Stream {
				g, ok = b.grantPiece(now, p, f, room)
			} else if late {
				g, ok = b.grantLate(p, f), true
			} else {
				g, ok = b.grantPacket(now, p, f, size)
			}
			if f.idle() || f.deficit <= 0 {
				b.watchTail(f)
				b.queue.settle(list, prev, f)
			}
			if ok {
				return g, true
			}
			f = list.after(prev)
		}
	}
	return Grant{}, false
}

// grantPacket takes the next packet of f past CoDel. size is what p was chosen for.
func (b *Bond) grantPacket(now time.Duration, p *Path, f *flow, size int) (Grant, bool) {
	it, mark, ok := b.queue.pop(now, f, b.limits(now, f))
	if !ok {
		return Grant{}, false
	}
	if int(it.size) > size {
		// CoDel dropped the small one that was asked for; the next may not fit here.
		b.queue.unpop(f, it)
		return Grant{}, false
	}
	return b.grant(now, p, f, it, mark), true
}

// grant takes a packet out of the queue for p.
func (b *Bond) grant(now time.Duration, p *Path, f *flow, it item, mark bool) Grant {
	g := Grant{Path: p, Handle: it.handle, Size: int(it.size), Mark: mark}
	f.granted++
	if f.class == Loose {
		return g
	}
	other := b.wantsTwin(now, p, f, g.Size)
	if f.class == Unordered && !f.bulk && other == nil || !f.hasID && !b.assignID(f) {
		return g
	}
	if f.out.len() >= maxOutstanding {
		// The receiver could not tell these numbers apart any more.
		o := f.out.at(0)
		b.giveUp(f, f.base, o)
	}
	atOnce := f.class == Unordered && !f.bulk
	f.out.push(outstanding{handle: it.handle, size: it.size, tries: 1, path: p.ID, first: now, sent: now, atOnce: atOnce})
	g.Ordered, g.AtOnce, g.Flow, g.Seq, g.Try = true, atOnce, f.id, f.seq, 1
	if other != nil && b.twin.f == nil {
		b.twin = twin{f, f.seq, other}
	}
	f.seq++
	return g
}

// maxOutstanding is a quarter of the 16-bit sequence space, so that its receiver can always reconstruct a number.
const maxOutstanding = 1 << 14

// assignID gives an ordered flow its number on the wire. It fails only while all numbers are in use.
func (b *Bond) assignID(f *flow) bool {
	for range 1 << 16 {
		id := b.nextID
		b.nextID++
		if b.byID[id] == nil {
			f.id, f.hasID = id, true
			b.byID[id] = f
			return true
		}
	}
	return false
}
