package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// streamSession is a session that carries streams.
type streamSession interface {
	OpenStream(now time.Duration, target []byte) (tunnel.StreamID, error)
	StreamAccept(now time.Duration, id tunnel.StreamID)
	StreamRoom(id tunnel.StreamID) int
	StreamWrite(now time.Duration, id tunnel.StreamID, data []byte) error
	StreamEnd(now time.Duration, id tunnel.StreamID)
	StreamReset(now time.Duration, id tunnel.StreamID, code uint64)
	StreamEvent() (tunnel.StreamEvent, bool)
	StreamRead(now time.Duration, id tunnel.StreamID, out []*buf.Buf) (n int, eof bool)
	Streams() int
}

const (
	// streamRequest is what the client of a stream that carries data down says first, bytes: a GET with its headers.
	streamRequest = 200
	// streamBlock is what an application writes at once, bytes: what the node reads from a socket.
	streamBlock = 64 << 10
	// readEvery is how often a reader of limited rate reads.
	readEvery = 10 * time.Millisecond
)

// streamFlow is one stream and the applications at its ends: the client at the gateway, the server at the exit.
type streamFlow struct {
	res    *FlowResult
	run    *Run
	number int
	id     tunnel.StreamID
	ends   [2]streamEnd // of the gateway, of the exit
	timer  actor        // of a reader of limited rate
}

// streamEnd is the application at one end.
type streamEnd struct {
	open  bool   // the stream is there
	plan  uint64 // bytes to write
	sent  uint64
	ended bool   // and said so
	got   uint64 // bytes read
	eof   bool   // the other end's end was read
	reset bool
	room  int // bytes that a reader of limited rate may still read
}

// streamPeriod is the length of the pattern that streams carry, bytes: a prime, so that no displacement by a datagram or a block goes
// unnoticed.
const streamPeriod = 65521

// streamPattern is the pattern, and so much again that a block can be cut from any place in it.
var streamPattern = func() []byte {
	p := make([]byte, streamPeriod+streamBlock)
	x := uint64(1)
	for i := range streamPeriod {
		x = x*6364136223846793005 + 1442695040888963407
		p[i] = byte(x >> 56)
	}
	for i := streamPeriod; i < len(p); i++ {
		p[i] = p[i-streamPeriod]
	}
	return p
}()

// content is what a direction of the stream carries at an offset.
func (f *streamFlow) content(side int, off uint64, n int) []byte {
	at := (off + uint64(f.number)*977 + uint64(side)*31) % streamPeriod
	return streamPattern[at : at+uint64(n)]
}

// carryStreams prepares both sessions for streams.
func (r *Run) carryStreams() error {
	for _, n := range r.nodes() {
		if n.streams != nil {
			continue
		}
		s, ok := n.sess.(streamSession)
		if !ok {
			return fmt.Errorf("sim: the session of the %s carries no streams", n.name)
		}
		n.streams, n.byStream = s, map[tunnel.StreamID]*streamFlow{}
	}
	return nil
}

// addStream makes the applications of a stream.
func (r *Run) addStream(cfg Flow) *FlowResult {
	f := &streamFlow{res: &FlowResult{Flow: cfg, run: r.w}, run: r, number: len(r.streams)}
	f.res.stream = f
	r.streams = append(r.streams, f)
	size := cfg.Bytes
	if size == 0 {
		size = 1 << 62
	}
	if cfg.Down {
		f.ends[0].plan, f.ends[1].plan = streamRequest, size
	} else {
		f.ends[0].plan = size
	}
	f.res.at(cfg.Start, f.start)
	if cfg.Stop > 0 {
		f.res.at(cfg.Stop, f.stop)
	}
	if cfg.ReadRate > 0 {
		f.timer = r.w.add("slow reader", f.slowRead)
	}
	return f.res
}

func (f *streamFlow) start(now time.Duration) {
	s := f.run.gateway.streams
	id, err := s.OpenStream(now, binary.BigEndian.AppendUint32(nil, uint32(f.number)))
	if err != nil {
		f.run.w.fail(fmt.Errorf("sim: stream %d: %w", f.number, err))
		return
	}
	f.id = id
	for _, n := range f.run.nodes() {
		n.byStream[id] = f
	}
	f.ends[0].open = true
	f.write(now, 0)
	if f.res.ReadRate > 0 {
		f.run.w.set(f.timer, now)
	}
	f.run.gateway.due = true
}

// stop ends the transfer: the sender has no more to say, or the client is gone.
func (f *streamFlow) stop(now time.Duration) {
	side := 0
	if f.res.Abort {
		f.reset(now, 0)
		return
	}
	if f.res.Down {
		side = 1
	}
	e := &f.ends[side]
	e.plan = min(e.plan, e.sent)
	f.write(now, side)
}

// reset ends the stream from one side.
func (f *streamFlow) reset(now time.Duration, side int) {
	n := f.run.nodes()[side]
	if e := &f.ends[side]; e.open && !(e.eof && e.ended) {
		n.streams.StreamReset(now, f.id, tunnel.ResetAborted)
		e.open, e.reset, f.res.Reset = false, true, true
		n.due = true
	}
}

// write gives the session of a side what it takes.
func (f *streamFlow) write(now time.Duration, side int) {
	e, n := &f.ends[side], f.run.nodes()[side]
	if !e.open || e.ended || side == 1 && f.res.Down && f.ends[1].got < streamRequest {
		return // a server answers when it was asked
	}
	n.due = true
	for e.sent < e.plan && n.streams.StreamRoom(f.id) > 0 {
		k := min(streamBlock, e.plan-e.sent)
		if n.streams.StreamWrite(now, f.id, f.content(side, e.sent, int(k))) != nil {
			return // it is being reset
		}
		e.sent += k
	}
	if e.sent == e.plan && (f.res.Down || side == 0 || e.eof) {
		e.ended = true
		n.streams.StreamEnd(now, f.id)
	}
}

// read takes from the session of a side what the application takes.
func (f *streamFlow) read(now time.Duration, side int) {
	e, n := &f.ends[side], f.run.nodes()[side]
	receiver := f.res.Down == (side == 0)
	slow := receiver && f.res.ReadRate > 0
	for e.open && !e.eof {
		out := f.run.pkts[:]
		if slow {
			if e.room <= 0 {
				return
			}
			out = out[:1]
		}
		k, eof := n.streams.StreamRead(now, f.id, out)
		for _, b := range out[:k] {
			if !bytes.Equal(b.Bytes(), f.content(1-side, e.got, b.Len())) {
				f.run.w.fail(fmt.Errorf("%w at %v: stream %d carries other bytes than were written at %d", ErrInvariant, now, f.number, e.got))
			}
			e.got += uint64(b.Len())
			e.room -= b.Len()
			if receiver {
				f.res.got(now, b.Len())
			}
			b.Release()
		}
		if o := &f.ends[1-side]; e.got > o.sent || eof && (!o.ended || e.got != o.plan) {
			f.run.w.fail(fmt.Errorf("%w at %v: stream %d was cut: %d of %d bytes read, %d written, end %v", ErrInvariant, now, f.number, e.got, o.plan, o.sent, eof))
		}
		e.eof = eof
		if k < len(out) || eof {
			break
		}
	}
	f.write(now, side) // a server may answer now, or end as its client did
	f.res.Whole = f.ends[0].eof && f.ends[1].eof
}

// slowRead lets a reader of limited rate read a little.
func (f *streamFlow) slowRead(now time.Duration) {
	side := 1
	if f.res.Down {
		side = 0
	}
	e := &f.ends[side]
	e.room = min(e.room, 0) + int(f.res.ReadRate/8*readEvery.Seconds())
	f.read(now, side)
	f.run.nodes()[side].due = true
	if !e.eof && !e.reset {
		f.run.w.set(f.timer, now+readEvery)
	}
}

// serveStreams handles what a session has to tell of its streams. It reports whether there was anything.
func (r *Run) serveStreams(now time.Duration, n *node) (did bool) {
	if n.streams == nil {
		return false
	}
	side := int(n.dir)
	for ev, ok := n.streams.StreamEvent(); ok; ev, ok = n.streams.StreamEvent() {
		did = true
		f := n.byStream[ev.ID]
		if f == nil {
			r.w.fail(fmt.Errorf("%w at %v: %s has news of stream %d, which nobody opened", ErrInvariant, now, n.name, ev.ID))
			return false
		}
		switch ev.Kind {
		case tunnel.StreamOpened:
			if k := int(binary.BigEndian.Uint32(ev.Target)); k != f.number {
				r.w.fail(fmt.Errorf("%w at %v: stream %d is opened for target %d", ErrInvariant, now, f.number, k))
			}
			f.ends[side].open = true
			n.streams.StreamAccept(now, ev.ID)
		case tunnel.StreamReadable:
			f.read(now, side)
		case tunnel.StreamWritable:
			f.write(now, side)
		case tunnel.StreamReset:
			f.ends[side].open, f.ends[side].reset, f.res.Reset = false, true, true
			delete(n.byStream, ev.ID)
		case tunnel.StreamDone:
			f.ends[side].open = false
			delete(n.byStream, ev.ID)
		}
	}
	return did
}

// nodes are both ends, in the order of streamFlow.ends.
func (r *Run) nodes() [2]*node { return [2]*node{r.gateway, r.exit} }
