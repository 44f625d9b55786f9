package scheduler

import (
	"testing"
	"time"

	"github.com/bondd/bondd/scheduler/cc"
)

// owner plays the part of tunnel.Session for a Bond: it does in each turn what the contract in doc.go asks for and
// hands every datagram to out, which stands for the wire.
type owner struct {
	t     testing.TB
	b     *Bond
	now   time.Duration
	pack  bool // several packets may share a datagram
	chunk []Chunk

	out     func(*letter)         // a datagram left
	freed   func(Handle)          // a packet is finished with
	changed func(Change)          // a path went to another rung
	control func(uint64, bool)    // a control fact arrived (true) or was lost
	granted func(*Path, *Grant)   // before the grant is recorded; its window and pacing are still those of the decision
	idle    func()                // Next has said that nothing may leave
	arrived func(StreamPiece)     // a stream piece is at the peer
	taken   func(*Path, Ack) bool // an acknowledgement is owed; false: it is not to be sent
}

// letter is a datagram on its way.
type letter struct {
	path   PathID
	pn     uint64
	size   int
	at     time.Duration
	ping   bool
	ack    *Ack // ranges copied
	grants []Grant
	how    []how // of each grant
	skips  []Skip
}

// how a packet came to be sent.
type how uint8

const (
	fresh how = iota
	again
	copied
	twinned
)

func (h how) String() string { return [...]string{"", " again", " copied", " twinned"}[h] }

// turn is one turn of the engine: timers, then all that may leave now.
func (o *owner) turn() {
	b := o.b
	b.Advance(o.now)
	for _, p := range b.Paths() {
		if p.State() == Closed {
			continue
		}
		if b.ProbeDue(o.now, p) {
			o.send(p, &letter{ping: true}, Datagram{Size: 40, Eliciting: true, Unpaced: true})
		}
		if b.AckDue(o.now, p) {
			a := b.TakeAck(o.now, p)
			a.Ranges = append([]Range(nil), a.Ranges...)
			if o.taken == nil || o.taken(p, a) {
				o.send(p, &letter{ack: &a}, Datagram{Size: 60, Unpaced: true})
			}
		}
	}
	for more := true; more; more = o.b.HasSkips() && len(o.b.active) > 0 {
		o.skips()
		for o.data() {
		}
	}
	if o.idle != nil {
		o.idle()
	}
	o.after()
}

// until takes turns as they fall due, up to end.
func (o *owner) until(end time.Duration) {
	o.t.Helper()
	for steps := 0; o.now < end; steps++ {
		if steps > 10_000 {
			o.t.Fatalf("at %v, after %d turns, %v is still far", o.now, steps, end)
		}
		o.now = min(o.b.Deadline(), end)
		o.turn()
	}
}

// skips sends what was given up, on the path with the shortest round trip.
func (o *owner) skips() {
	for o.b.HasSkips() {
		var via *Path
		for _, p := range o.b.Paths() {
			if p.State() == Up && (via == nil || p.SRTT() < via.SRTT()) {
				via = p
			}
		}
		if via == nil {
			return
		}
		k, _ := o.b.NextSkip()
		o.chunk = append(o.chunk[:0], Chunk{Kind: ChunkSkip, Flow: k.Flow, Seq: k.From, Count: k.Count})
		o.send(via, &letter{skips: []Skip{k}}, Datagram{Size: 40, Eliciting: true, Unpaced: true, Chunks: o.chunk})
	}
}

// data sends one datagram of user data, if one may leave.
func (o *owner) data() bool {
	was := o.b.stats
	g, ok := o.b.Next(o.now)
	if !ok {
		return false
	}
	l := &letter{}
	o.chunk = o.chunk[:0]
	size := overhead
	o.add(l, &g, was)
	size += framedSize(&g)
	for o.pack && o.b.Backlog() > 0 && g.Path.mtu-size > 48 {
		was = o.b.stats
		more, ok := o.b.More(o.now, g.Path, g.Path.mtu-size-nextFrame)
		if !ok {
			break
		}
		if more.Path != g.Path {
			o.t.Fatalf("at %v: More(path %d) granted on path %d", o.now, g.Path.ID, more.Path.ID)
		}
		o.add(l, &more, was)
		size += more.Size + nextFrame
	}
	o.send(g.Path, l, Datagram{Size: size, Eliciting: true, Chunks: o.chunk})
	return true
}

// nextFrame bounds what each further packet costs beside itself: its own header, and the lengths that now stand before
// both.
const nextFrame = 20

func (o *owner) add(l *letter, g *Grant, was Stats) {
	if o.granted != nil {
		o.granted(g.Path, g)
	}
	h := fresh
	switch now := o.b.stats; {
	case now.Retransmitted > was.Retransmitted:
		h = again
	case now.Copied > was.Copied:
		h = copied
	case now.Twins > was.Twins:
		h = twinned
	}
	if g.Ordered || g.Stream {
		o.chunk = append(o.chunk, g.Chunk())
	} else if o.freed != nil {
		o.freed(g.Handle)
	}
	l.grants = append(l.grants, *g)
	l.how = append(l.how, h)
}

// framedSize is what a grant adds to a datagram: the full overhead counts an ordered packet's header.
func framedSize(g *Grant) int {
	if g.Stream {
		return g.Size + streamOverhead - overhead
	}
	return g.Size
}

func (o *owner) send(p *Path, l *letter, d Datagram) {
	l.path, l.pn, l.size, l.at = p.ID, p.NextPN(), d.Size, o.now
	o.b.Record(o.now, p, d)
	if o.out != nil {
		o.out(l)
	}
}

// after collects what the Bond has to tell. An acknowledgement is followed by it too.
func (o *owner) after() {
	for _, h := range o.b.Freed() {
		if o.freed != nil {
			o.freed(h)
		}
	}
	for _, c := range o.b.Changes() {
		if o.changed != nil {
			o.changed(c)
		}
	}
	for _, s := range o.b.Arrived() {
		if o.arrived != nil {
			o.arrived(s)
		}
	}
	lost, acked := o.b.Control()
	if o.control != nil {
		for _, n := range lost {
			o.control(n, false)
		}
		for _, n := range acked {
			o.control(n, true)
		}
	}
}

// onAck applies an acknowledgement.
func (o *owner) onAck(a Ack) {
	if err := o.b.OnAck(o.now, a); err != nil {
		o.t.Fatalf("at %v: %v", o.now, err)
	}
	o.after()
}

// learnRate makes rate (bytes/s) the path's estimate, by as many equal samples as its controller wants to see.
func (p *Path) learnRate(now time.Duration, rate float64, rtt time.Duration) {
	for round := range uint64(40) {
		p.ctl.OnAck(now, cc.Ack{Delivered: 1000, Rate: rate, RTT: rtt, DeliveredAtSend: 1000 * round, DeliveredTotal: 1000 * (round + 1)})
		if got := p.Rate(); p.ctl.State() == "cruise" && got > .99*rate && got < 1.01*rate {
			return
		}
	}
	panic("the controller does not learn: " + p.ctl.State())
}

// pause takes the pacer of the path until then.
func (p *Path) pause(until time.Duration) { p.nextSend, p.resume = until, until }
