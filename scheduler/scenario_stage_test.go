package scheduler

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// player is the stage on which a scenario is played: a Bond with its owner, and a peer that answers when it is told to.
type player struct {
	owner
	peers  []*peer // by path
	kinds  map[FlowKey]Class
	handle Handle
	keys   map[Handle]FlowKey
	ids    map[uint16]FlowKey

	text    strings.Builder
	run     *sendRun // sends that are not written yet
	pieces  []StreamPiece
	acks    int // of ours that are not written yet
	ackAt   time.Duration
	ackPath PathID
	ackLine string
	summing bool
	sums    []sendRun
	err     error
}

// peer is the far end of one path.
type peer struct {
	got     rangeSet
	never   map[uint64]bool // will not arrive
	owd     time.Duration
	answers bool // acknowledges by itself, one round trip after the sending
	rtt     time.Duration
	due     []answer
	told    map[uint64]bool // losses already written
	late    uint64          // spurious losses already written
	next    uint64          // of the peer's own datagrams
}

type answer struct {
	at time.Duration
	pn uint64
}

// sendRun is a run of like sends on one path, to be written as one line.
type sendRun struct {
	at          time.Duration
	path        PathID
	what        string // flow and how
	stream      bool
	numbered    bool
	first, last uint64 // seq or, for a stream, bytes
	pn, lastPN  uint64
	n           int
}

func newStage(t *testing.T) *player {
	s := &player{kinds: map[FlowKey]Class{}, keys: map[Handle]FlowKey{}, ids: map[uint16]FlowKey{}}
	s.owner = owner{t: t, b: New(Config{}, rand.New(rand.NewPCG(1, 1)))}
	s.out, s.granted, s.freed, s.changed = s.sent, s.check, s.done, s.rung
	s.control, s.arrived, s.taken = s.fact, s.piece, s.acked
	s.idle = func() {
		if err := s.b.checkIdle(s.now); err != nil {
			s.broken(err)
		}
	}
	return s
}

func (s *player) broken(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *player) printf(format string, args ...any) {
	s.flush()
	fmt.Fprintf(&s.text, format, args...)
}

// event writes what happened at a moment.
func (s *player) event(format string, args ...any) {
	s.printf("%v  ", brief(s.now))
	s.printf(format, args...)
	s.text.WriteByte('\n')
}

// brief is a time with as few digits as tell it.
func brief(d time.Duration) string {
	return fmt.Sprintf("%gms", float64(d.Round(10*us))/float64(ms))
}

func (s *player) output() string {
	s.flush()
	defer s.text.Reset()
	return s.text.String()
}

// flush writes the run of sends, or that of acknowledgements.
func (s *player) flush() {
	switch n := s.acks; {
	case n == 1:
		fmt.Fprintf(&s.text, "%v  path %d: ack %s\n", brief(s.ackAt), s.ackPath, s.ackLine)
	case n > 1:
		fmt.Fprintf(&s.text, "%v  path %d: %d acks, the last %s\n", brief(s.ackAt), s.ackPath, n, s.ackLine)
	}
	s.acks = 0
	r := s.run
	s.run = nil
	if r == nil {
		return
	}
	fmt.Fprintf(&s.text, "%v  path %d: %s", brief(r.at), r.path, r.what)
	switch {
	case r.stream:
		fmt.Fprintf(&s.text, " bytes %d..%d", r.first, r.last)
		if r.n > 1 {
			fmt.Fprintf(&s.text, " in %d pieces", r.n)
		}
	case r.numbered:
		fmt.Fprintf(&s.text, " seq %s", span(r.first, r.last))
	case r.n > 1:
		fmt.Fprintf(&s.text, " %d packets", r.n)
	}
	fmt.Fprintf(&s.text, ", pn %s\n", span(r.pn, r.lastPN))
}

// sum writes what was sent while time passed.
func (s *player) sum() {
	slices.SortFunc(s.sums, func(a, b sendRun) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.what, b.what)) })
	for _, r := range s.sums {
		s.event("path %d: %s, in all %d", r.path, r.what, r.n)
	}
	s.summing, s.sums = false, nil
}

func span(first, last uint64) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d..%d", first, last)
}

// sent is called with every datagram.
func (s *player) sent(l *letter) {
	q := s.peers[l.path]
	if l.ack == nil && q.answers && !q.never[l.pn] {
		q.due = append(q.due, answer{s.now + q.rtt, l.pn})
	}
	switch {
	case l.ping && s.b.Path(l.path).State() == Validating:
		s.event("path %d: challenge, pn %d", l.path, l.pn)
	case l.ping:
		s.event("path %d: probe, pn %d", l.path, l.pn)
	case len(l.skips) > 0:
		k := l.skips[0]
		s.event("path %d: skip flow %d seq %s, pn %d", l.path, s.ids[k.Flow], span(k.From, k.From+uint64(k.Count)-1), l.pn)
	}
	for i := range l.grants {
		s.sentPacket(l, &l.grants[i], l.how[i])
	}
}

func (s *player) sentPacket(l *letter, g *Grant, h how) {
	r := &sendRun{at: s.now, path: l.path, pn: l.pn, lastPN: l.pn, n: 1, stream: g.Stream, numbered: g.Ordered}
	switch {
	case g.Stream:
		r.what = fmt.Sprintf("stream %d%v", g.Key, h)
		r.first, r.last = g.Offset, g.Offset+uint64(g.Size)-1
	default:
		r.what = fmt.Sprintf("flow %d%v", s.keys[g.Handle], h)
		r.first, r.last = g.Seq, g.Seq
		if g.Ordered {
			s.ids[g.Flow] = s.keys[g.Handle]
		}
		if g.AtOnce {
			r.what += " at once"
		}
		if g.Mark {
			r.what += " marked"
		}
	}
	if s.summing {
		i := slices.IndexFunc(s.sums, func(q sendRun) bool { return q.path == r.path && q.what == r.what })
		if i < 0 {
			i = len(s.sums)
			s.sums = append(s.sums, sendRun{path: r.path, what: r.what})
		}
		s.sums[i].n++
		return
	}
	if q := s.run; q != nil && q.path == r.path && q.what == r.what && q.numbered == r.numbered && q.lastPN+1 == r.pn &&
		(q.last+1 == r.first || !r.numbered && !r.stream) {
		q.last, q.lastPN = r.last, r.pn
		q.n++
		return
	}
	s.flush()
	s.run = r
}

func (s *player) check(_ *Path, g *Grant) {
	if err := s.b.checkGrant(s.now, g); err != nil {
		s.broken(err)
	}
}

// done is called when a packet is finished with. Only what is given up or dropped is worth a line, and that has one.
func (s *player) done(Handle) {}

func (s *player) rung(c Change) { s.event("path %d: %v, was %v", c.Path, c.To, c.From) }

func (s *player) piece(p StreamPiece) {
	if n := len(s.pieces); n > 0 && s.pieces[n-1].Key == p.Key && s.pieces[n-1].Offset+uint64(s.pieces[n-1].Size) == p.Offset {
		s.pieces[n-1].Size += p.Size
		return
	}
	s.pieces = append(s.pieces, p)
}

// news writes what has arrived of streams since the last look.
func (s *player) news() {
	for _, p := range s.pieces {
		if !s.summing {
			s.event("stream %d: bytes %d..%d have arrived", p.Key, p.Offset, p.Offset+uint64(p.Size)-1)
		}
	}
	s.pieces = s.pieces[:0]
}

func (s *player) fact(name uint64, arrived bool) {
	if arrived {
		s.event("fact %d has arrived", name)
	} else {
		s.event("fact %d is lost", name)
	}
}

// acked writes the acknowledgement we owe; it is not sent, so that the packet numbers stay those of the data.
func (s *player) acked(p *Path, a Ack) bool {
	var parts []string
	for i := len(a.Ranges) - 1; i >= 0; i-- {
		parts = append(parts, span(a.Ranges[i].First, a.Ranges[i].Last))
	}
	line := strings.Join(parts, " ")
	if a.Delay > 0 {
		line += fmt.Sprintf(", the largest waited %v", brief(a.Delay))
	}
	if a.CE > 0 {
		line += fmt.Sprintf(", ce %d", a.CE)
	}
	if s.acks > 0 && (s.ackAt != s.now || s.ackPath != p.ID) {
		s.flush()
	}
	if s.acks == 0 {
		s.flush()
	}
	s.acks, s.ackAt, s.ackPath, s.ackLine = s.acks+1, s.now, p.ID, line
	return false
}

// losses writes what has been declared lost, or was found not to be, since the last look.
func (s *player) losses() {
	for _, p := range s.b.Paths() {
		q := s.peers[p.ID]
		var lost []string
		var first, last uint64
		run := false
		put := func() {
			if run {
				lost = append(lost, span(first, last))
			}
			run = false
		}
		for pn := p.log.base; pn < p.log.next; pn++ {
			if p.log.at(pn).state != sentLost || q.told[pn] {
				continue
			}
			q.told[pn] = true
			if run && last+1 == pn {
				last = pn
				continue
			}
			put()
			first, last, run = pn, pn, true
		}
		put()
		if len(lost) > 0 {
			s.event("path %d: lost pn %s", p.ID, strings.Join(lost, " "))
		}
		if n := p.Stats.SpuriousLosses; n > q.late {
			s.event("path %d: %d counted as lost too early; the packet threshold is %d", p.ID, n-q.late, p.reorder)
			q.late = n
		}
	}
}

// turnAndCheck is a turn of the engine, and what must hold after it.
func (s *player) turnAndCheck() error {
	// Losses by time are written before what follows from them.
	s.b.Advance(s.now)
	s.losses()
	s.after()
	s.turn()
	s.losses()
	if s.err == nil {
		s.broken(s.b.checkAccounts())
		s.broken(s.b.checkActive())
	}
	if d := s.b.Deadline(); s.err == nil && d <= s.now {
		s.err = fmt.Errorf("at %v the deadline, %v, has passed", s.now, d)
	}
	return s.err
}

// advance lets time pass.
func (s *player) advance(d time.Duration) error {
	for end := s.now + d; s.now < end; {
		next := min(end, s.b.Deadline())
		for _, q := range s.peers {
			if len(q.due) > 0 {
				next = min(next, q.due[0].at)
			}
		}
		s.now = next
		for id, q := range s.peers {
			for len(q.due) > 0 && q.due[0].at <= s.now {
				q.got.add(q.due[0].pn)
				q.due = q.due[1:]
				if err := s.acknowledge(PathID(id), 0, 0, q.owd); err != nil {
					return err
				}
			}
		}
		if err := s.turnAndCheck(); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge reports what the peer has got on a path.
func (s *player) acknowledge(id PathID, held time.Duration, ce uint64, owd time.Duration) error {
	err := s.b.OnAck(s.now, Ack{Path: id, Delay: held, Owd: owd, CE: ce, Ranges: s.peers[id].got.ranges()})
	s.losses()
	s.after()
	s.news()
	return err
}
