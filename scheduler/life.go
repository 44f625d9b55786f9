package scheduler

import (
	"slices"
	"time"

	"github.com/bondd/bondd/scheduler/cc"
)

const (
	// Probe intervals: while suspect 50 ms, doubled up to 1 s; a path in order but idle is probed once a second, a
	// metered one every 20 s (while it is down, only if there is another), which also keeps address translations alive
	// (research/transport.md §7).
	probeFirst   = 50 * time.Millisecond
	probeMax     = time.Second
	probeIdle    = time.Second
	probeMetered = 20 * time.Second
	// downAfter silence a suspect path is down.
	downAfter = time.Second
	// forgetProbe: the answer to a probe of a path that is down may take so long, longer than any queue on its way.
	forgetProbe = 10 * time.Second
	// probesToReturn must be answered in a row before a path that was down carries data again.
	probesToReturn = 2
	// refreshEvery is how often the best member of each group is looked for.
	refreshEvery = 100 * time.Millisecond
	// leaderMargin: another member must be so much faster to take over its group.
	leaderMargin = 10 * time.Millisecond
	expireEvery  = time.Second
)

func (b *Bond) to(now time.Duration, p *Path, s State) {
	if p.state == s {
		return
	}
	b.changes = append(b.changes, Change{Path: p.ID, From: p.state, To: s})
	p.state, p.stateSince = s, now
	b.refresh(now)
}

// Proven says that the path works in both directions: it may carry data.
func (b *Bond) Proven(now time.Duration, p *Path) {
	if p.state == Validating {
		p.lastAck = now
		p.probeAt = now
		b.to(now, p, Up)
	}
}

// Revalidate takes the path out of use until Proven: it has a new address, of which nothing is known.
func (b *Bond) Revalidate(now time.Duration, p *Path) {
	if p.state == Closed {
		return
	}
	b.reinject(now, p, now)
	p.out.reset()
	p.base.Reset()
	p.in.delay.reset()
	p.rtt = rttEstimator{}
	p.ctl.Restart(now, 0)
	p.probeAt = now
	b.to(now, p, Validating)
}

// Fail is bad news from outside: the interface has gone a moment ago, or the socket says unreachable. What has left the line's queue is on its way.
func (b *Bond) Fail(now time.Duration, p *Path) {
	b.fail(now, p, max(p.worked(now), now-2*p.Queue(now)-p.rtt.srtt()/8))
}

// FailedThere is the same as told by the peer.
func (b *Bond) FailedThere(now time.Duration, p *Path) { b.fail(now, p, p.worked(now)) }

func (b *Bond) fail(now time.Duration, p *Path, since time.Duration) {
	if p.state == Up {
		b.suspect(now, p, since)
		p.told = true
	}
}

// worked is until when what was sent on p has likely arrived: its newest acknowledgement was under way for half a round trip, and what waited in
// the line's queue when it left has not.
func (p *Path) worked(now time.Duration) time.Duration {
	return p.lastAck - p.rtt.srtt()/2 - p.Queue(now) - timerGranularity
}

// Close ends a path for good.
func (b *Bond) Close(now time.Duration, p *Path) {
	if p.state == Closed {
		return
	}
	b.reinject(now, p, now)
	b.to(now, p, Closed)
}

// suspect stops new data on p and gives everything outstanding to the other paths at once, what was sent after since first.
func (b *Bond) suspect(now time.Duration, p *Path, since time.Duration) {
	p.Stats.Suspicions++
	p.rateAtDown = p.ctl.Rate()
	p.probeWait, p.probeAt, p.probeDue = probeFirst, now, true
	p.probesAnswer, p.told = 0, false
	if slices.Contains(b.active, p) && b.near(p) {
		b.bereftTill, b.shrunkTill = now+bereftFor, now+shrunkFor
	}
	for _, q := range b.paths {
		if q == p || q.state != Up {
			continue
		}
		// The standbys learn of it at once: their next probe is due now. The others of the same uplink will have died with it, and to find out one by
		// one would cost a silence each.
		q.probeDue = true
		if q.Config.Group == p.Config.Group {
			q.doubted, q.doubtedAt = true, now
		}
	}
	b.to(now, p, Suspect)
	if p.loss > lossyPath {
		since = now // some of the older are missing as well, and all that comes behind would wait for them
	}
	b.reinject(now, p, since)
}

// reinject queues every ordered packet whose newest transmission is outstanding on p. The records stay, so that a
// late acknowledgement is understood. What was sent until since is last in the queue: most of it has arrived, only the acknowledgement is lost, and the peer
// will say so by another path before a thin one has repeated it all.
func (b *Bond) reinject(now time.Duration, p *Path, since time.Duration) {
	for _, older := range [...]bool{false, true} {
		for pn := p.log.base; pn < p.log.next; pn++ {
			r := p.log.at(pn)
			if r.state != sentOutstanding || r.moved || !older && r.at <= since {
				continue
			}
			r.moved = true
			for i := range uint64(r.chunks) {
				c := *p.log.chunk(r.firstChunk + i)
				if c.Kind == ChunkPacket {
					b.stats.Reinjected++
					p.Stats.ReinjectedFrames++
				}
				b.lost(now, p, c)
			}
		}
	}
}

// near reports whether p lies within what an ordered flow's packets may wait for: it has carried some of the backlog.
func (b *Bond) near(p *Path) bool {
	d, _ := p.Delay()
	for _, q := range b.active {
		if qd, _ := q.Delay(); d-qd > spreadOrdered {
			return false
		}
	}
	return true
}

// takeBack is called when the suspicion of p was false: what is still outstanding on it and not yet sent elsewhere is left to p's own loss detection.
func (b *Bond) takeBack(p *Path) {
	if !b.anySuspect() {
		b.bereftTill, b.shrunkTill = 0, 0
	}
	for pn := p.log.base; pn < p.log.next; pn++ {
		r := p.log.at(pn)
		if r.state != sentOutstanding || !r.moved {
			continue
		}
		for i := range uint64(r.chunks) {
			c := *p.log.chunk(r.firstChunk + i)
			if f := b.byID[c.Flow]; c.Kind == ChunkPacket && f != nil {
				if o := f.outAt(c.Seq); o != nil && o.queued && o.tries == c.Try {
					o.queued, r.moved = false, false
				}
			}
		}
	}
}

// alive is called when an acknowledgement told something new about p.
func (b *Bond) alive(now time.Duration, p *Path) {
	if p.doubted && p.ackedSent >= p.doubtedAt {
		p.doubted = false
		b.refresh(now)
	}
	switch p.state {
	case Suspect:
		if !p.told || p.ackedSent >= p.stateSince {
			b.to(now, p, Up)
			b.takeBack(p)
		}
	case Down:
		p.probesAnswer++
		if p.probesAnswer >= probesToReturn {
			p.ctl.Restart(now, p.rateAtDown/2)
			b.to(now, p, Up)
		}
	}
}

// Advance does what is due. The caller then asks ProbeDue of each path.
func (b *Bond) Advance(now time.Duration) {
	for _, p := range b.paths {
		if p.state == Closed {
			continue
		}
		p.in.quiet(now)
		if now >= p.lossTime {
			b.scratch.acked, b.scratch.lost = b.scratch.acked[:0], b.scratch.lost[:0]
			if n := p.detectLost(now, &b.scratch); n > 0 {
				b.reportLoss(now, p, n)
			}
			b.settleNews(now, p)
			p.log.trim(now, p.rtt.srtt())
		}
		switch p.state {
		case Up:
			if now >= p.suspectAt() {
				b.suspect(now, p, p.worked(now))
			} else if now >= p.probeAt {
				p.probeDue = true
			}
		case Suspect:
			if now-p.stateSince >= downAfter {
				p.ctl.OnTimeout(now)
				b.abandon(now, p, now)
				b.to(now, p, Down)
			}
			fallthrough
		default:
			if now >= p.probeAt {
				p.probeDue = true
			}
			if p.state == Down {
				b.abandon(now, p, now-forgetProbe)
			}
		}
	}
	if now >= b.refreshAt {
		b.refresh(now)
	}
	if now >= b.expireAt {
		b.expire(now)
	}
}

// reportLoss tells the controller about bytes lost by time, when no acknowledgement came along.
func (b *Bond) reportLoss(now time.Duration, p *Path, bytes int) {
	p.ctl.OnAck(now, cc.Ack{Lost: bytes, Inflight: p.inflight, Queue: -1, DeliveredAtSend: 0, DeliveredTotal: p.delivered})
}

// probeIdleWait is how long a path in order may be silent before it is probed.
func (p *Path) probeIdleWait() time.Duration {
	switch {
	case p.Config.Metered:
		return probeMetered
	case p.watched:
		return probeWatched
	}
	return probeIdle
}

// ProbeDue reports whether a probe must go out on p now: a PING, or a CHALLENGE while it is validating. The caller
// sends it at once.
func (b *Bond) ProbeDue(now time.Duration, p *Path) bool {
	if !p.probeDue || p.state == Closed {
		return false
	}
	p.probeDue = false
	switch p.state {
	case Up:
		p.probeAt = now + p.probeIdleWait()
	case Suspect:
		p.probeAt = now + p.probeWait
		p.probeWait = min(2*p.probeWait, probeMax)
	default:
		p.probeAt = now + probeMax
		if p.Config.Metered && len(b.active) > 0 {
			p.probeAt = now + probeMetered
		} else if p.state == Validating && now-p.stateSince < probeMax {
			p.probeAt = now + 4*probeFirst
		}
	}
	return true
}

// abandon counts everything outstanding on p as lost that was sent until then: the path is down.
func (b *Bond) abandon(now time.Duration, p *Path, until time.Duration) {
	b.scratch.acked, b.scratch.lost = b.scratch.acked[:0], b.scratch.lost[:0]
	for pn := p.log.base; pn < p.log.next; pn++ {
		r := p.log.at(pn)
		if r.at > until {
			break
		}
		if r.state != sentOutstanding {
			continue
		}
		r.state = sentLost
		p.inflight -= int(r.size)
		if !r.moved {
			b.scratch.lost = p.log.appendChunks(b.scratch.lost, r)
		}
	}
	p.lossTime = Never
	b.settleNews(now, p)
	p.log.trim(now, p.rtt.srtt())
}

// refresh chooses the active paths: of each group the member with the least delay; backups only when nothing else is
// up.
func (b *Bond) refresh(now time.Duration) {
	b.refreshAt = now + refreshEvery
	b.fullness.look(now, b.waiting)
	b.gather(false)
	if len(b.active) == 0 {
		b.gather(true) // where there is nothing else, a doubtful path costs nothing
	}
	if b.cfg.Policy == Standby && len(b.active) > 1 {
		best := b.active[0]
		for _, p := range b.active[1:] {
			dp, _ := p.Delay()
			dq, _ := best.Delay()
			if p.ID == b.chosen {
				dp -= leaderMargin
			}
			if best.ID == b.chosen {
				dq -= leaderMargin
			}
			if dp < dq {
				best = p
			}
		}
		b.chosen = best.ID
		b.active = append(b.active[:0], best)
	}
	for _, p := range b.active {
		b.leaders[p.Config.Group], b.hasLeader[p.Config.Group] = p.ID, true
	}
	b.splitGroups(now)
	for _, p := range b.paths {
		if p.state == Up && !slices.Contains(b.active, p) {
			p.markAppLimited() // it carries probes: their rate is not the path's
		}
	}
}

// gather makes the active paths out of those that are up; doubted ones only if asked.
func (b *Bond) gather(doubted bool) {
	b.active = b.active[:0]
	primary := false
	for _, p := range b.paths {
		primary = primary || p.state == Up && (!p.doubted || doubted) && !p.Config.Backup && !p.Config.Drain
	}
	for _, p := range b.paths {
		if p.state != Up || p.doubted && !doubted || !b.mayCarry(p, primary) {
			continue
		}
		placed := false
		for i, q := range b.active {
			if q.Config.Group != p.Config.Group {
				continue
			}
			placed = true
			if b.leads(p, q) {
				b.active[i] = p
			}
		}
		if !placed {
			b.active = append(b.active, p)
		}
	}
}

// leads reports whether p should serve its group rather than q. The present leader keeps its place unless the other is
// clearly better. One that does not take full packets, or of which that is not known yet, does not lead where another does:
// the group would carry none.
func (b *Bond) leads(p, q *Path) bool {
	if full := p.mtu >= b.full; full != (q.mtu >= b.full) {
		return full
	}
	dp, _ := p.Delay()
	dq, _ := q.Delay()
	if b.hasLeader[p.Config.Group] {
		switch b.leaders[p.Config.Group] {
		case p.ID:
			dp -= leaderMargin
		case q.ID:
			dq -= leaderMargin
		}
	}
	return dp < dq
}

// expire forgets flows that have been silent.
func (b *Bond) expire(now time.Duration) {
	b.expireAt = now + expireEvery
	for i, f := range b.flows {
		if f == nil || !f.ended && now-f.last < flowIdle || f.list != listNone || f.inRtx || f.inTail || f.out.len() > 0 || f.class == Stream && !f.ended {
			continue
		}
		if b.byKey[f.key] == f {
			delete(b.byKey, f.key)
		}
		if f.hasID {
			delete(b.byID, f.id)
		}
		b.flows[i] = nil
		b.freeSlots = append(b.freeSlots, i)
	}
}

// Deadline is when Advance or Next want to be called again, if nothing else happens.
func (b *Bond) Deadline() time.Duration {
	d := min(b.refreshAt, b.expireAt, b.copyAt)
	for _, p := range b.paths {
		if p.state == Closed {
			continue
		}
		if p.probeDue {
			return 0
		}
		d = min(d, p.lossTime, p.in.due, p.in.retellAt, p.in.holeAt, p.probeAt)
		switch p.state {
		case Up:
			d = min(d, p.suspectAt())
		case Suspect:
			d = min(d, p.stateSince+downAfter)
		}
	}
	if b.waiting {
		for _, p := range b.active {
			if p.resume > b.asked && p.inflight < p.ctl.Window() {
				d = min(d, p.resume)
			}
		}
	}
	return d
}

// AckDue reports whether an acknowledgement for p is owed now.
func (b *Bond) AckDue(now time.Duration, p *Path) bool { return now >= p.in.due }

// AckWanted reports whether one could be sent along with something else.
func (b *Bond) AckWanted(p *Path) bool { return p.in.unacked > 0 }

// TakeAck returns p's acknowledgement and considers it sent.
func (b *Bond) TakeAck(now time.Duration, p *Path) Ack { return p.in.takeAck(now, p.ID) }
