package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xtaci/smux"
)

// Reset codes that are given here. They are those of RESET frames (package tunnel), which has more.
const (
	Closed  uint64 = 0 // the other end has no more use for the stream
	Aborted uint64 = 7 // its connection was reset
	Gone    uint64 = 8 // the carrier is
)

// bulkAfter makes a stream a bulk transfer, in bytes: a page, a picture or a mail is below, and for what is above, the
// setting up of another carrier does not count.
const bulkAfter = 256 << 10

// ResetError is why a stream has ended early.
type ResetError struct{ Code uint64 }

func (e *ResetError) Error() string { return fmt.Sprintf("the stream was reset, code %d", e.Code) }

// Stream is one connection on a carrier. Its methods may be called from several goroutines.
type Stream struct {
	conn  *Conn
	s     *smux.Stream
	id    uint32
	moved atomic.Int64 // bytes, both ways

	writing sync.Mutex // held while something is written, so that the end comes behind it
	reading sync.Mutex

	mu        sync.Mutex
	reached   chan struct{} // closed when the target was reached, or will not be
	answered  bool          // reached is closed
	verdict   chan struct{} // closed when the peer has said how its direction ends
	judged    bool          // verdict is closed
	read      uint64        // bytes
	wrote     uint64
	length    uint64 // of what the peer writes, once hasLength
	hasLength bool
	ended     bool        // CloseWrite was called
	finished  bool        // Read has returned the end
	torn      bool        // a Write has failed: how much of it will arrive is not known
	closed    bool        // Close or Fail was called
	gone      *ResetError // the peer has reset it, or the carrier is over
	onReset   func(code uint64)
	deadline  [2]timed   // of reading and of writing
	room      room       // for what the peer writes
	allowed   uint64     // bytes that may be written, if bounded
	bounded   bool       // the peer has said so
	changed   *sync.Cond // on mu: something a Write waits for
}

// timed is a deadline: it passes by itself, for smux would lose a window update whose reader's deadline passes under way.
type timed struct {
	passed bool
	timer  *time.Timer
}

const (
	reads = iota
	writes
)

func newStream(c *Conn, s *smux.Stream) *Stream {
	st := &Stream{conn: c, s: s, id: s.ID(), reached: make(chan struct{}), verdict: make(chan struct{})}
	st.changed = sync.NewCond(&st.mu)
	return st
}

// longAgo is a deadline that has passed whatever the clock says.
var longAgo = time.Unix(1, 0)

// readTarget reads what a stream begins with.
func (s *Stream) readTarget() ([]byte, error) {
	s.SetReadDeadline(time.Now().Add(prefaceTime))
	defer s.SetReadDeadline(time.Time{})
	var b [2]byte
	if _, err := io.ReadFull(s.s, b[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b[:]))
	if n > maxTarget {
		return nil, fmt.Errorf("%w: a target of %d bytes", ErrBroken, n)
	}
	target := make([]byte, n)
	_, err := io.ReadFull(s.s, target)
	return target, err
}

// hear takes a message about the stream.
func (s *Stream) hear(m message) {
	s.mu.Lock()
	var tell func(uint64)
	switch m.kind {
	case accepted:
		s.answer()
	case roomy:
		s.allowed, s.bounded = max(s.allowed, m.value), true
		s.changed.Broadcast()
	case end:
		s.length, s.hasLength = m.value, true
		s.judge()
		s.drain(reads)
	case reset:
		if s.gone == nil {
			s.gone = &ResetError{m.value}
			tell = s.onReset
		}
		s.answer()
		s.judge()
		s.drain(reads)
		s.drain(writes)
	}
	s.mu.Unlock()
	if tell != nil {
		tell(m.value)
	}
}

// broken ends the stream because its carrier is over.
func (s *Stream) broken() { s.hear(message{kind: reset, value: Gone}) }

// answer ends the waiting of Wait. Called with mu held.
func (s *Stream) answer() {
	if !s.answered {
		s.answered = true
		close(s.reached)
	}
}

// judge ends the waiting of a Read that has found smux's end. Called with mu held.
func (s *Stream) judge() {
	if !s.judged {
		s.judged = true
		close(s.verdict)
	}
}

// drain lets smux return what has arrived, or take what there is room for, and then nothing. Called with mu held.
func (s *Stream) drain(which int) {
	d := &s.deadline[which]
	if d.timer != nil {
		d.timer.Stop()
	}
	s.smuxDeadline(which, longAgo)
}

// smuxDeadline sets a deadline of smux. Called with mu held.
func (s *Stream) smuxDeadline(which int, t time.Time) {
	if which == reads {
		s.s.SetReadDeadline(t)
	} else {
		s.s.SetWriteDeadline(t)
		s.changed.Broadcast()
	}
}

// Accept tells the peer that the target was reached.
func (s *Stream) Accept() { s.conn.say(work{message: message{kind: accepted, id: s.id}}) }

// Wait waits until the peer has reached the target. The error is a *ResetError if it has not, or that of ctx.
func (s *Stream) Wait(ctx context.Context) error {
	select {
	case <-s.reached:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		return s.gone
	}
	return nil
}

// OnReset calls f once, from another goroutine, when the peer has reset the stream or the carrier is over: at
// once if that has happened. f must not block.
func (s *Stream) OnReset(f func(code uint64)) {
	s.mu.Lock()
	s.onReset = f
	gone := s.gone
	s.mu.Unlock()
	if gone != nil {
		f(gone.Code)
	}
}

// Moved is how many bytes the stream has carried, both ways.
func (s *Stream) Moved() int64 { return s.moved.Load() }

// state is what stands in the way of reading or writing. Called with mu held.
func (s *Stream) state(which int) error {
	switch {
	case s.closed:
		return net.ErrClosed
	case which == writes && s.ended:
		return net.ErrClosed
	case which == writes && s.gone != nil:
		return s.gone
	case s.deadline[which].passed:
		return os.ErrDeadlineExceeded
	case which == writes && s.torn:
		return ErrBroken
	}
	return nil
}

// Read returns data, io.EOF behind the last of them, or a *ResetError behind what arrived before a reset.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	err := s.state(reads)
	if err == nil && s.hasLength && s.read >= s.length {
		s.finished, err = true, io.EOF
	}
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := s.s.Read(p)
	s.moved.Add(int64(n))
	if n == 0 && err != smux.ErrTimeout {
		s.awaitVerdict()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read += uint64(n)
	if n > 0 && s.room.memory != nil && !s.hasLength {
		if limit, ok := s.room.read(s.read, time.Now()); ok {
			s.conn.say(work{message: message{kind: roomy, id: s.id, value: limit}})
		}
	}
	switch {
	case n > 0:
		if err != nil && s.gone == nil && !s.hasLength {
			s.gone = &ResetError{Aborted} // a window update is lost, and the peer may wait for it for ever
		}
		return n, nil
	case s.hasLength && s.read >= s.length:
		s.finished = true
		return 0, io.EOF
	case s.gone != nil:
		return 0, s.gone
	}
	if err := s.state(reads); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("%w: %w", ErrBroken, err)
}

// awaitVerdict waits for the message that came before smux's end, or for the end of the carrier: another goroutine hears of either.
func (s *Stream) awaitVerdict() {
	late := time.NewTimer(prefaceTime)
	defer late.Stop()
	select {
	case <-s.verdict:
	case <-late.C: // the peer does not keep the rules
	}
}

// blocks are for data on their way through smux.
var blocks = sync.Pool{New: func() any { return new([frameSize]byte) }}

// Write writes all of p, unless there is an error; after one, that of a deadline included, nothing can be written any more.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for n < len(p) && err == nil {
		var most int
		if most, err = s.awaitRoom(); err != nil {
			return n, err
		}
		b := blocks.Get().(*[frameSize]byte)
		size := copy(b[:min(most, frameSize)], p[n:])
		var k int
		k, err = s.s.Write(b[:size])
		n += k
		s.moved.Add(int64(k))
		s.mu.Lock()
		s.wrote += uint64(k)
		if err == nil {
			blocks.Put(b) // else smux may still have it
		} else {
			s.torn = true
			err = s.state(writes)
		}
		s.mu.Unlock()
	}
	return n, err
}

// awaitRoom waits until something may be written, and returns how much.
func (s *Stream) awaitRoom() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch err := s.state(writes); {
		case err != nil:
			return 0, err
		case !s.bounded:
			return frameSize, nil
		case s.wrote < s.allowed:
			return int(min(s.allowed-s.wrote, frameSize)), nil
		}
		s.changed.Wait()
	}
}

// CloseWrite says that nothing more will be written. It waits for a Write that is under way.
func (s *Stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := s.state(writes); {
	case s.torn:
		return ErrBroken
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	s.ended = true
	s.conn.say(work{message: message{kind: end, id: s.id, value: s.wrote}})
	return nil
}

// Close ends the stream. It is a reset unless both directions have ended.
func (s *Stream) Close() error { return s.end(Closed, false) }

// Reset ends the stream so that the other end sees a reset.
func (s *Stream) Reset() error { return s.end(Aborted, true) }

// Fail is Reset for another reason.
func (s *Stream) Fail(code uint64) error { return s.end(code, true) }

func (s *Stream) end(code uint64, always bool) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	w := work{stream: s.s}
	if (always || !s.ended || !s.finished) && s.gone == nil {
		w.message = message{kind: reset, id: s.id, value: code}
	}
	s.answer()
	s.judge()
	s.drain(reads)
	s.drain(writes)
	s.room.end()
	s.mu.Unlock()
	s.conn.forget(s)
	s.conn.say(w)
	return nil
}

// LocalAddr and RemoteAddr are those of the carrier.
func (s *Stream) LocalAddr() net.Addr  { return s.conn.conn.LocalAddr() }
func (s *Stream) RemoteAddr() net.Addr { return s.conn.conn.RemoteAddr() }

func (s *Stream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *Stream) SetReadDeadline(t time.Time) error  { return s.setDeadline(reads, t) }
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadline(writes, t) }

func (s *Stream) setDeadline(which int, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.gone != nil || which == reads && s.hasLength {
		return nil // nothing waits any more
	}
	d := &s.deadline[which]
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	wait := time.Until(t)
	d.passed = !t.IsZero() && wait <= 0
	switch {
	case d.passed:
		s.smuxDeadline(which, longAgo)
		return nil
	case !t.IsZero():
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if d.timer == timer {
				d.passed = true
				s.smuxDeadline(which, longAgo)
			}
		})
		d.timer = timer
	}
	s.smuxDeadline(which, time.Time{})
	return nil
}
