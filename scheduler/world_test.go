package scheduler

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"
)

// parcel is something on a link, or an event of the driver.
type parcel struct {
	at    time.Duration
	order int
	l     *letter // arrives at the peer
	ack   *Ack    // arrives here
	due   bool    // the peer's acknowledgement timer
	path  PathID
}

type parcels []parcel

func (s parcels) Len() int { return len(s) }
func (s parcels) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].order < s[j].order
}
func (s parcels) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *parcels) Push(x any)   { *s = append(*s, x.(parcel)) }
func (s *parcels) Pop() any {
	old := *s
	x := old[len(old)-1]
	*s = old[:len(old)-1]
	return x
}

// line is a link to the peer and back, and the peer's receiving half of the path.
type line struct {
	rate          float64 // bytes/s
	delay, jitter time.Duration
	queue         time.Duration
	loss, ackLoss float64
	busy          time.Duration
	dead          bool
	mtu           int // bytes of UDP payload that pass
	in            inbound
	seen          map[uint64]bool
}

// peerClock is ahead of ours by this much.
const peerClock = 1234 * time.Second

// stage in a handle's life.
type stage uint8

const (
	stageQueued stage = iota + 1
	stageSent         // outstanding
	stageDone
)

type world struct {
	owner
	rng    *rand.Rand
	lines  []*line
	mail   parcels
	order  int
	far    *Reorder
	stages []stage   // by handle
	keys   []FlowKey // by handle
	got    map[Handle]bool
	hash   interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}
	steps   int
	streams map[FlowKey]*farStream
	fail    error
}

// farStream is what the peer has of a stream: of each byte, whether it has arrived.
type farStream struct {
	offered int // in all
	granted uint64
	bytes   []bool
}

func newWorld(t testing.TB, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 77))
	w := &world{rng: rng, far: NewReorder(0), got: map[Handle]bool{}, hash: fnv.New64a(), streams: map[FlowKey]*farStream{}}
	cfg := Config{QueueLimit: 1 << (15 + rng.IntN(6)), Policy: Policy(rng.IntN(10) % 3)}
	if rng.IntN(3) > 0 {
		cfg.Policy = Aggregate
	}
	w.owner = owner{t: t, b: New(cfg, rand.New(rand.NewPCG(seed, 1))), pack: rng.IntN(4) > 0}
	w.out, w.freed, w.granted, w.idle, w.arrived = w.post, w.free, w.check, w.checkIdleNow, w.streamed
	for i := range 1 + rng.IntN(4) {
		l := &line{
			rate:   125_000 * []float64{1, 4, 10, 50, 100}[rng.IntN(5)],
			delay:  time.Duration(1+rng.IntN(60)) * ms,
			jitter: time.Duration(rng.IntN(8)) * ms,
			queue:  time.Duration(20+rng.IntN(300)) * ms,
			loss:   []float64{0, 0, .003, .02, .1}[rng.IntN(5)],
			mtu:    1472,
			seen:   map[uint64]bool{},
		}
		l.ackLoss = l.loss
		if rng.IntN(8) == 0 {
			l.delay += 250 * ms
		}
		l.in.due = Never
		l.in.lastAt = -time.Hour
		w.lines = append(w.lines, l)
		p := w.b.AddPath(0, PathID(i), PathConfig{
			Group: uint8(rng.IntN(3)), Backup: rng.IntN(5) == 0, Metered: rng.IntN(5) == 0, MTU: []int{1472, 1472, 1252, 1364}[rng.IntN(4)],
		})
		if i == 0 {
			p.Config.MTU = 1472
			p.SetMTU(1472)
		}
		w.b.Proven(0, p)
	}
	return w
}

func (w *world) broken(format string, args ...any) {
	if w.fail == nil {
		w.fail = fmt.Errorf("at %v: "+format, append([]any{w.now}, args...)...)
	}
}

func (w *world) later(at time.Duration, m parcel) {
	m.at, m.order = at, w.order
	w.order++
	heap.Push(&w.mail, m)
}

func (w *world) trace(format string, args ...any) {
	fmt.Fprintf(w.hash, "%d ", w.now)
	fmt.Fprintf(w.hash, format, args...)
}

// check is called with each grant, before it is recorded.
func (w *world) check(p *Path, g *Grant) {
	if err := w.b.checkGrant(w.now, g); err != nil {
		w.broken("%w", err)
	}
	w.trace("grant %d %d %d %d\n", p.ID, g.Handle, g.Seq, g.Try)
	if g.Stream {
		s := w.streams[g.Key]
		if g.Try == 1 {
			if g.Offset != s.granted {
				w.broken("stream %d: bytes from %d granted, want %d", g.Key, g.Offset, s.granted)
			}
			s.granted += uint64(g.Size)
		}
		return
	}
	if w.stages[g.Handle] == stageDone {
		w.broken("packet %d granted after it was finished with", g.Handle)
	}
	if f := w.b.byKey[w.keys[g.Handle]]; g.Try <= 1 && f != nil && !f.sparse {
		if err := w.b.checkStrict(w.now, g); err != nil {
			w.broken("new packet of flow %d, not sparse: %w", f.key, err)
		}
	}
	w.stages[g.Handle] = stageSent
}

func (w *world) free(h Handle) {
	if w.stages[h] == stageDone || w.stages[h] == 0 {
		w.broken("packet %d freed at stage %d", h, w.stages[h])
	}
	w.stages[h] = stageDone
}

func (w *world) checkIdleNow() {
	if w.fail == nil {
		if err := w.b.checkIdle(w.now); err != nil {
			w.broken("%w", err)
		}
	}
}

// post sends a letter over its link.
func (w *world) post(l *letter) {
	p := w.b.Path(l.path)
	if p.inflight > 0 && l.size > p.mtu {
		w.broken("path %d: a datagram of %d bytes, its MTU is %d", l.path, l.size, p.mtu)
	}
	k := w.lines[l.path]
	start := max(w.now, k.busy)
	if k.dead || l.size > k.mtu || start-w.now > k.queue {
		return
	}
	k.busy = start + seconds(float64(l.size)/k.rate)
	if w.rng.Float64() < k.loss {
		return
	}
	at := k.busy + k.delay
	if k.jitter > 0 {
		at += time.Duration(w.rng.Int64N(int64(k.jitter)))
	}
	w.later(at, parcel{l: l, path: l.path})
	if w.rng.IntN(200) == 0 {
		w.later(at+3*ms, parcel{l: l, path: l.path}) // the network duplicates
	}
}

// deliver is the peer: it takes a letter, and acknowledges it in its time.
func (w *world) deliver(l *letter) {
	k := w.lines[l.path]
	if k.seen[l.pn] {
		return // its replay window
	}
	k.seen[l.pn] = true
	at := w.now + peerClock
	k.in.received(at, at, l.pn, l.size, at-l.at, l.ack == nil, 0, 2*k.delay)
	for i := range l.grants {
		g := &l.grants[i]
		switch {
		case g.Stream:
			s := w.streams[g.Key]
			for o := g.Offset; o < g.Offset+uint64(g.Size); o++ {
				for uint64(len(s.bytes)) <= o {
					s.bytes = append(s.bytes, false)
				}
				s.bytes[o] = true
			}
		case g.AtOnce:
			w.far.PushAtOnce(w.now, g.Flow, uint16(g.Seq), g.Handle)
		case g.Ordered:
			w.far.Push(w.now, g.Flow, uint16(g.Seq), g.Handle, g.Size)
		default:
			w.receive(g.Handle)
		}
	}
	for _, s := range l.skips {
		w.far.Skip(w.now, s.Flow, uint16(s.From), s.Count)
	}
	w.release()
	if k.in.due < Never {
		w.later(max(k.in.due-peerClock, w.now), parcel{due: true, path: l.path})
	}
}

func (w *world) release() {
	for h, ok := w.far.Pop(); ok; h, ok = w.far.Pop() {
		w.receive(h)
	}
}

func (w *world) receive(h Handle) {
	if w.got[h] {
		w.broken("packet %d delivered twice", h)
	}
	w.got[h] = true
	w.trace("got %d\n", h)
}

func (w *world) streamed(s StreamPiece) {
	f := w.streams[s.Key]
	for o := s.Offset; o < s.Offset+uint64(s.Size); o++ {
		if o >= uint64(len(f.bytes)) || !f.bytes[o] {
			w.broken("stream %d: byte %d counts as arrived and is not there", s.Key, o)
			return
		}
	}
}

// acknowledge sends what the peer owes for path id.
func (w *world) acknowledge(id PathID) {
	k := w.lines[id]
	if w.now+peerClock < k.in.due {
		return
	}
	a := k.in.takeAck(w.now+peerClock, id)
	a.Ranges = append([]Range(nil), a.Ranges...)
	if !k.dead && w.rng.Float64() >= k.ackLoss {
		w.later(w.now+k.delay, parcel{ack: &a})
	}
}

// step goes on to the next event, at most to end.
func (w *world) step(end time.Duration) {
	next := min(end, w.b.Deadline(), w.far.Deadline())
	if len(w.mail) > 0 {
		next = min(next, w.mail[0].at)
	}
	w.now = max(next, w.now)
	w.steps++
	for len(w.mail) > 0 && w.mail[0].at <= w.now {
		m := heap.Pop(&w.mail).(parcel)
		switch {
		case m.l != nil:
			w.deliver(m.l)
		case m.ack != nil:
			w.onAck(*m.ack)
		case m.due:
			w.acknowledge(m.path)
		}
	}
	w.far.Advance(w.now)
	w.release()
	w.settle()
}

// settle takes a turn and looks at the result.
func (w *world) settle() {
	w.turn()
	if w.fail != nil {
		return
	}
	if d := w.b.Deadline(); d <= w.now {
		w.broken("the deadline, %v, has passed after a turn", d)
	}
	if err := w.b.checkAccounts(); err != nil {
		w.broken("%w", err)
	}
	if err := w.b.checkActive(); err != nil {
		w.broken("%w", err)
	}
}
