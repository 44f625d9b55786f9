package tunnel

import (
	"net/netip"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

// PullPackets fills out with IP packets for the TUN device, in the order in which they were released. The buffers are
// the caller's.
func (s *Session) PullPackets(_ time.Duration, out []*buf.Buf) int {
	n := 0
	for n < len(out) && s.released.len() > 0 {
		out[n] = s.released.pop()
		n++
	}
	return n
}

// deliver hands out an unordered packet. It reports whether b, whose content ends with the packet, has been used for
// it.
func (s *Session) deliver(packet []byte, b *buf.Buf, a *Arrival, lone, partial bool) bool {
	out := s.accept(packet, b, a, lone, partial)
	if out == nil {
		return false
	}
	s.released.push(out)
	return out == b
}

// deliverOrdered gives a packet of an ordered flow its place. It reports whether b has been used for it.
func (s *Session) deliverOrdered(now time.Duration, kind wire.Kind, flow, seq uint16, packet []byte, b *buf.Buf, a *Arrival, lone bool) bool {
	out := s.accept(packet, b, a, lone, kind == wire.KindOrderedPartial || kind == wire.KindNumberedPartial)
	if out == nil {
		// Its place must not stay a hole.
		s.reorder.Skip(now, flow, seq, 1)
		s.drainReorder()
		return false
	}
	h := s.keep(out, 0)
	var d scheduler.Drop
	if kind == wire.KindNumbered || kind == wire.KindNumberedPartial {
		d = s.reorder.PushAtOnce(now, flow, seq, h)
	} else {
		d = s.reorder.Push(now, flow, seq, h, out.Len())
	}
	if d != scheduler.Taken {
		s.take(h)
		if out == b {
			return false
		}
		out.Release()
		return false
	}
	s.drainReorder()
	return out == b
}

func (s *Session) drainReorder() {
	for {
		h, ok := s.reorder.Pop()
		if !ok {
			return
		}
		s.released.push(s.take(h))
	}
}

// accept checks a received packet: well formed, and from an inner address that is the peer's. It returns a buffer that
// holds it, b itself if the packet stands alone at its end, or nil if it is refused.
func (s *Session) accept(packet []byte, b *buf.Buf, a *Arrival, lone, partial bool) *buf.Buf {
	x, ok := parsePacket(packet, s.seed)
	if !ok {
		s.drops.Malformed++
		return nil
	}
	if !s.sourceAllowed(x.source) {
		s.drops.Source++
		return nil
	}
	// RFC 6040 §4.2: congestion met on the way counts for the inner packet if it can say so, and drops it if not.
	if a.ECN == 3 && x.ecn != 3 {
		if x.ecn == 0 {
			s.drops.CongestedNotECT++
			return nil
		}
		markCE(packet)
	}
	out := b
	if lone {
		b.TrimFront(b.Len() - len(packet))
	} else {
		out = buf.Get()
		out.Append(packet)
	}
	if partial {
		if out.CsumStart, out.CsumOffset, ok = partialOffsets(packet, x); !ok {
			s.drops.Malformed++
			if out != b {
				out.Release()
			}
			return nil
		}
	}
	return out
}

// sourceAllowed is the exit's check that a gateway speaks only for its own inner addresses.
func (s *Session) sourceAllowed(a netip.Addr) bool {
	if s.cfg.Sources == nil {
		return true
	}
	for _, p := range s.cfg.Sources {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
