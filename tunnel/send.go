package tunnel

import (
	"slices"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
	"github.com/bondd/bondd/tunnel/wire"
)

// The outbound way of a packet, in the order of the functions below:
//
//  1. PushPackets: parse, find the flow, wait in the fair queue.
//  2. PullDatagrams: first what the session itself has to say (acknowledgements, probes), then data.
//  3. pullData: the scheduler binds a packet to a path; small ones that wait anyway share the datagram.
//  4. begin, finish: header, timestamp, frames, seal, and the record for loss detection.

// PushPackets takes IP packets from the TUN device. A super-packet stays whole until its pieces leave; each is queued,
// placed, lost and sent again for itself.
func (s *Session) PushPackets(now time.Duration, ps []*buf.Buf) {
	for _, b := range ps {
		x, ok := parsePacket(b.Bytes(), s.seed)
		if !ok || b.Segment != 0 && !soundSuper(b, x) {
			s.drops.Malformed++
			b.Release()
			continue
		}
		ect := x.ecn == 1 || x.ecn == 2
		n := 1
		if b.Segment != 0 {
			n = pieces(b)
			b.Share(n - 1)
		}
		for i := range n {
			size, end := b.Len(), x.seq+uint32(x.length)
			if b.Segment != 0 {
				size, end = pieceLen(b, i), x.seq+uint32(min((i+1)*int(b.Segment), x.length))
			}
			if x.data {
				s.bond.EnqueueData(now, x.key, x.class, s.keep(b, i), size, ect, end)
			} else {
				s.bond.Enqueue(now, x.key, x.class, s.keep(b, i), size, ect)
			}
		}
	}
	s.after(now)
}

// PullDatagrams fills out with datagrams that are to be sent now. Their buffers are the caller's.
func (s *Session) PullDatagrams(now time.Duration, out []Out) int {
	n := 0
	if s.closing {
		return s.pullClose(now, out)
	}
	for _, p := range s.paths {
		closed := p.sched.State() == scheduler.Closed
		if n < len(out) && p.status.Seq > p.statusAt && (closed || p.status.Failed) {
			// Of a failure on two, as below.
			via := s.bestPath()
			for i, via := range [...]*path{via, s.bestPathBut(via)} {
				if via != nil && n < len(out) && (i == 0 || p.status.Failed) {
					out[n] = s.statusElsewhere(now, p, via)
					n++
				}
			}
		}
		if closed {
			continue
		}
		for n < len(out) && p.wantsControl(now, s.bond) {
			out[n] = s.control(now, p)
			n++
		}
		if n < len(out) && s.bond.RetellDue(p.sched) {
			// On two, for one of them may be about to be found dead.
			via := s.bestPathBut(p)
			for _, via := range [...]*path{via, s.bestPathBut(p, via)} {
				if via != nil && n < len(out) {
					out[n] = s.retell(now, p, via)
					n++
				}
			}
		}
	}
	for n < len(out) && s.bond.HasSkips() {
		o, ok := s.pullSkips(now)
		if !ok {
			break
		}
		out[n] = o
		n++
	}
	for n < len(out) && s.streamFacts.len() > 0 {
		o, ok := s.pullStreamFacts(now)
		if !ok {
			break
		}
		out[n] = o
		n++
	}
	for n < len(out) {
		o, ok := s.pullData(now)
		if !ok {
			break
		}
		out[n] = o
		n++
	}
	s.after(now)
	return n
}

// minRoom is the least room worth asking the scheduler about: an IPv4 packet with a TCP header, framed.
const minRoom = 48

// maxGrants bounds the packets of one datagram: 1472 bytes of the smallest ones.
const maxGrants = 32

func (s *Session) pullData(now time.Duration) (Out, bool) {
	g, ok := s.bond.Next(now)
	if !ok {
		return Out{}, false
	}
	p := s.path(g.Path.ID)
	s.grants = append(s.grants[:0], g)
	room := g.Path.MTU() - wire.HeaderLen - wire.TimestampLen - seal.Overhead - framed(g)
	for room >= minRoom && len(s.grants) < maxGrants && s.bond.Backlog() > 0 {
		more, ok := s.bond.More(now, g.Path, room-wire.OrderedLen-3)
		if !ok {
			break
		}
		room -= framed(more)
		s.grants = append(s.grants, more)
	}
	b, dg := s.begin(now, p)
	s.chunks = s.chunks[:0]
	var ecn uint8
	for i := range s.grants {
		g := &s.grants[i]
		last := i == len(s.grants)-1
		if g.Stream {
			dg = s.appendPiece(dg, g, last)
			s.chunks = append(s.chunks, g.Chunk())
			ecn = 0
			continue
		}
		packet := s.slots[g.Handle]
		kind := packetKind(g, packet.buf.CsumOffset != 0)
		if g.Ordered {
			dg = wire.AppendOrderedHeader(dg, kind, last, g.Flow, uint16(g.Seq), g.Size)
		} else {
			dg = wire.AppendPacketHeader(dg, kind, last, g.Size)
		}
		at := len(dg)
		if packet.buf.Segment != 0 {
			dg = appendCut(dg, packet.buf, packet.piece)
		} else {
			dg = append(dg, packet.buf.Bytes()...)
		}
		if g.Mark {
			markCE(dg[at:])
		}
		// The outer header carries the inner codepoint (RFC 6040 §4.1) where all packets of the datagram agree.
		switch e := innerECN(dg[at:]); {
		case i == 0:
			ecn = e
		case e != ecn:
			ecn = 0
		}
		if g.Ordered {
			s.chunks = append(s.chunks, g.Chunk())
		} else {
			s.drop(g.Handle)
		}
	}
	return s.finish(now, p, b, dg, p.to, scheduler.Datagram{Eliciting: true, Chunks: s.chunks}, ecn), true
}

// packetKind is the frame a packet travels in; partial if its transport checksum is unfinished.
func packetKind(g *scheduler.Grant, partial bool) wire.Kind {
	kind := wire.KindPacket
	switch {
	case g.AtOnce:
		kind = wire.KindNumbered
	case g.Ordered:
		kind = wire.KindOrdered
	}
	if partial {
		kind++ // the PARTIAL kinds follow the others
	}
	return kind
}

// streamFrameMax bounds what stands before the data of a STREAM frame: kind, length, id and offset of 8 bytes at most.
const streamFrameMax = 1 + 2 + 8 + 8

// framed is the size of a packet with its frame header, when another frame follows.
func framed(g scheduler.Grant) int {
	n := g.Size
	if g.Stream {
		return n + streamFrameMax
	}
	if g.Ordered {
		n += wire.OrderedLen
	}
	return n + wire.FrameOverhead(n, false)
}

// innerECN is the codepoint of an IP packet.
func innerECN(p []byte) uint8 {
	if p[0]>>4 == 4 {
		return p[1] & 3
	}
	return p[1] >> 4 & 3
}

// begin starts a datagram on p. The frames are to be appended to dg, which has room for the largest datagram.
func (s *Session) begin(now time.Duration, p *path) (b *buf.Buf, dg []byte) {
	b = buf.Get()
	b.Extend(wire.HeaderLen)
	dg = wire.AppendTimestamp(b.Bytes(), wire.Timestamp(now.Microseconds()))
	wire.Header{Epoch: uint8(s.sealer.Epoch()), Index: s.cfg.PeerIndex, Path: uint8(p.id), PN: uint32(p.sched.NextPN())}.Put(dg)
	return b, dg
}

// finish seals the datagram and records it.
func (s *Session) finish(now time.Duration, p *path, b *buf.Buf, dg []byte, to Endpoint, d scheduler.Datagram, ecn uint8) Out {
	dg = s.sealer.Seal(dg, wire.HeaderLen, uint8(p.id), p.sched.NextPN())
	b.Extend(len(dg) - b.Len())
	d.Size = len(dg)
	if s.trace != nil {
		s.trace(TraceEvent{Now: now, Path: p.id, PN: p.sched.NextPN(), Size: len(dg), Sent: true})
	}
	s.bond.Record(now, p.sched, d)
	s.epochSent++
	s.rekey(now)
	return Out{Buf: b, To: to, Path: p.id, ECN: ecn}
}

// rekey goes on to the next epoch when this one has been used enough, and only after the peer has shown that it
// knows this one.
func (s *Session) rekey(now time.Duration) {
	if !s.epochKnown || s.epochSent < seal.MaxDatagrams && now-s.epochAt < seal.MaxAge {
		return
	}
	if s.sealer.Advance() != nil {
		return
	}
	s.epochAt, s.epochSent, s.epochKnown = now, 0, false
	for _, p := range s.paths {
		p.epochPN = p.sched.NextPN()
	}
}

// pullSkips sends SKIP frames on the best path there is.
func (s *Session) pullSkips(now time.Duration) (Out, bool) {
	p := s.bestPath()
	if p == nil {
		return Out{}, false
	}
	b, dg := s.begin(now, p)
	s.chunks = s.chunks[:0]
	for len(s.chunks) < maxGrants {
		k, ok := s.bond.NextSkip()
		if !ok {
			break
		}
		dg = wire.AppendSkip(dg, false, wire.Skip{Flow: k.Flow, From: uint16(k.From), Count: k.Count})
		s.chunks = append(s.chunks, scheduler.Chunk{Kind: scheduler.ChunkSkip, Flow: k.Flow, Seq: k.From, Count: k.Count})
	}
	return s.finish(now, p, b, dg, p.to, scheduler.Datagram{Eliciting: true, Unpaced: true, Chunks: s.chunks}, 0), true
}

// retell repeats the acknowledgement of p on another path: p has fallen silent, or is slow and something is missing.
func (s *Session) retell(now time.Duration, p, via *path) Out {
	b, dg := s.begin(now, via)
	return s.finish(now, via, b, s.appendAck(now, p, dg), via.to, scheduler.Datagram{Unpaced: true}, 0)
}

// bestPath is the path in order with the shortest round trip, or nil.
func (s *Session) bestPath() *path { return s.bestPathBut() }

// bestPathBut is bestPath, without some of them.
func (s *Session) bestPathBut(not ...*path) *path {
	var best *path
	for _, p := range s.paths {
		if !slices.Contains(not, p) && p.sched.State() == scheduler.Up && (best == nil || p.sched.SRTT() < best.sched.SRTT()) {
			best = p
		}
	}
	return best
}

// pullClose says goodbye once on every path.
func (s *Session) pullClose(now time.Duration, out []Out) int {
	n := 0
	if s.closeDone {
		return 0
	}
	for _, p := range s.paths {
		if n == len(out) || p.sched.State() == scheduler.Closed {
			continue
		}
		b, dg := s.begin(now, p)
		dg = wire.AppendClose(dg, true, s.closeCode, s.closeText)
		out[n] = s.finish(now, p, b, dg, p.to, scheduler.Datagram{Unpaced: true}, 0)
		n++
	}
	s.closeDone = true
	return n
}
