package scheduler

import "time"

const (
	// Extra one-way delay that a class accepts for more rate (research/transport.md §3).
	spreadInteractive = 30 * time.Millisecond
	// spreadYoung is for an ordered flow that is not yet bulk. An inner TCP in slow start takes a rise of its round trip
	// by 4 ms for a full path and stops (HyStart; RFC 9406 §4.2), long before the path is full.
	spreadYoung   = 4 * time.Millisecond
	spreadOrdered = 150 * time.Millisecond
	// againSlack: a repair may arrive so much later than on the best path.
	againSlack = 20 * time.Millisecond
	// sparseDebt is how far a sparse flow may run ahead of pacing. At 100 kb/s it cannot build a queue.
	sparseDebt = 5 * time.Millisecond
	// A path that is thinSpread slower and has less than thinShare of the rate of the faster ones is not worth an ordered
	// flow's while: one packet on it holds the others back, and an inner TCP whose window is small loses more by the longer
	// round trip than the path brings (V+T in the simulator: 33 instead of 46 Mb/s for seconds).
	thinSpread = 10 * time.Millisecond
	thinShare  = .08
	// startingTarget is added to CoDel's target for a young flow while a path is in start-up: two round trips of a usual line, in which the
	// controller learns what the inner slow start already sends.
	startingTarget = 60 * time.Millisecond
	startingFor    = 2 * time.Second // of a flow's life
	// From a loss of lossyPath on, holes are the rule rather than the exception: at 30 Mb/s one in 200 ms or less.
	lossyPath     = .002
	repairBacklog = 100 * time.Millisecond
	// cutBacklog, in round trips of the fastest path (100 ms at the most): with so much waiting an inner CUBIC that is cut to 0.7 (RFC 9438 §4.6) still fills the bond,
	// 1/0.7 - 1. Else each drop costs it the seconds that it takes to grow again. Others have queues of their own and do not wait for it.
	cutBacklog = .43
	// thinBacklog packets may stand at the least: on a line of 1 Mb/s one takes longer than CoDel's target, and below four in flight
	// an inner TCP that loses one cannot tell by the next ones (RFC 5681 §3.2) and waits for its timer.
	thinBacklog = 4
	// bulkDrain: what a bulk flow has queued is only the beginning of what it will send.
	bulkDrain = 4
	// sparseOver: sparse packets may exceed the window by two datagrams, as RFC 9002 §7.5 allows probes to.
	sparseOver = 2 * maxPacket
)

// arrival estimates how long from now size bytes take to the far end on p, up to the constant offset that all paths
// share, and the relative one-way delay it is based on.
func (p *Path) arrival(now time.Duration, size int, ordered bool) (a, d time.Duration) {
	rate := p.Rate()
	d, high := p.Delay()
	a = p.wait(now, size, rate) + seconds(float64(size)/rate) + d
	if ordered {
		a += high - d
	}
	return a, d
}

// pick chooses the path for the packet at the head of f, or nil for waiting.
func (b *Bond) pick(now time.Duration, f *flow, size int) *Path {
	size += overhead
	ordered := f.class == Ordered || f.class == Stream || f.hasID
	limit := spreadInteractive
	switch {
	case f.bulk && f.class == Stream:
		limit = spreadStream
		size = min(size, b.leastMTU())
	case f.class == Stream:
		limit = spreadYoung
		size = min(size, b.leastMTU())
	case f.bulk:
		limit = spreadOrdered
	case f.class == Ordered:
		limit = spreadYoung
	}
	best, bestA := b.best(now, size, ordered)
	if best == nil {
		return nil
	}
	if best.ready(now, size) || f.sparse && best.readySparse(now, size) {
		return best
	}
	// The best path is blocked for the moment. A slower one that is ready helps only if the faster ones would not drain
	// the backlog sooner (ECF, Lim et al. 2017). The backlog of a stream that goes on has no end.
	minD := Never
	for _, p := range b.active {
		if d, _ := p.Delay(); p.mtu >= size {
			minD = min(minD, d)
		}
	}
	var chosen *Path
	chosenD := Never
	backlog := b.queue.bytes
	if !f.bulk {
		backlog = f.bytes
	}
	for _, p := range b.active {
		if p == best || p.mtu < size || !p.ready(now, size) {
			continue
		}
		d, _ := p.Delay()
		if d >= chosenD || d-minD > limit {
			continue
		}
		var faster float64
		for _, q := range b.active {
			if qd, _ := q.Delay(); q != p && q.mtu >= size && qd < d {
				faster += q.Rate()
			}
		}
		if f.class == Ordered && d-minD > thinSpread && p.Rate() < thinShare*faster {
			continue
		}
		if faster > 0 && !(f.class == Stream && f.bulk && f.more) {
			drain := seconds(float64(backlog) / faster)
			if f.bulk {
				drain *= bulkDrain
			}
			if p.declined {
				drain = drain * 8 / 10
			}
			if late := d - bestA; late > drain {
				p.declined = true
				continue
			}
		}
		if f.class == Stream && b.wouldBlock(f, p, d, size) {
			continue
		}
		p.declined = false
		chosen, chosenD = p, d
	}
	return chosen
}

// wouldBlock is BLEST's test (Ferlin et al. 2016): until a piece sent on p arrives, the faster paths could send so much
// more that the peer's window would be used up, and they would stand still.
func (b *Bond) wouldBlock(f *flow, p *Path, d time.Duration, size int) bool {
	need := float64(size)
	for _, q := range b.active {
		if qd, _ := q.Delay(); q != p && qd < d {
			need += q.Rate() * (d - qd).Seconds()
		}
	}
	return need > float64(f.window)
}

// leastMTU is the largest datagram that every path in use takes.
func (b *Bond) leastMTU() int {
	n := maxPacket
	for _, p := range b.active {
		n = min(n, p.mtu)
	}
	return n
}

// best is the path of the earliest arrival among those that take size bytes.
func (b *Bond) best(now time.Duration, size int, ordered bool) (best *Path, bestA time.Duration) {
	bestA = Never
	for _, p := range b.active {
		if p.mtu < size {
			continue
		}
		if a, _ := p.arrival(now, size, ordered); a < bestA {
			best, bestA = p, a
		}
	}
	return best, bestA
}

// readySparse reports whether a packet of a sparse flow may leave now.
func (p *Path) readySparse(now time.Duration, size int) bool {
	return p.paceWait(now) <= sparseDebt && p.inflight+size <= p.ctl.Window()+sparseOver
}

// tooLong reports whether no path in use takes datagrams of size bytes.
func (b *Bond) tooLong(size int) bool {
	for _, p := range b.active {
		if p.mtu >= size {
			return false
		}
	}
	return true
}

// pickAgain chooses the path for a repair: the earliest arrival, but not where it was lost twice, and not much later
// than the best.
func (b *Bond) pickAgain(now time.Duration, f *flow, o *outstanding) *Path {
	size := f.framed(int(o.size))
	best, bestA := b.best(now, size, true)
	if best == nil {
		return nil
	}
	if best.readySparse(now, size) {
		return best
	}
	var chosen *Path
	chosenA := bestA + againSlack
	for _, p := range b.active {
		if p.mtu < size || p == best || !p.ready(now, size) {
			continue
		}
		if a, _ := p.arrival(now, size, true); a < chosenA {
			chosen, chosenA = p, a
		}
	}
	return chosen
}

// limits are CoDel's bounds for f. An ordered flow needs a backlog of the spread between its paths, or the slower
// ones are never worth using: target = 2 spread + 10 ms (with 1.2, as in research/transport.md §3, CoDel cut the flow
// before the slower path had grown out of start-up: V+L 64 instead of 72 of 77 Mb/s in the simulator).
func (b *Bond) limits(now time.Duration, f *flow) codelLimits {
	lim := codelLimits{target: codelTarget, interval: codelInterval}
	if f.class != Ordered && !f.bulk {
		return lim
	}
	minD, maxD, slow, crowd := Never, -Never, time.Duration(0), time.Duration(0)
	rate, starting, lossy := 0.0, false, false
	for _, p := range b.active {
		d, _ := p.Delay()
		minD = min(minD, d)
	}
	for _, p := range b.active {
		if d, _ := p.Delay(); d-minD <= spreadOrdered {
			maxD = max(maxD, d)
			slow = max(slow, p.rtt.srtt())
			rate += p.Rate()
			lossy = lossy || p.loss > lossyPath
			starting = starting || p.ctl.Starting()
			crowd = max(crowd, p.ctl.Crowd())
		}
	}
	lim.target = max(codelTarget, 2*(maxD-minD)+10*time.Millisecond)
	if f.class == Ordered {
		lim.target += min(time.Duration(cutBacklog*float64(b.fastestRTT())), repairBacklog)
	}
	if rate > 0 && f.class == Ordered {
		lim.target = max(lim.target, seconds(thinBacklog*maxPacket/rate))
	}
	if lossy && f.class == Ordered {
		// While a hole is being repaired the inner sender hears nothing for about a round trip; the queue has to last that long.
		lim.target += min(slow, repairBacklog)
	}
	if starting && f.class == Ordered && now-f.born < startingFor {
		// The queue stands because the path is still being measured, not because it is full.
		lim.target += startingTarget
	}
	lim.target += crowd
	lim.interval = max(codelInterval, slow+lim.target)
	return lim
}
