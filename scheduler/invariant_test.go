package scheduler

import (
	"fmt"
	"slices"
	"time"
)

// What must hold for a Bond after every step, whatever happened before.

// checkAccounts compares the running sums with what they are sums of.
func (b *Bond) checkAccounts() error {
	for _, p := range b.paths {
		sum := 0
		for pn := p.log.base; pn < p.log.next; pn++ {
			if r := p.log.at(pn); r.state == sentOutstanding {
				sum += int(r.size)
			}
		}
		if sum != p.inflight {
			return fmt.Errorf("path %d: %d bytes in flight, its records say %d", p.ID, p.inflight, sum)
		}
		if d, high := p.Delay(); high < d {
			return fmt.Errorf("path %d: the upper quantile of the delay, %v, lies below its mean, %v", p.ID, high, d)
		}
	}
	waiting, packets := 0, 0
	for _, f := range b.flows {
		if f == nil {
			continue
		}
		n := 0
		for i := range f.q.len() {
			n += int(f.q.at(i).size)
		}
		if f.class != Stream && n != f.bytes {
			return fmt.Errorf("flow %d: %d bytes wait, its packets say %d", f.key, f.bytes, n)
		}
		waiting += f.bytes
		packets += f.q.len()
		if f.out.len() != int(f.seq-f.base) {
			return fmt.Errorf("flow %d: %d packets outstanding, numbers [%d, %d)", f.key, f.out.len(), f.base, f.seq)
		}
		if f.out.len() > 0 && f.out.at(0).done {
			return fmt.Errorf("flow %d: the oldest outstanding packet is finished with", f.key)
		}
		if f.bytes > 0 && f.list == listNone {
			return fmt.Errorf("flow %d: %d bytes wait in no list", f.key, f.bytes)
		}
		if f.retx.len() > 0 && !f.inRtx {
			return fmt.Errorf("flow %d: repairs wait in no list", f.key)
		}
	}
	if waiting != b.queue.bytes || packets != b.queue.packets {
		return fmt.Errorf("%d bytes in %d packets wait, the flows say %d in %d", b.queue.bytes, b.queue.packets, waiting, packets)
	}
	if b.queue.bytes-b.queue.streamed > b.queue.limit {
		return fmt.Errorf("%d bytes wait, over the limit of %d", b.queue.bytes, b.queue.limit)
	}
	return nil
}

// checkActive: of each group at most one path is in use, or those that a trial is about or has shown to be worth it, and only such as are up.
func (b *Bond) checkActive() error {
	var groups [256]bool
	for _, p := range b.active {
		if p.state != Up {
			return fmt.Errorf("path %d is in use and %v", p.ID, p.state)
		}
		if s := b.splitOf(p.Config.Group); groups[p.Config.Group] && (s == nil || !s.helping(p.ID) && !slices.Contains(s.members, p.ID)) {
			return fmt.Errorf("two paths of group %d are in use", p.Config.Group)
		}
		groups[p.Config.Group] = true
		for _, q := range b.paths {
			if p.Config.Backup && q.state == Up && !q.doubted && !q.Config.Backup {
				return fmt.Errorf("backup %d is in use beside path %d", p.ID, q.ID)
			}
		}
	}
	if len(b.active) == 0 {
		for _, p := range b.paths {
			if p.state == Up {
				return fmt.Errorf("path %d is up and nothing is in use", p.ID)
			}
		}
	}
	return nil
}

// checkGrant: g goes to a path that may take it now. Called before it is recorded.
func (b *Bond) checkGrant(now time.Duration, g *Grant) error {
	p, over := g.Path, overhead
	if g.Stream {
		over = streamOverhead
	}
	inUse := false
	for _, q := range b.active {
		inUse = inUse || q == p
	}
	switch {
	case p.state != Up:
		return fmt.Errorf("granted on path %d, which is %v", p.ID, p.state)
	case !inUse:
		return fmt.Errorf("granted on path %d, which is not in use", p.ID)
	case g.Size+over > p.mtu:
		return fmt.Errorf("%d bytes granted on path %d, whose datagrams hold %d", g.Size, p.ID, p.mtu-over)
	case g.Size <= 0:
		return fmt.Errorf("%d bytes granted", g.Size)
	case p.paceWait(now) > sparseDebt:
		return fmt.Errorf("granted on path %d, %v ahead of its pacing", p.ID, p.paceWait(now))
	case p.inflight+g.Size+overhead > p.ctl.Window()+sparseOver:
		return fmt.Errorf("path %d: %d bytes in flight, %d granted, window %d", p.ID, p.inflight, g.Size, p.ctl.Window())
	}
	return nil
}

// strict is whether the grant must keep the window and the pacing exactly: new data of a flow that is not sparse.
func (b *Bond) checkStrict(now time.Duration, g *Grant) error {
	p := g.Path
	if !p.ready(now, g.Size+overhead) {
		return fmt.Errorf("path %d is not ready: %d bytes in flight, %d granted, window %d, pacing %v", p.ID, p.inflight, g.Size, p.ctl.Window(), p.paceWait(now))
	}
	return nil
}

// checkIdle is called when Next has said that nothing may leave. It looks for a path that could carry the next bulk
// packet and has no reason not to: the formulas of doc.go, written out.
func (b *Bond) checkIdle(now time.Duration) error {
	for class := range Stream + 1 {
		if f := b.firstBulk(class); f != nil {
			if err := b.checkIdleFor(now, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Bond) checkIdleFor(now time.Duration, f *flow) error {
	size := f.head() + overhead
	limit := spreadOrdered
	if f.class == Stream {
		limit = spreadStream
		for _, p := range b.active {
			size = min(size, p.mtu)
		}
	}
	minD, bestA := Never, Never
	for _, p := range b.active {
		if p.mtu < size {
			continue
		}
		d, _ := p.Delay()
		a, _ := p.arrival(now, size, f.class != Unordered || f.hasID)
		minD, bestA = min(minD, d), min(bestA, a)
	}
	for _, p := range b.active {
		if p.mtu < size || !p.ready(now, size) {
			continue
		}
		d, _ := p.Delay()
		a, _ := p.arrival(now, size, f.class != Unordered || f.hasID)
		if a == bestA || d == minD {
			return fmt.Errorf("path %d is the best, ready and idle while %d bytes wait", p.ID, b.queue.bytes)
		}
		var rate, ahead float64
		for _, q := range b.active {
			if qd, _ := q.Delay(); q.mtu >= size && qd < d {
				rate += q.Rate()
				ahead += q.Rate() * (d - qd).Seconds()
			}
		}
		tooSlow := d-minD > limit
		endless := f.class == Stream && f.more
		ecf := !endless && d-bestA > seconds(.8*bulkDrain*float64(b.queue.bytes)/rate)
		blest := f.class == Stream && ahead+float64(size) > float64(f.window)
		thin := f.class == Ordered && d-minD > thinSpread && p.Rate() < thinShare*rate
		if !tooSlow && !ecf && !blest && !thin {
			return fmt.Errorf("path %d is ready and idle without a reason while %d bytes wait", p.ID, b.queue.bytes)
		}
	}
	return nil
}

// firstBulk is the first bulk flow of a class that Next asks.
func (b *Bond) firstBulk(class Class) *flow {
	asked := 0
	for _, list := range [...]*ring{&b.queue.fresh, &b.queue.old} {
		for f := list.head; f != nil && asked < scanFlows; f = f.next {
			if f.idle() {
				continue
			}
			if asked++; f.bulk && f.class == class {
				return f
			}
		}
	}
	return nil
}
