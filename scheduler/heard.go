package scheduler

import "time"

// Second-hand acknowledgements. A path that dies takes the acknowledgements of what it had delivered with it, and its
// sender would repeat all of that on the paths that are left, in front of what is missing: on a thin one that takes
// longer than everything else about the failure. So the receiver of a path that falls silent in the middle of a run says
// once more, on another path, what has arrived.

const (
	// quietAfter is the silence, twice the jitter of a bad line.
	quietAfter = 30 * time.Millisecond
	// quietRun is how many datagrams came without such a gap before it: a path that was busy.
	quietRun = 32
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

// quiet notes silence.
func (in *inbound) quiet(now time.Duration) {
	if now >= in.retellAt {
		in.retellAt, in.run, in.retell = Never, 0, true
	}
}

// RetellDue reports whether the acknowledgement of p is to be repeated on another path now, once.
func (b *Bond) RetellDue(p *Path) bool {
	due := p.in.retell
	p.in.retell = false
	return due
}

// heard takes from an acknowledgement that came by another path what need not be sent again. Of p itself, its round trip, rate and life, that
// says nothing, so its books stay as they are.
func (b *Bond) heard(now time.Duration, p *Path, a Ack) {
	b.scratch.acked, b.scratch.lost = b.scratch.acked[:0], b.scratch.lost[:0]
	for _, rg := range a.Ranges {
		for pn := max(rg.First, p.log.base); pn <= rg.Last && pn < p.log.next; pn++ {
			if r := p.log.at(pn); r.state != sentAcked {
				b.scratch.acked = p.log.appendChunks(b.scratch.acked, r)
			}
		}
	}
	b.settleNews(now, p)
}
