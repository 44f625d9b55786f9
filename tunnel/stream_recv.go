package tunnel

import (
	"time"

	"github.com/bondd/bondd/tunnel/buf"
)

// recvHalf is the receiving direction of a stream.
type recvHalf struct {
	next       uint64          // the first byte not yet in ready
	ready      queue[*buf.Buf] // data in order, for StreamRead
	held       []piece         // data beyond a hole, by offset
	bytes      int             // in ready and held
	read       uint64          // bytes given to the application
	final      uint64          // where the stream ends, if finKnown
	finKnown   bool
	finRead    bool
	window     uint64
	advertised uint64 // the peer may send bytes below this
	// For the window: what was read since when.
	mark   uint64
	markAt time.Duration
}

type piece struct {
	off uint64
	buf *buf.Buf
}

func (h *recvHalf) over() bool { return h.finRead }

// receiveData takes the data of a STREAM frame. It reports whether b, whose content ends with data if lone, has been
// used for them.
func (s *Session) receiveData(now time.Duration, st *stream, off uint64, data []byte, fin bool, b *buf.Buf, lone bool) bool {
	h := &st.recv
	end := off + uint64(len(data))
	if st.resetSent || end < off || end > h.advertised || h.finKnown && end > h.final || fin && end < h.next {
		s.drops.StreamData++
		return false
	}
	if fin && !h.finKnown {
		h.finKnown, h.final = true, end
	}
	if off < h.next {
		cut := min(h.next-off, uint64(len(data)))
		off, data = off+cut, data[cut:]
	}
	if len(data) == 0 {
		s.announce(st)
		return false
	}
	if off > h.next && h.covered(off, end) {
		s.drops.StreamDuplicate++
		return false
	}
	out := b
	if lone {
		b.TrimFront(b.Len() - len(data))
	} else {
		out = buf.Get()
		out.Append(data)
	}
	h.bytes += out.Len()
	s.streamHeld += out.Len()
	if off == h.next {
		h.next = end
		h.ready.push(out)
		s.drainHeld(h)
		s.announce(st)
	} else {
		h.hold(off, out)
	}
	return out == b
}

// covered reports whether one held piece has all of [from, to).
func (h *recvHalf) covered(from, to uint64) bool {
	for i := len(h.held) - 1; i >= 0; i-- {
		p := &h.held[i]
		if p.off <= from {
			return p.off+uint64(p.buf.Len()) >= to
		}
	}
	return false
}

// hold keeps a piece beyond a hole. It nearly always belongs near the end.
func (h *recvHalf) hold(off uint64, b *buf.Buf) {
	i := len(h.held)
	for i > 0 && h.held[i-1].off > off {
		i--
	}
	h.held = append(h.held, piece{})
	copy(h.held[i+1:], h.held[i:])
	h.held[i] = piece{off, b}
}

// drainHeld moves what is in order now to ready.
func (s *Session) drainHeld(h *recvHalf) {
	n := 0
	for n < len(h.held) && h.held[n].off <= h.next {
		p := h.held[n]
		n++
		size := p.buf.Len()
		if over := h.next - p.off; over >= uint64(size) {
			h.bytes -= size
			s.streamHeld -= size
			p.buf.Release()
			continue
		} else if over > 0 {
			p.buf.TrimFront(int(over))
			h.bytes -= int(over)
			s.streamHeld -= int(over)
		}
		h.next += uint64(p.buf.Len())
		h.ready.push(p.buf)
	}
	if n > 0 {
		h.held = h.held[:copy(h.held, h.held[n:])]
	}
}

// announce tells the application once that there is something to read.
func (s *Session) announce(st *stream) {
	h := &st.recv
	if st.opened && !st.announced && (h.ready.len() > 0 || h.finKnown && !h.finRead && h.next == h.final) {
		st.announced = true
		s.tell(StreamEvent{Kind: StreamReadable, ID: st.id})
	}
}

// StreamRead fills out with data in order, whose buffers are the caller's. eof says that the stream has ended behind
// them. After less than all of out was filled comes StreamReadable when there is more.
func (s *Session) StreamRead(now time.Duration, id StreamID, out []*buf.Buf) (n int, eof bool) {
	st := s.streamByID[id]
	if st == nil || st.resetSent {
		return 0, false
	}
	h := &st.recv
	for n < len(out) && h.ready.len() > 0 {
		b := h.ready.pop()
		h.bytes -= b.Len()
		s.streamHeld -= b.Len()
		h.read += uint64(b.Len())
		out[n] = b
		n++
	}
	st.announced = h.ready.len() > 0
	eof = h.finKnown && h.read == h.final
	if eof {
		h.finRead = true
		st.announced = true
		s.settleStream(st)
		return n, true
	}
	s.tuneWindow(now, st)
	return n, false
}

// tuneWindow lets the window follow what the application reads, and tells the peer when it has grown by a quarter.
func (s *Session) tuneWindow(now time.Duration, st *stream) {
	h := &st.recv
	longest := s.longestRTT()
	if h.markAt == 0 || now-h.markAt > longest {
		if used := 2 * (h.read - h.mark); h.markAt != 0 && used > h.window && s.streamHeld < s.streamPool()/2 {
			h.window = min(used, maxStreamWindow, uint64(s.streamPool()/4))
		}
		h.mark, h.markAt = h.read, now
	}
	if limit := h.read + h.window; limit > h.advertised+h.window/4 {
		h.advertised = limit
		s.dirty(st, streamWindowFact)
	}
}

// SetStreamBytes changes Limits.StreamBytes.
func (s *Session) SetStreamBytes(n int) { s.cfg.Limits.StreamBytes = n }

// StreamHeld is how many bytes of stream data have been received and not read.
func (s *Session) StreamHeld() int { return s.streamHeld }

func (s *Session) streamPool() int {
	if s.cfg.Limits.StreamBytes > 0 {
		return s.cfg.Limits.StreamBytes
	}
	return defaultStreamPool
}

// longestRTT is the longest smoothed round trip of the paths that are up.
func (s *Session) longestRTT() time.Duration {
	var d time.Duration
	for _, p := range s.paths {
		if p.sched.State().Usable() {
			d = max(d, p.sched.SRTT())
		}
	}
	return d
}
