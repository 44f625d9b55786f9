package carrier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xtaci/smux"
)

const (
	// streamWindow lets one stream do 270 Mbit/s at a round trip of 120 ms.
	streamWindow = 4 << 20
	// connWindow is for all streams of a carrier together: one that is read slowly leaves the others room.
	connWindow = 16 << 20
	// frameSize makes two full TLS records (16 KB) of a frame with its header of 8 bytes.
	frameSize = 32<<10 - 8

	keepAliveInterval = 10 * time.Second
	keepAliveTimeout  = 30 * time.Second

	// maxStreams bounds the streams of one carrier, and with them the early messages. A Pool stays far below.
	maxStreams = 256
	// maxTarget bounds a target, in bytes: a name has 253 and its head a few.
	maxTarget = 512
	// prefaceTime is how long the target of a new stream may take; it travels with the stream's first data.
	prefaceTime = 10 * time.Second
)

// ErrBroken says that the carrier of a stream is gone, or broke its rules.
var ErrBroken = errors.New("the carrier is broken")

// Conn is one carrier. Its methods may be called from several goroutines.
type Conn struct {
	conn    net.Conn
	made    time.Time
	retired atomic.Bool
	memory  Memory // for windows; nil: no bounds but those of smux
	sess    *smux.Session
	control *smux.Stream
	wg      sync.WaitGroup // goroutines of ours
	done    chan struct{}  // closed when the carrier is over

	opening sync.Mutex // one OpenStream at a time, so that ids come in order

	mu      sync.Mutex
	over    bool
	streams map[uint32]*Stream
	highest uint32               // id of the stream that was taken last
	early   map[uint32][]message // for streams that were not taken yet
	past    int64                // bytes of streams that are over
	queue   []work
	wake    chan struct{} // one token: queue is not empty
}

// work is something for the goroutine that may wait for the peer.
type work struct {
	message message      // nothing is sent if its kind is 0
	stream  *smux.Stream // to be closed behind it; may be nil
}

func config() *smux.Config {
	c := smux.DefaultConfig()
	c.Version = 2
	c.MaxFrameSize = frameSize
	c.MaxStreamBuffer = streamWindow
	c.MaxReceiveBuffer = connWindow
	c.KeepAliveInterval = keepAliveInterval
	c.KeepAliveTimeout = keepAliveTimeout
	return c
}

// Client makes a carrier of a connection that a Server has the other end of. The connection is the carrier's from now on.
func Client(conn net.Conn) (*Conn, error) {
	sess, err := smux.Client(conn, config())
	if err == nil {
		var control *smux.Stream
		if control, err = sess.OpenStream(); err == nil {
			return start(conn, sess, control, nil), nil
		}
		sess.Close()
	}
	conn.Close()
	return nil, fmt.Errorf("make a carrier: %w", err)
}

// Serve makes a carrier of a connection and takes the streams of its Client until it is over, or Close is called on the Conn that is
// given to began first. It calls handle for each stream in a goroutine of its own, which it joins, with
// the stream's target. The handler has to close the stream. Windows are taken from memory, unless that is nil.
func Serve(conn net.Conn, memory Memory, began func(*Conn), handle func(s *Stream, target []byte)) error {
	sess, err := smux.Server(conn, config())
	if err != nil {
		conn.Close()
		return fmt.Errorf("make a carrier: %w", err)
	}
	sess.SetDeadline(time.Now().Add(prefaceTime))
	control, err := sess.AcceptStream()
	if err != nil {
		sess.Close()
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	sess.SetDeadline(time.Time{})
	c := start(conn, sess, control, memory)
	defer c.Close()
	began(c)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	defer c.shut() // before the handlers are waited for
	for {
		s, err := sess.AcceptStream()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		st, ok := c.take(s)
		if !ok {
			s.Close()
			continue
		}
		handlers.Go(func() { // joined above
			target, err := st.readTarget()
			if err != nil {
				st.Fail(Aborted)
				return
			}
			handle(st, target)
		})
	}
}

func start(conn net.Conn, sess *smux.Session, control *smux.Stream, memory Memory) *Conn {
	c := &Conn{conn: conn, made: time.Now(), memory: memory, sess: sess, control: control, done: make(chan struct{}), highest: control.ID(),
		streams: make(map[uint32]*Stream), early: make(map[uint32][]message), wake: make(chan struct{}, 1)}
	c.wg.Go(c.listen) // joined by Close
	c.wg.Go(c.speak)  // joined by Close
	return c
}

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Made is when the carrier was made.
func (c *Conn) Made() time.Time { return c.made }

// Retire keeps a Pool from opening more streams on the carrier; it is closed when it has none.
func (c *Conn) Retire() { c.retired.Store(true) }

// Done is closed when the carrier is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Open opens a stream. It does not wait for the peer: data may be written at once.
func (c *Conn) Open(target []byte) (*Stream, error) {
	if len(target) > maxTarget {
		return nil, fmt.Errorf("a target of %d bytes: it has %d at most", len(target), maxTarget)
	}
	c.opening.Lock()
	s, err := c.sess.OpenStream()
	var st *Stream
	if err == nil {
		var ok bool
		if st, ok = c.take(s); !ok {
			err = ErrBroken
			s.Close()
		}
	}
	c.opening.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	preface := binary.BigEndian.AppendUint16(nil, uint16(len(target)))
	if _, err := s.Write(append(preface, target...)); err != nil {
		st.Fail(Closed)
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return st, nil
}

// take gives a new stream its place, and what was said about it before.
func (c *Conn) take(s *smux.Stream) (*Stream, bool) {
	st := newStream(c, s)
	c.mu.Lock()
	if c.over || len(c.streams) >= maxStreams {
		c.mu.Unlock()
		return nil, false
	}
	c.streams[st.id] = st
	c.highest = max(c.highest, st.id)
	early := c.early[st.id]
	delete(c.early, st.id)
	c.mu.Unlock()
	for _, m := range early {
		st.hear(m)
	}
	if c.memory != nil {
		st.mu.Lock()
		limit := st.room.begin(c.memory, time.Now())
		st.mu.Unlock()
		c.say(work{message: message{kind: roomy, id: st.id, value: limit}})
	}
	return st, true
}

// forget takes a stream out.
func (c *Conn) forget(st *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past += st.moved.Load()
	delete(c.streams, st.id)
}

// Moved is how many bytes its streams have carried so far, both ways.
func (c *Conn) Moved() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.past
	for _, s := range c.streams {
		n += s.moved.Load()
	}
	return n
}

// load counts the streams, and tells whether one of them is a bulk transfer.
func (c *Conn) load() (streams int, bulk bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		bulk = bulk || s.moved.Load() >= bulkAfter
	}
	return len(c.streams), bulk
}

// Close ends the carrier and its streams, and joins its goroutines.
func (c *Conn) Close() error {
	c.shut()
	c.wg.Wait()
	return nil
}

// shut ends the carrier without waiting.
func (c *Conn) shut() {
	c.mu.Lock()
	first := !c.over
	c.over = true
	var all []*Stream
	for _, s := range c.streams {
		all = append(all, s)
	}
	c.mu.Unlock()
	if !first {
		return
	}
	close(c.done)
	c.sess.Close()
	c.conn.Close()
	for _, s := range all {
		s.broken()
	}
}

// listen hears what the peer says about streams, until the carrier is over.
func (c *Conn) listen() {
	defer c.shut()
	for {
		var b [messageLen]byte
		if _, err := io.ReadFull(c.control, b[:]); err != nil {
			return
		}
		m := parseMessage(b)
		c.mu.Lock()
		st := c.streams[m.id]
		if st == nil && m.id > c.highest {
			if len(c.early) >= maxStreams || len(c.early[m.id]) >= 4 {
				c.mu.Unlock()
				return // it does not keep the rules
			}
			c.early[m.id] = append(c.early[m.id], m)
		}
		c.mu.Unlock()
		if st != nil {
			st.hear(m)
		}
	}
}

// say queues work for speak.
func (c *Conn) say(w work) {
	c.mu.Lock()
	c.queue = append(c.queue, w)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// speak tells the peer about streams, and closes those that are done.
func (c *Conn) speak() {
	defer c.shut()
	var b []byte
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		all := c.queue
		c.queue = nil
		c.mu.Unlock()
		b = b[:0]
		for _, w := range all {
			if w.message.kind != 0 {
				b = w.message.append(b)
			}
		}
		if _, err := c.control.Write(b); err != nil {
			return
		}
		b = make([]byte, 0, cap(b)) // smux may still have the old one
		for _, w := range all {
			if w.stream != nil {
				w.stream.Close() // its FIN leaves behind the message
			}
		}
	}
}
