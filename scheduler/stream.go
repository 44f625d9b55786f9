package scheduler

import "time"

// A stream is a flow of bytes instead of packets: the owner keeps the bytes, and says how many are ready. They are cut
// into pieces only when a path is chosen, so that each piece fits the datagram it goes into. What is in flight is
// remembered like ordered packets are, by the number of the transmission; a piece is sent again until it arrives.

// StreamPiece is a run of a stream's bytes that has arrived at the peer.
type StreamPiece struct {
	Key    FlowKey
	Offset uint64
	Size   int
}

const (
	// spreadStream is the extra delay a bulk stream accepts for more rate: its window covers it.
	spreadStream = time.Second
	// pieceMin: a piece that shares a datagram is not cut shorter than this, or headers eat the gain.
	pieceMin = 256
	// streamOverhead of a piece in a datagram of its own: header 8, tag 16, timestamp 3, frame 1, id and offset.
	streamOverhead = overhead + 6
)

// Offer says that the stream has backlog bytes ready beyond those granted, of which the peer takes window now; more says
// that others will follow. It replaces what was said before.
func (b *Bond) Offer(now time.Duration, key FlowKey, backlog, window int, more bool) {
	f := b.flowFor(now, key, Stream)
	if grown := backlog - f.offered; grown > 0 {
		f.classify(now, grown)
	}
	f.offered, f.window, f.more = backlog, window, more
	b.queue.resize(f, min(backlog, window))
	if f.bytes > 0 && f.list == listNone {
		f.list = listNew
		f.deficit = quantum
		b.queue.fresh.push(f)
	}
	b.watchTail(f)
}

// WaitingStreams is the number of streams that have something waiting which the peer would take.
func (b *Bond) WaitingStreams() int { return b.queue.streams }

// EndStream forgets a stream; nothing of it is sent again.
func (b *Bond) EndStream(key FlowKey) {
	f := b.byKey[key]
	if f == nil {
		return
	}
	b.queue.resize(f, 0)
	f.offered, f.ended = 0, true
	for i := range f.out.len() {
		f.out.at(i).done = true
	}
	f.base += uint64(f.out.len())
	f.out = fifo[outstanding]{}
	f.retx = fifo[uint64]{}
	delete(b.byKey, key)
}

// resize sets what a stream has waiting.
func (q *fairQueue) resize(f *flow, n int) {
	switch {
	case n > 0 && f.bytes == 0:
		q.streams++
	case n == 0 && f.bytes > 0:
		q.streams--
	}
	q.bytes += n - f.bytes
	q.streamed += n - f.bytes
	f.bytes = n
}

// Arrived returns the stream pieces that have arrived since the last call. The slice is valid until the next call of
// any method.
func (b *Bond) Arrived() []StreamPiece {
	a := b.arrived
	b.arrived = b.arrived[:0]
	return a
}

// grantPiece cuts the next piece of a stream for p. room is what the datagram still holds, 0 for a fresh one.
func (b *Bond) grantPiece(now time.Duration, p *Path, f *flow, room int) (Grant, bool) {
	if room == 0 {
		room = p.mtu - streamOverhead
	}
	n := min(f.bytes, room)
	if n <= 0 || !f.hasID && !b.assignID(f) {
		return Grant{}, false
	}
	o := outstanding{size: int32(n), offset: f.offset, tries: 1, path: p.ID, first: now, sent: now}
	f.out.push(o)
	f.offset += uint64(n)
	f.deficit -= n
	f.offered -= n
	f.window -= n
	b.queue.resize(f, f.bytes-n)
	g := Grant{Path: p, Size: n, Stream: true, Key: f.key, Offset: o.offset, Flow: f.id, Seq: f.seq, Try: 1}
	f.seq++
	return g, true
}

// split cuts an outstanding piece that no path takes whole any more: its first half stays, the rest becomes a piece of
// its own, to be sent again as well.
func (b *Bond) split(f *flow, seq uint64, size int32) {
	o := *f.outAt(seq)
	f.outAt(seq).size = size
	rest := o
	rest.offset += uint64(size)
	rest.size -= size
	rest.queued = false
	f.out.push(rest)
	f.seq++
	b.again(f, f.seq-1, f.outAt(f.seq-1))
}
