package tunnel

import (
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/wire"
)

// sendHalf is the sending direction of a stream. Bytes are numbered from 0; the end of the stream takes the number
// behind the last byte, so that it is scheduled, lost and repeated like a byte of its own.
type sendHalf struct {
	blocks  queue[block] // unacknowledged data, in order
	written uint64       // bytes taken from the application
	granted uint64       // bytes handed to the scheduler's pieces
	acked   uint64       // everything below has arrived
	spans   []span       // what has arrived beyond, in order, not touching
	max     uint64       // the peer takes bytes below this
	ended   bool         // no more will be written
}

// block is a run of bytes as the application gave it.
type block struct {
	off  uint64
	data []byte
}

type span struct{ from, to uint64 }

// end is one more than the number of the end mark, or of the last byte while there is none.
func (h *sendHalf) end() uint64 {
	if h.ended {
		return h.written + 1
	}
	return h.written
}

// over reports whether the direction has ended and everything has arrived.
func (h *sendHalf) over() bool { return h.ended && h.acked == h.end() }

// StreamRoom is how many bytes StreamWrite would take now without making what comes later wait too long. After a 0 comes
// StreamWritable.
func (s *Session) StreamRoom(id StreamID) int {
	st := s.streamByID[id]
	if st == nil || st.resetSent || st.aborting || st.send.ended {
		return 0
	}
	h := &st.send
	var rate float64
	for _, p := range s.paths {
		if p.sched.State() == scheduler.Up {
			rate += p.sched.Rate()
		}
	}
	limit := max(minUnsent, int(rate*unsentTime.Seconds()))
	if n := s.bond.WaitingStreams(); n > 1 {
		limit = max(limit/n, leastPerFlow)
	}
	room := limit - int(h.written-h.granted)
	if room <= 0 {
		st.wroteFull = true
		return 0
	}
	return room
}

// StreamWrite takes data, which from now on belong to the session. More than StreamRoom is taken too.
func (s *Session) StreamWrite(now time.Duration, id StreamID, data []byte) error {
	st := s.streamByID[id]
	if st == nil || st.resetSent || st.aborting || st.send.ended {
		return errNoStream
	}
	if len(data) == 0 {
		return nil
	}
	h := &st.send
	h.blocks.push(block{h.written, data})
	h.written += uint64(len(data))
	s.offer(now, st)
	return nil
}

// StreamEnd says that nothing more will be written. The other direction goes on.
func (s *Session) StreamEnd(now time.Duration, id StreamID) {
	st := s.streamByID[id]
	if st == nil || st.resetSent || st.send.ended {
		return
	}
	st.send.ended = true
	s.offer(now, st)
}

// offer tells the scheduler what the stream has.
func (s *Session) offer(now time.Duration, st *stream) {
	h := &st.send
	window := 0
	if h.max > h.granted {
		window = int(h.max - h.granted)
	}
	backlog := int(h.end() - h.granted)
	if h.ended && h.granted >= h.written {
		// The end mark needs no window.
		window = max(window, backlog)
	}
	s.bond.Offer(now, s.streamKey(st.id), backlog, window, !h.ended)
}

// appendPiece appends the STREAM frame of a grant.
func (s *Session) appendPiece(dg []byte, g *scheduler.Grant, last bool) []byte {
	st := s.streamByKey[g.Key]
	if st == nil {
		return dg
	}
	h := &st.send
	from, to := g.Offset, g.Offset+uint64(g.Size)
	h.granted = max(h.granted, to)
	fin := h.ended && to == h.end()
	if fin {
		to--
	}
	dg = wire.AppendStreamHeader(dg, last, fin, wire.Stream{ID: uint64(st.id), Offset: from}, int(to-from))
	for i := 0; i < h.blocks.len() && from < to; i++ {
		b := h.blocks.at(i)
		if end := b.off + uint64(len(b.data)); end > from {
			part := b.data[from-b.off : min(to, end)-b.off]
			dg = append(dg, part...)
			from += uint64(len(part))
		}
	}
	if st.wroteFull && s.StreamRoom(st.id) > 0 {
		st.wroteFull = false
		s.tell(StreamEvent{Kind: StreamWritable, ID: st.id})
	}
	return dg
}

// pieceArrived frees what the peer has.
func (s *Session) pieceArrived(now time.Duration, a scheduler.StreamPiece) {
	st := s.streamByKey[a.Key]
	if st == nil {
		return
	}
	h := &st.send
	h.arrived(a.Offset, a.Offset+uint64(a.Size))
	for h.blocks.len() > 0 {
		b := h.blocks.at(0)
		if b.off+uint64(len(b.data)) > h.acked {
			break
		}
		if spent := h.blocks.pop(); s.cfg.Spent != nil {
			s.cfg.Spent(spent.data)
		}
	}
	if st.aborting && h.acked >= h.written {
		s.StreamReset(now, st.id, st.resetCode)
		s.tell(StreamEvent{Kind: StreamDone, ID: st.id})
		return
	}
	s.settleStream(st)
}

// arrived adds [from, to) to what has arrived.
func (h *sendHalf) arrived(from, to uint64) {
	if to <= h.acked {
		return
	}
	if from <= h.acked {
		h.acked = to
	} else {
		h.insert(span{from, to})
	}
	n := 0
	for n < len(h.spans) && h.spans[n].from <= h.acked {
		h.acked = max(h.acked, h.spans[n].to)
		n++
	}
	h.spans = h.spans[:copy(h.spans, h.spans[n:])]
}

// insert merges x into the spans. New ones nearly always belong at the end.
func (h *sendHalf) insert(x span) {
	i := len(h.spans)
	for i > 0 && h.spans[i-1].to >= x.from {
		i--
	}
	j := i
	for j < len(h.spans) && h.spans[j].from <= x.to {
		x.from, x.to = min(x.from, h.spans[j].from), max(x.to, h.spans[j].to)
		j++
	}
	if i == j {
		h.spans = append(h.spans, span{})
		copy(h.spans[i+1:], h.spans[i:])
		h.spans[i] = x
		return
	}
	h.spans[i] = x
	h.spans = h.spans[:i+1+copy(h.spans[i+1:], h.spans[j:])]
}
