package scheduler

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"
)

// A Bond over random links, with a perfect receiver at their far end, under random traffic and random mischief. The
// invariants are checked after every step; when the mischief ends, everything has to come to an end as well.

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
	unsent map[Handle]bool // granted, not yet on the wire: a repair's handle must still be alive
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

func (w *world) enqueue(key FlowKey, class Class, size int) {
	h := Handle(len(w.stages))
	w.stages, w.keys = append(w.stages, stageQueued), append(w.keys, key)
	w.b.Enqueue(w.now, key, class, h, size, w.rng.IntN(4) == 0)
	w.after()
}

// traffic offers a little of everything.
func (w *world) traffic() {
	switch r := w.rng.IntN(10); {
	case r < 4: // a download
		key := FlowKey(1 + w.rng.IntN(3))
		for range 1 + w.rng.IntN(60) {
			w.enqueue(key, Ordered, 600+w.rng.IntN(600))
		}
	case r < 6: // somebody talks
		w.enqueue(10, Unordered, 60+w.rng.IntN(300))
	case r < 7: // QUIC
		for range w.rng.IntN(30) {
			w.enqueue(11, Unordered, 1180)
		}
	case r < 8:
		w.enqueue(12, Loose, 52)
	case r < 9: // a short connection
		key := FlowKey(100 + w.rng.IntN(1000))
		for range 1 + w.rng.IntN(5) {
			w.enqueue(key, Ordered, 40+w.rng.IntN(1100))
		}
	default:
		key := FlowKey(1<<20 + w.rng.IntN(2))
		s := w.streams[key]
		if s == nil {
			s = &farStream{}
			w.streams[key] = s
		}
		s.offered += w.rng.IntN(100_000)
		left := s.offered - int(s.granted)
		w.b.Offer(w.now, key, left, max(0, left-w.rng.IntN(20_000)), w.rng.IntN(2) == 0)
	}
}

// mischief does something to a path.
func (w *world) mischief() {
	id := w.rng.IntN(len(w.lines))
	k, p := w.lines[id], w.b.Path(PathID(id))
	w.trace("mischief %d\n", id)
	switch w.rng.IntN(11) {
	case 0, 1:
		k.dead = true
	case 2, 3, 4:
		k.dead = false
	case 5:
		w.b.Fail(w.now, p)
	case 6:
		w.b.Revalidate(w.now, p)
	case 7:
		w.b.Proven(w.now, p)
	case 8:
		w.b.SetBackup(w.now, p, !p.Config.Backup)
	case 9:
		p.SetMTU([]int{1252, 1300, 1472}[w.rng.IntN(3)])
	case 10:
		if len(w.lines) > 2 && id > 0 && w.rng.IntN(3) == 0 {
			w.b.Close(w.now, p)
		}
	}
	w.after()
}

// run is a whole life: traffic and mischief, then rest.
func (w *world) run(length time.Duration) {
	for w.now < length && w.fail == nil {
		end := w.now + time.Duration(w.rng.Int64N(int64(30*ms)))
		for w.now < end && w.fail == nil {
			w.step(end)
		}
		w.traffic()
		if w.rng.IntN(6) == 0 {
			w.mischief()
		}
		w.settle()
	}
	for i, k := range w.lines {
		p := w.b.Path(PathID(i))
		k.dead, k.loss, k.ackLoss = false, 0, 0
		if i == 0 {
			p.SetMTU(1472)
		}
		w.b.Proven(w.now, p)
	}
	for _, key := range []FlowKey{1 << 20, 1<<20 + 1} {
		if s := w.streams[key]; s != nil {
			w.b.Offer(w.now, key, s.offered-int(s.granted), 1<<30, false)
		}
	}
	w.settle()
	for end := w.now + 20*time.Second; w.now < end && w.fail == nil; {
		w.step(end)
	}
	w.over()
}

// over: at rest nothing is left behind.
func (w *world) over() {
	if w.fail != nil {
		return
	}
	if w.b.queue.bytes > 0 || w.b.rtx.len() > 0 {
		w.broken("at rest: %d bytes wait, %d flows have repairs", w.b.queue.bytes, w.b.rtx.len())
	}
	for h, s := range w.stages {
		if s != stageDone {
			w.broken("at rest: packet %d of flow %d is at stage %d", h, w.keys[h], s)
			return
		}
	}
	for key, s := range w.streams {
		if int(s.granted) != s.offered || len(s.bytes) != s.offered {
			w.broken("at rest: stream %d: %d of %d bytes sent, %d arrived", key, s.granted, s.offered, len(s.bytes))
		}
		for o, there := range s.bytes {
			if !there {
				w.broken("at rest: stream %d: byte %d is missing", key, o)
				break
			}
		}
	}
	if w.steps > 400*int(w.now/ms) {
		w.broken("%d steps: that is spinning", w.steps)
	}
}

// live runs the world of seed and returns the hash of its trace.
func live(t testing.TB, seed uint64, length time.Duration) uint64 {
	w := newWorld(t, seed)
	w.run(length)
	if w.fail != nil {
		t.Fatalf("seed %d: %v", seed, w.fail)
	}
	return w.hash.Sum64()
}

func TestBondUnderMischief(t *testing.T) {
	for seed := range uint64(40) {
		live(t, seed, 2*time.Second)
	}
}

// Equal seeds make equal traces, to the nanosecond.
func TestBondIsDeterministic(t *testing.T) {
	for seed := uint64(1000); seed < 1004; seed++ {
		if a, b := live(t, seed, time.Second), live(t, seed, time.Second); a != b {
			t.Fatalf("seed %d: traces %x and %x", seed, a, b)
		}
	}
}

func FuzzBond(f *testing.F) {
	f.Add(uint64(5000))
	f.Fuzz(func(t *testing.T, seed uint64) { live(t, seed, time.Second) })
}
