package tunnel

import (
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

// The inbound way of a datagram, in the order of the functions below:
//
//  1. PushDatagrams, datagram: which path, which number; replay check; open; only then is anything believed.
//  2. frames: each frame does what it says. Data goes to deliver.go, acknowledgements to the scheduler.
//  3. moved: the peer's address on the path, if it has changed.

// PushDatagrams takes what the sockets received for this session.
func (s *Session) PushDatagrams(now time.Duration, as []Arrival) {
	for i := range as {
		if b := s.datagram(now, &as[i]); b != nil {
			b.Release()
		}
		as[i].Buf = nil
	}
	s.after(now)
}

// datagram handles one arrival and returns its buffer, unless a packet in it lives on in it.
func (s *Session) datagram(now time.Duration, a *Arrival) *buf.Buf {
	b := a.Buf
	size := b.Len()
	h, err := wire.ParseHeader(b.Bytes())
	if err != nil || h.Index != s.cfg.LocalIndex {
		s.drops.Header++
		return b
	}
	p := s.path(PathID(h.Path))
	var expected uint64
	if p != nil {
		expected = p.expected
		if p.sched.State() == scheduler.Closed {
			s.drops.PathClosed++
			return b
		}
	} else if s.cfg.Initiator || len(s.paths) >= maxPaths {
		s.drops.UnknownPath++
		return b
	}
	pn := wire.ReconstructPN(expected, h.PN)
	if p != nil && !p.window.Check(pn) {
		s.drops.Replayed++
		return b
	}
	plain, err := s.opener.Open(now, b.Bytes(), wire.HeaderLen, h.Epoch, h.Path, pn)
	if err != nil {
		s.drops.Forged++
		return b
	}
	if p == nil {
		p = s.learnPath(now, PathID(h.Path), a.From)
	}
	p.window.Commit(pn)
	newest := pn >= p.expected
	p.expected = max(p.expected, pn+1)
	ts, frames, err := wire.ParseTimestamp(plain)
	if err != nil {
		s.drops.Malformed++
		return b
	}
	owd := s.owdIn.relative(wire.OneWayDelay(a.At.Microseconds(), ts))
	if s.trace != nil {
		s.trace(TraceEvent{Now: now, Path: p.id, PN: pn, Size: size})
	}
	// A lone packet at the end of the payload is handed out in the buffer it came in.
	b.TrimFront(wire.HeaderLen + wire.TimestampLen)
	b.Truncate(len(frames))
	kept, eliciting := s.frames(now, p, a, b)
	s.bond.Received(now, a.At, p.sched, pn, size, owd, eliciting, a.ECN)
	p.largestIn = max(p.largestIn, size)
	if newest && !a.From.same(p.to) {
		s.moved(now, p, a.From)
	}
	if kept {
		return nil
	}
	return b
}

// frames handles the frames of an opened datagram, which are the content of b. kept says that b now belongs to a
// packet.
func (s *Session) frames(now time.Duration, p *path, a *Arrival, b *buf.Buf) (kept, eliciting bool) {
	r := wire.NewReader(b.Bytes())
	for {
		kind, body, ok := r.Next()
		if !ok {
			break
		}
		eliciting = eliciting || kind.AckEliciting()
		switch kind {
		case wire.KindPacket, wire.KindPacketPartial:
			if s.deliver(body, b, a, r.Done(), kind == wire.KindPacketPartial) {
				return true, true
			}
		case wire.KindOrdered, wire.KindOrderedPartial, wire.KindNumbered, wire.KindNumberedPartial:
			flow, seq, packet, err := wire.ParseOrdered(body)
			if err != nil {
				s.drops.Malformed++
				continue
			}
			if s.deliverOrdered(now, kind, flow, seq, packet, b, a, r.Done()) {
				return true, true
			}
		case wire.KindStream, wire.KindStreamFin, wire.KindOpen, wire.KindWindow, wire.KindReset, wire.KindConnected:
			used, ok := s.streamFrame(now, kind, body, b, r.Done())
			if !ok {
				s.drops.Malformed++
			}
			if used {
				return true, true
			}
		default:
			if !s.controlFrame(now, p, a, kind, body) {
				s.drops.Malformed++
			}
		}
	}
	if r.Err() != nil {
		s.drops.Malformed++
	}
	return false, eliciting
}

// controlFrame handles the frames that carry no packet. It reports false for one that cannot be read.
func (s *Session) controlFrame(now time.Duration, p *path, a *Arrival, kind wire.Kind, body []byte) bool {
	switch kind {
	case wire.KindAck:
		return s.onAck(now, p.id, body)
	case wire.KindSkip:
		k, err := wire.ParseSkip(body)
		if err != nil {
			return false
		}
		s.reorder.Skip(now, k.Flow, k.From, k.Count)
		s.drainReorder()
	case wire.KindChallenge:
		t, err := wire.ParseToken(body)
		if err != nil {
			return false
		}
		p.challenged(t, a.From)
	case wire.KindResponse:
		t, err := wire.ParseToken(body)
		if err != nil {
			return false
		}
		s.responded(now, p, t)
	case wire.KindPathStatus:
		st, err := wire.ParsePathStatus(body)
		if err != nil {
			return false
		}
		s.pathStatus(now, st)
	case wire.KindPathCap:
		c, err := wire.ParsePathCap(body)
		if err != nil {
			return false
		}
		s.peerCap(c)
	case wire.KindClose:
		_, reason, err := wire.ParseClose(body)
		if err != nil {
			return false
		}
		s.closing, s.closeDone = true, true
		s.events.push(Event{Kind: PeerClosed, Reason: string(reason)})
	}
	// PADDING and PING say nothing; kinds of a later version are skipped.
	return true
}

func (s *Session) onAck(now time.Duration, via PathID, body []byte) bool {
	var a wire.Ack
	if wire.ParseAck(body, &a) != nil {
		return false
	}
	p := s.path(PathID(a.Path))
	if p == nil {
		return true
	}
	for i := range a.Count {
		s.ranges[i] = scheduler.Range(a.Ranges[i])
	}
	delay := time.Duration(min(a.DelayUS, uint64(time.Hour/time.Microsecond))) * time.Microsecond
	err := s.bond.OnAck(now, scheduler.Ack{
		Path: p.id, Retold: via != p.id, Delay: delay, Owd: s.owdOut.relative(a.OneWayUS), CE: a.CE, ECT: a.ECT, Ranges: s.ranges[:a.Count],
	})
	if err != nil {
		s.drops.BadAck++
		return true
	}
	if a.Largest() >= p.epochPN {
		s.epochKnown = true
	}
	return true
}
