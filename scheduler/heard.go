package scheduler

import (
	"slices"
	"time"
)

// Second-hand acknowledgements. A path that dies takes the acknowledgements of what it had delivered with it, and its
// sender would repeat all of that on the paths that are left, in front of what is missing: on a thin one that takes
// longer than everything else about the failure. So the receiver of a path that falls silent in the middle of a run says
// once more, on another path, what has arrived. It does the same when a datagram is missing on a path that is far slower
// than another: over a satellite the repair would be on its way 0.3 s later, and everything behind the hole waits for it.

const (
	// quietAfter is the silence, twice the jitter of a bad line.
	quietAfter = 30 * time.Millisecond
	// quietRun is how many datagrams came without such a gap before it: a path that was busy.
	quietRun = 32
	// holeGain is how much sooner a hole must be told of by another path; below that it is not worth a datagram.
	holeGain = 40 * time.Millisecond
	// holeGap is between two tellings of holes: a path that loses in bursts has one datagram for them.
	holeGap = 5 * time.Millisecond
)

// ran notes an arrival.
func (in *inbound) ran(now time.Duration) {
	if now-in.lastAt > quietAfter {
		in.run = 0
	}
	in.run++
	if in.run >= quietRun {
		in.retellAt = now + quietAfter
	}
}

// quiet notes silence, and that a hole is to be told of.
func (in *inbound) quiet(now time.Duration) {
	if now >= in.retellAt {
		in.retellAt, in.run, in.retell = Never, 0, true
	}
	if now >= in.holeAt {
		in.holeAt, in.holeToldAt, in.retell = Never, now, true
	}
}

// missed notes what an arrival on p says of holes: one is told of when as many have come after it as the sender needs to take it for lost.
func (b *Bond) missed(now time.Duration, p *Path, gap bool) {
	in := &p.in
	switch {
	case in.holeIn > 1:
		in.holeIn--
	case in.holeIn == 1:
		in.holeIn = 0
		in.holeAt = max(now, in.holeToldAt+holeGap)
	case gap:
		d, _ := p.Delay()
		for _, q := range b.active {
			if qd, _ := q.Delay(); q != p && d-qd > holeGain {
				in.holeIn = packetThreshold - 1
			}
		}
	}
}

// Retell says that p is known to be dead: where it was busy, its acknowledgement is to be repeated on another path now, without waiting for silence.
func (b *Bond) Retell(p *Path) { p.in.retell = p.in.retell || p.in.run >= quietRun }

// RetellDue reports whether the acknowledgement of p is to be repeated on another path now, once.
func (b *Bond) RetellDue(p *Path) bool {
	due := p.in.retell
	p.in.retell = false
	return due
}

// heard takes from an acknowledgement that came by another path what need not be sent again, and what has to be: a hole with
// as many above it as loss detection asks for. Of p itself, its round trip, rate and life, that says nothing, so its books stay as they are.
func (b *Bond) heard(now time.Duration, p *Path, a Ack) {
	b.scratch.acked, b.scratch.lost = b.scratch.acked[:0], b.scratch.lost[:0]
	for i, rg := range a.Ranges {
		for pn := max(rg.First, p.log.base); pn <= rg.Last && pn < p.log.next; pn++ {
			if r := p.log.at(pn); r.state != sentAcked && !r.told {
				r.told = true
				b.scratch.acked = p.log.appendChunks(b.scratch.acked, r)
			}
		}
		if i+1 == len(a.Ranges) {
			break
		}
		for pn := max(a.Ranges[i+1].Last+1, p.log.base); pn < min(rg.First, p.log.next); pn++ {
			if r := p.log.at(pn); r.state == sentOutstanding && !r.moved && a.Ranges[0].Last-pn >= p.reorder {
				r.moved = true
				b.scratch.lost = p.log.appendChunks(b.scratch.lost, r)
			}
		}
	}
	b.settleNews(now, p)
	if p.state == Suspect {
		b.sortAgain() // suspect had to guess what is missing first
	}
}

// sortAgain brings what is to be sent again into its order.
func (b *Bond) sortAgain() {
	for i := range b.rtx.len() {
		q := &(*b.rtx.at(i)).retx
		b.seqs = b.seqs[:0]
		for k := range q.len() {
			b.seqs = append(b.seqs, *q.at(k))
		}
		slices.Sort(b.seqs)
		for k, seq := range b.seqs {
			*q.at(k) = seq
		}
	}
}
