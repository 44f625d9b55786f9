package scheduler

import "time"

// Twins: a small packet that somebody waits for (voice, a game, DNS, the first packets of a connection) is sent on two
// paths of different uplinks at once when the better one is not to be trusted. The receiver delivers whichever comes
// first, at once, and drops the other.
const (
	twinLoss   = .003                  // loss of the best path above which twins pay (research/transport.md §5)
	twinJitter = 10 * time.Millisecond // D90 - D above which they pay
	twinFirst  = 4                     // packets at the beginning of any flow: SYN, TLS hello
	twinSize   = 600                   // bytes; larger ones are not what somebody waits for
	// twinRate and twinBurst bound what twins may cost beside the common budget of copies: 128 kb/s.
	twinRate  = 16_000.0
	twinBurst = 8_000.0
)

// Policy is how packets are spread over paths.
type Policy uint8

const (
	Aggregate Policy = iota // earliest arrival; the default
	Redundant               // every packet on the two best paths
	Standby                 // everything on the best path, the others wait
)

// twin is a packet whose second copy has not been sent yet.
type twin struct {
	f    *flow
	seq  uint64
	path *Path
}

// wantsTwin decides, when a packet of f is about to leave on p, whether another path shall carry it as well, and which.
func (b *Bond) wantsTwin(now time.Duration, p *Path, f *flow, size int) *Path {
	if len(b.active) < 2 || f.class == Stream {
		return nil
	}
	if b.cfg.Policy != Redundant {
		if size > twinSize || !f.sparse && f.granted > twinFirst || !p.shaky() && !b.anySuspect() || !b.spendTwin(now, size) {
			return nil
		}
	}
	var second *Path
	secondA := Never
	for _, q := range b.active {
		if q == p || q.mtu < size+overhead || q.Config.Metered && !p.shaky() || !q.readySparse(now, size+overhead) {
			continue
		}
		if a, _ := q.arrival(now, size+overhead, false); a < secondA {
			second, secondA = q, a
		}
	}
	return second
}

// shaky reports whether the path loses or delays so much that a twin pays.
func (p *Path) shaky() bool {
	d, high := p.Delay()
	return p.loss > twinLoss || high-d > twinJitter
}

// twinRepair sends a repair of an ordered packet on a second path as well where paths lose: a repair that is lost comes
// too late a second time, and costs the inner TCP a third of its window.
func (b *Bond) twinRepair(now time.Duration, p *Path, f *flow, seq uint64, o *outstanding) {
	size := int(o.size) + overhead
	if f.class == Stream || !p.shaky() || b.twin.f != nil || b.copyBudget < float64(size) {
		return
	}
	for _, q := range b.active {
		if q != p && q.mtu >= size && !q.Config.Metered && q.readySparse(now, size) {
			b.copyBudget -= float64(size)
			b.twin = twin{f, seq, q}
			return
		}
	}
}

func (b *Bond) anySuspect() bool {
	for _, p := range b.paths {
		if p.state == Suspect {
			return true
		}
	}
	return false
}

func (b *Bond) spendTwin(now time.Duration, size int) bool {
	b.twinCredit = min(b.twinCredit+twinRate*(now-b.twinAt).Seconds(), twinBurst)
	b.twinAt = now
	if b.twinCredit < float64(size) {
		return false
	}
	b.twinCredit -= float64(size)
	return true
}

// nextTwin grants the second copy of the packet granted last.
func (b *Bond) nextTwin(now time.Duration) (Grant, bool) {
	t := b.twin
	b.twin = twin{}
	if t.f == nil || t.path.state != Up {
		return Grant{}, false
	}
	o := t.f.outAt(t.seq)
	if o == nil || o.done {
		return Grant{}, false
	}
	o.tries++
	o.copied = true
	b.stats.Twins++
	return b.regrant(t.path, t.f, t.seq, o), true
}
