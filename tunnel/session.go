package tunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
	"github.com/bondd/bondd/tunnel/wire"
)

// PathID names a path for the life of a session.
type PathID = scheduler.PathID

// Never is the deadline of something that waits for nothing.
const Never = scheduler.Never

// Endpoint is where datagrams of a path leave from and go to.
type Endpoint struct {
	Socket int            // the owner's index of one of its sockets
	Local  netip.Addr     // our address; zero leaves it to the kernel
	Remote netip.AddrPort // the peer's
}

// Arrival is a datagram from a socket.
type Arrival struct {
	Buf  *buf.Buf
	From Endpoint
	At   time.Duration // when it arrived, on the clock of now
	ECN  uint8         // of the outer header
}

// Out is a sealed datagram for a socket.
type Out struct {
	Buf  *buf.Buf
	To   Endpoint
	Path PathID
	ECN  uint8
}

// Limits bound what a session may hold. Zero fields mean the defaults.
type Limits struct {
	QueueBytes   int // packets waiting for a path, bytes
	ReorderBytes int // packets waiting for their order, bytes
	StreamBytes  int // stream data waiting for their order or their reader, bytes
	Streams      int // open at a time
}

// Config of a session. Both ends have agreed on it in the hello.
type Config struct {
	Initiator              bool   // this end opens paths
	LocalIndex, PeerIndex  uint32 // session index in datagrams to us, and from us
	Suite                  seal.Suite
	SendSecret, RecvSecret [32]byte
	Sources                []netip.Prefix // inner source addresses accepted from the peer; nil accepts any
	Policy                 scheduler.Policy
	Limits                 Limits
	// Spent, if not nil, gets each block given to StreamWrite back once the peer has all of it. The blocks of a stream that was reset
	// do not come back. It must not call the session.
	Spent func(block []byte)
}

// maxPaths bounds the paths of a session that are not closed; the peer cannot make us keep more.
const maxPaths = 64

// Session is one end of a sealed association.
type Session struct {
	cfg     Config
	rng     *rand.Rand
	seed    uint64 // of the flow hash
	bond    *scheduler.Bond
	reorder *scheduler.Reorder
	sealer  *seal.Sealer
	opener  *seal.Opener
	paths   []*path // in order of ID
	nextID  int

	slots []slot // packets by scheduler.Handle, without buffer where free
	free  []scheduler.Handle

	released queue[*buf.Buf] // packets for PullPackets
	events   queue[Event]
	chunks   []scheduler.Chunk // scratch
	grants   []scheduler.Grant // scratch
	ranges   [wire.MaxRanges]scheduler.Range

	streamByID   map[StreamID]*stream
	streamByKey  map[scheduler.FlowKey]*stream
	streamCount  int
	nextStream   StreamID
	streamHeld   int // bytes received and not read
	streamEvents queue[StreamEvent]
	streamFacts  queue[StreamID]
	endedStreams map[StreamID]struct{}
	endedOrder   queue[StreamID]

	started    time.Duration
	lastUp     time.Duration // some path was up
	epochAt    time.Duration
	epochSent  uint64
	epochKnown bool // the peer has acknowledged a datagram of the current epoch
	owdIn      owdReference
	owdOut     owdReference
	holdAt     time.Duration
	innerMTU   int
	closing    bool
	closeCode  uint64
	closeText  string
	closeDone  bool
	drops      Drops
	trace      func(TraceEvent)
}

// owdReference turns wrapped 32-bit one-way delays into durations relative to the first one of a direction.
type owdReference struct {
	has bool
	ref int32
}

func (o *owdReference) relative(us int32) time.Duration {
	if !o.has {
		o.has, o.ref = true, us
	}
	return time.Duration(wire.DelayDiff(us, o.ref)) * time.Microsecond
}

// New makes a session without paths.
func New(now time.Duration, cfg Config, rng *rand.Rand) (*Session, error) {
	if cfg.LocalIndex == 0 || cfg.LocalIndex > wire.MaxIndex || cfg.PeerIndex == 0 || cfg.PeerIndex > wire.MaxIndex {
		return nil, fmt.Errorf("session index out of range: local %d, peer %d", cfg.LocalIndex, cfg.PeerIndex)
	}
	sealer, err := seal.NewSealer(cfg.Suite, cfg.SendSecret)
	if err != nil {
		return nil, err
	}
	opener, err := seal.NewOpener(cfg.Suite, cfg.RecvSecret)
	if err != nil {
		return nil, err
	}
	s := &Session{
		cfg: cfg, rng: rng, seed: rng.Uint64(), sealer: sealer, opener: opener,
		bond:    scheduler.New(scheduler.Config{QueueLimit: cfg.Limits.QueueBytes, Policy: cfg.Policy}, rng),
		reorder: scheduler.NewReorder(cfg.Limits.ReorderBytes),
		started: now, lastUp: now, epochAt: now, innerMTU: defaultInnerMTU,
		streamByID: map[StreamID]*stream{}, streamByKey: map[scheduler.FlowKey]*stream{}, endedStreams: map[StreamID]struct{}{},
	}
	s.bond.SetFull(s.innerMTU + overhead)
	if !cfg.Initiator {
		s.nextStream = 1
	}
	return s, nil
}

// Event is news of a session.
type Event struct {
	Kind   EventKind
	Path   PathID
	Name   string
	Reason string
}

// EventKind says what happened.
type EventKind uint8

const (
	PathUp     EventKind = iota + 1 // proven, or alive again
	PathDown                        // suspect, down or closed; Reason says which
	PathMoved                       // the peer's address has changed
	MTUChanged                      // InnerMTU has
	PeerClosed                      // the peer ended the session; Reason is its text
)

func (k EventKind) String() string {
	return [...]string{"", "path up", "path down", "path moved", "mtu changed", "peer closed"}[k]
}

// Event returns the next piece of news.
func (s *Session) Event() (Event, bool) {
	if s.events.len() == 0 {
		return Event{}, false
	}
	return s.events.pop(), true
}

var errPaths = errors.New("a session cannot have more paths")

// aliveGrace is how long a session may be without a path before its owner should make a new one: the peer may have
// lost its keys. It must not be mistaken for a flap of the lines.
const aliveGrace = 3 * time.Second

// Alive reports whether some path is up, or was a moment ago.
func (s *Session) Alive(now time.Duration) bool {
	if s.closing {
		return false
	}
	for _, p := range s.paths {
		if p.sched.State() == scheduler.Up {
			return true
		}
	}
	return now-s.lastUp < aliveGrace
}

// Close queues a CLOSE on every path. Pull once more, then drop the session.
func (s *Session) Close(_ time.Duration, code uint64, reason string) {
	s.closing, s.closeCode, s.closeText = true, code, reason
}

// Advance does what is due.
func (s *Session) Advance(now time.Duration) {
	s.bond.Advance(now)
	s.reorder.Advance(now)
	s.drainReorder()
	for _, p := range s.paths {
		s.advanceMTU(now, p)
	}
	if now >= s.holdAt {
		s.tuneHold(now)
	}
	s.after(now)
}

// after follows up on what the scheduler did: buffers that are free again, facts to repeat, transitions.
func (s *Session) after(now time.Duration) {
	for _, h := range s.bond.Freed() {
		s.drop(h)
	}
	for _, a := range s.bond.Arrived() {
		s.pieceArrived(now, a)
	}
	lost, acked := s.bond.Control()
	for _, c := range lost {
		s.controlLost(now, c)
	}
	for _, c := range acked {
		s.controlAcked(now, c)
	}
	for _, c := range s.bond.Changes() {
		p := s.path(c.Path)
		switch {
		case c.To == scheduler.Up:
			p.recovered()
			s.events.push(Event{Kind: PathUp, Path: p.id, Name: p.name})
		case c.From == scheduler.Up:
			s.lastUp = now
			s.events.push(Event{Kind: PathDown, Path: p.id, Name: p.name, Reason: c.To.String()})
		}
		s.updateInnerMTU()
	}
}

// Deadline is when Advance wants to be called, if nothing else happens.
func (s *Session) Deadline() time.Duration {
	d := min(s.bond.Deadline(), s.reorder.Deadline(), s.holdAt)
	for _, p := range s.paths {
		d = min(d, p.mtu.at)
	}
	return d
}

// holdEvery is how often the reorder hold time follows the delays of the paths.
const holdEvery = 100 * time.Millisecond

// tuneHold derives how long a hole may hold packets back from the paths that are up.
func (s *Session) tuneHold(now time.Duration) {
	s.holdAt = now + holdEvery
	fast, slow := Never, -Never
	rtt := Never
	for _, p := range s.paths {
		if p.sched.State() != scheduler.Up {
			continue
		}
		mean, high, ok := p.sched.DelayIn()
		if !ok {
			continue
		}
		fast, slow = min(fast, mean), max(slow, high)
		rtt = min(rtt, p.sched.SRTT())
	}
	if fast <= slow {
		s.reorder.SetHold(slow-fast, rtt)
	}
}

// slot is a packet the session keeps: a buffer of its own, or a piece of a super-packet.
type slot struct {
	buf   *buf.Buf
	piece int
}

// keep gives a packet a handle.
func (s *Session) keep(b *buf.Buf, piece int) scheduler.Handle {
	if n := len(s.free); n > 0 {
		h := s.free[n-1]
		s.free = s.free[:n-1]
		s.slots[h] = slot{b, piece}
		return h
	}
	s.slots = append(s.slots, slot{b, piece})
	return scheduler.Handle(len(s.slots) - 1)
}

// take ends a handle and returns its packet.
func (s *Session) take(h scheduler.Handle) *buf.Buf {
	b := s.slots[h].buf
	s.slots[h] = slot{}
	s.free = append(s.free, h)
	return b
}

func (s *Session) drop(h scheduler.Handle) { s.take(h).Release() }

// queue is a growing ring.
type queue[T any] struct {
	ring       []T
	head, tail uint64
}

func (q *queue[T]) len() int { return int(q.tail - q.head) }

func (q *queue[T]) at(i int) *T { return &q.ring[(q.head+uint64(i))&uint64(len(q.ring)-1)] }

func (q *queue[T]) push(v T) {
	if q.len() == len(q.ring) {
		grown := make([]T, max(8, 2*len(q.ring)))
		for i := range q.len() {
			grown[i] = *q.at(i)
		}
		q.head, q.tail, q.ring = 0, uint64(q.len()), grown
	}
	q.ring[q.tail&uint64(len(q.ring)-1)] = v
	q.tail++
}

func (q *queue[T]) pop() T {
	p := q.at(0)
	v := *p
	var zero T
	*p = zero
	q.head++
	return v
}
