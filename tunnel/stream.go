package tunnel

import (
	"errors"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

// StreamID names a stream for the life of a session. Those the initiator opens are even, the others odd.
type StreamID uint64

// StreamEventKind says what happened to a stream.
type StreamEventKind uint8

const (
	StreamOpened    StreamEventKind = iota + 1 // by the peer; Target says what for
	StreamConnected                            // the peer has reached the target of our stream
	StreamReadable                             // StreamRead would return something, or the end
	StreamWritable                             // StreamRoom has become positive again
	StreamReset                                // by the peer, with Code; the stream is gone
	StreamDone                                 // both directions ended and everything arrived, or an abort was done; the stream is gone
)

// StreamEvent is news of a stream.
type StreamEvent struct {
	Kind   StreamEventKind
	ID     StreamID
	Code   uint64
	Target []byte
}

// Stream windows, by the rule of research/transport.md §2: twice what arrives in the longest round trip, found out as the
// kernel does it (tcp_rcv_space_adjust).
const (
	minStreamWindow = 512 << 10
	maxStreamWindow = 16 << 20
	// defaultStreamPool bounds what all streams of a session hold undelivered, bytes; one may have a quarter of it.
	defaultStreamPool = 64 << 20
	// defaultMaxStreams bounds the streams open at a time.
	defaultMaxStreams = 4096
	// unsentTime is how much unsent data streams may have waiting, as time at the rate of all paths: enough to keep them
	// busy between two turns of their writers, little enough that what comes later does not wait. Each has its share.
	unsentTime   = 40 * time.Millisecond
	minUnsent    = 128 << 10 // for all, bytes
	leastPerFlow = 16 << 10  // for each: ten datagrams
	// rememberedEnds is how many ended streams are remembered, so that their late frames are not taken for new ones.
	rememberedEnds = 8192
)

// Codes of a stream reset.
const (
	ResetClosed      uint64 = 0 // the application has closed it
	ResetRefused     uint64 = 1 // the target refuses connections
	ResetUnreachable uint64 = 2
	ResetTimeout     uint64 = 3
	ResetForbidden   uint64 = 4 // by policy
	ResetLimit       uint64 = 5 // too many streams, or too fast
	ResetNoName      uint64 = 6 // the name does not resolve
	ResetAborted     uint64 = 7 // the far connection was reset
	ResetSession     uint64 = 8 // the session was lost
)

var (
	errStreams  = errors.New("a session cannot have more streams at a time")
	errNoStream = errors.New("no such stream")
	errTarget   = errors.New("stream target is too long")
)

// stream is one end of a reliable byte stream.
type stream struct {
	id     StreamID
	opened bool // its OPEN has been sent or received
	target []byte

	send sendHalf
	recv recvHalf

	resetSent  bool
	resetCode  uint64 // also of a reset that waits
	aborting   bool   // to be reset when all that was written has arrived
	wroteFull  bool   // its writer has been refused room and waits for StreamWritable
	announced  bool   // StreamReadable was told and not yet followed by a read
	factsDirty uint8
}

// Facts of a stream that are repeated until they arrive.
const (
	streamOpenFact uint8 = 1 << iota
	streamWindowFact
	streamResetFact
	streamConnectedFact
)

// streamKey is the scheduler's name for a stream; packet flows have hashes, so that a clash is as unlikely as between
// two of those.
func (s *Session) streamKey(id StreamID) scheduler.FlowKey {
	return scheduler.FlowKey(mix(s.seed, uint64(id)|1<<63))
}

// OpenStream begins a stream. Its data may be written at once; they travel with the opening.
func (s *Session) OpenStream(now time.Duration, target []byte) (StreamID, error) {
	if len(target) > wire.MaxTarget {
		return 0, errTarget
	}
	if s.streamCount >= s.maxStreams() {
		return 0, errStreams
	}
	id := s.nextStream
	s.nextStream += 2
	st := s.addStream(id)
	st.target, st.opened = append([]byte(nil), target...), true
	// Until the peer says more it takes what every session grants at first.
	st.send.max = minStreamWindow
	s.dirty(st, streamOpenFact)
	s.offer(now, st)
	return id, nil
}

func (s *Session) maxStreams() int {
	if s.cfg.Limits.Streams > 0 {
		return s.cfg.Limits.Streams
	}
	return defaultMaxStreams
}

func (s *Session) addStream(id StreamID) *stream {
	st := &stream{id: id}
	st.recv.window, st.recv.advertised = minStreamWindow, minStreamWindow
	s.streamByID[id] = st
	s.streamByKey[s.streamKey(id)] = st
	s.streamCount++
	return st
}

// StreamAccept says that the target of a stream the peer has opened was reached.
func (s *Session) StreamAccept(now time.Duration, id StreamID) {
	if st := s.streamByID[id]; st != nil {
		s.dirty(st, streamConnectedFact)
	}
}

// StreamReset ends a stream in both directions, at both ends. What was not delivered is lost.
func (s *Session) StreamReset(now time.Duration, id StreamID, code uint64) {
	st := s.streamByID[id]
	if st == nil || st.resetSent {
		return
	}
	st.resetSent, st.resetCode = true, code
	s.bond.EndStream(s.streamKey(id))
	s.releaseHeld(st)
	st.send = sendHalf{}
	st.factsDirty = 0
	s.dirty(st, streamResetFact)
}

// StreamAbort ends a stream like StreamReset, but not before everything that was written has arrived: a reset overtakes what is under way, and a
// server that answers and resets at once would have said nothing. It reports whether that is so already; if not, StreamDone follows. A peer that
// does not read can make that take for ever.
func (s *Session) StreamAbort(now time.Duration, id StreamID, code uint64) (done bool) {
	st := s.streamByID[id]
	if st == nil || st.resetSent {
		return true
	}
	if st.send.acked < st.send.written {
		st.aborting, st.resetCode = true, code
		return false
	}
	s.StreamReset(now, id, code)
	return true
}

// StreamEvent returns the next piece of news.
func (s *Session) StreamEvent() (StreamEvent, bool) {
	if s.streamEvents.len() == 0 {
		return StreamEvent{}, false
	}
	return s.streamEvents.pop(), true
}

// Streams is the number of streams open.
func (s *Session) Streams() int { return s.streamCount }

func (s *Session) tell(e StreamEvent) { s.streamEvents.push(e) }

// dirty queues facts of a stream to be said.
func (s *Session) dirty(st *stream, facts uint8) {
	if st.factsDirty == 0 {
		s.streamFacts.push(st.id)
	}
	st.factsDirty |= facts
}

// dropStream forgets a stream.
func (s *Session) dropStream(st *stream) {
	s.bond.EndStream(s.streamKey(st.id))
	s.releaseHeld(st)
	delete(s.streamByID, st.id)
	delete(s.streamByKey, s.streamKey(st.id))
	s.streamCount--
	s.noteEnd(st.id)
}

// noteEnd remembers that a stream is over.
func (s *Session) noteEnd(id StreamID) {
	if _, known := s.endedStreams[id]; known {
		return
	}
	s.endedStreams[id] = struct{}{}
	s.endedOrder.push(id)
	if s.endedOrder.len() > rememberedEnds {
		delete(s.endedStreams, s.endedOrder.pop())
	}
}

// settleStream forgets a stream when both directions are over.
func (s *Session) settleStream(st *stream) {
	if s.streamByID[st.id] == st && !st.resetSent && st.send.over() && st.recv.over() {
		s.dropStream(st)
		s.tell(StreamEvent{Kind: StreamDone, ID: st.id})
	}
}

// releaseHeld gives up what a stream holds undelivered.
func (s *Session) releaseHeld(st *stream) {
	for i := range st.recv.held {
		st.recv.held[i].buf.Release()
	}
	st.recv.held = nil
	for st.recv.ready.len() > 0 {
		st.recv.ready.pop().Release()
	}
	s.streamHeld -= st.recv.bytes
	st.recv.bytes = 0
}

// pullStreamFacts says what is to be said about streams, on the best path.
func (s *Session) pullStreamFacts(now time.Duration) (Out, bool) {
	p := s.bestPath()
	if p == nil || s.streamFacts.len() == 0 {
		return Out{}, false
	}
	b, dg := s.begin(now, p)
	s.chunks = s.chunks[:0]
	room := p.sched.MTU() - wire.MaxTarget - 64
	for s.streamFacts.len() > 0 && len(s.chunks)+4 <= maxGrants && len(dg) < room {
		st := s.streamByID[s.streamFacts.pop()]
		if st == nil {
			continue
		}
		facts := st.factsDirty
		st.factsDirty = 0
		id := uint64(st.id)
		if facts&streamOpenFact != 0 {
			dg = wire.AppendOpen(dg, false, wire.Open{ID: id, Window: st.recv.advertised, Target: st.target})
			s.chunks = append(s.chunks, fact(factStreamOpen, id))
		}
		if facts&streamConnectedFact != 0 {
			dg = wire.AppendStreamValue(dg, wire.KindConnected, false, wire.StreamValue{ID: id, Value: st.recv.advertised})
			s.chunks = append(s.chunks, fact(factStreamConnected, id))
		} else if facts&streamWindowFact != 0 {
			dg = wire.AppendStreamValue(dg, wire.KindWindow, false, wire.StreamValue{ID: id, Value: st.recv.advertised})
			s.chunks = append(s.chunks, fact(factStreamWindow, id))
		}
		if facts&streamResetFact != 0 {
			dg = wire.AppendStreamValue(dg, wire.KindReset, false, wire.StreamValue{ID: id, Value: st.resetCode})
			s.chunks = append(s.chunks, fact(factStreamReset, id))
		}
	}
	return s.finish(now, p, b, dg, p.to, scheduler.Datagram{Eliciting: true, Unpaced: true, Chunks: s.chunks}, 0), true
}

// streamFactOf is the bit of a fact that was lost.
func streamFactOf(kind uint64) uint8 {
	switch kind {
	case factStreamOpen:
		return streamOpenFact
	case factStreamWindow:
		return streamWindowFact
	case factStreamReset:
		return streamResetFact
	case factStreamConnected:
		return streamConnectedFact
	}
	return 0
}

// streamFactAcked follows up on a fact that has arrived.
func (s *Session) streamFactAcked(kind uint64, id StreamID) {
	if st := s.streamByID[id]; st != nil && kind == factStreamReset && st.resetSent {
		s.dropStream(st)
	}
}

// streamFrame handles a frame of a stream. kept says that b now belongs to the stream.
func (s *Session) streamFrame(now time.Duration, kind wire.Kind, body []byte, b *buf.Buf, lone bool) (kept, ok bool) {
	switch kind {
	case wire.KindStream, wire.KindStreamFin:
		h, data, err := wire.ParseStream(body)
		if err != nil {
			return false, false
		}
		st := s.streamFor(StreamID(h.ID))
		if st == nil {
			return false, true
		}
		return s.receiveData(now, st, h.Offset, data, kind == wire.KindStreamFin, b, lone), true
	case wire.KindOpen:
		o, err := wire.ParseOpen(body)
		if err != nil {
			return false, false
		}
		st := s.streamFor(StreamID(o.ID))
		if st == nil || st.opened || !s.fromPeer(st.id) {
			return false, true
		}
		st.opened, st.target = true, append([]byte(nil), o.Target...)
		st.send.max = max(st.send.max, o.Window)
		s.tell(StreamEvent{Kind: StreamOpened, ID: st.id, Target: st.target})
		s.announce(st)
	default:
		v, err := wire.ParseStreamValue(body)
		if err != nil {
			return false, false
		}
		s.streamValue(now, kind, v)
	}
	return false, true
}

func (s *Session) streamValue(now time.Duration, kind wire.Kind, v wire.StreamValue) {
	st := s.streamByID[StreamID(v.ID)]
	if st == nil {
		if id := StreamID(v.ID); kind == wire.KindReset && s.fromPeer(id) {
			s.noteEnd(id) // it has overtaken its stream, which must not begin any more
		}
		return
	}
	switch kind {
	case wire.KindReset:
		if !st.resetSent {
			s.tell(StreamEvent{Kind: StreamReset, ID: st.id, Code: v.Value})
		}
		s.dropStream(st)
		return
	case wire.KindConnected:
		s.tell(StreamEvent{Kind: StreamConnected, ID: st.id})
	}
	if v.Value > st.send.max {
		st.send.max = v.Value
		s.offer(now, st)
	}
}

// fromPeer reports whether the peer opens streams of this number.
func (s *Session) fromPeer(id StreamID) bool { return (id&1 == 0) != s.cfg.Initiator }

// streamFor finds the stream of a frame, and makes it when the peer's first frame of it is not its OPEN: that one may be
// slower on its path. nil means that the frame is late, or not to be believed.
func (s *Session) streamFor(id StreamID) *stream {
	if st := s.streamByID[id]; st != nil {
		return st
	}
	if _, ended := s.endedStreams[id]; ended || !s.fromPeer(id) || id > 1<<56 {
		return nil
	}
	if s.streamCount >= s.maxStreams() {
		s.drops.StreamLimit++
		st := s.addStream(id)
		st.opened = true
		s.StreamReset(0, id, ResetLimit)
		return nil
	}
	return s.addStream(id)
}
