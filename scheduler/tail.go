package scheduler

import "time"

// Reinjection: while a path is idle and a flow has nothing new to send, or may not for want of window, the oldest of
// what it has in flight elsewhere is worth a copy if the copy arrives sooner, or if the acknowledgement is overdue
// (XLINK, SIGCOMM 2021; research/transport.md §3).
const (
	copyShare  = 0.03      // of the bytes sent
	copyBurst  = 64 * 1500 // bytes that may be saved up
	copyLook   = 64        // pieces looked at per flow
	copyGain   = 5 * time.Millisecond
	overdueMin = 20 * time.Millisecond
	overdueMax = 500 * time.Millisecond
	tailScan   = 8 // flows looked at per call
)

// watchTail remembers a flow that may want copies.
func (b *Bond) watchTail(f *flow) {
	if !f.inTail && f.out.len() > 0 && f.class != Unordered && f.class != Loose {
		f.inTail = true
		b.tails.push(f)
	}
}

// nextCopy grants a copy of something in flight.
func (b *Bond) nextCopy(now time.Duration) (Grant, bool) {
	may := len(b.active) > 1 && b.copyBudget >= maxPacket
	for range min(b.tails.len(), tailScan) {
		f := b.tails.pop()
		if f.out.len() == 0 || f.ended || f.bytes > 0 && f.class != Stream {
			f.inTail = false
			continue
		}
		if f.bytes > 0 || !may {
			// It has new data to send; it is looked at again when that has run out.
			b.tails.push(f)
			continue
		}
		g, ok := b.copyOf(now, f)
		b.tails.push(f)
		if ok {
			return g, true
		}
	}
	return Grant{}, false
}

func (b *Bond) copyOf(now time.Duration, f *flow) (Grant, bool) {
	overdue := Never
	for _, p := range b.active {
		overdue = min(overdue, p.rtt.srtt()+p.rtt.srtt()/10)
	}
	overdue = min(max(overdue, overdueMin), overdueMax) + maxAckDelay
	for i := range min(f.out.len(), copyLook) {
		o := f.out.at(i)
		if o.done || o.queued || o.copied || o.atOnce {
			continue
		}
		p := b.Path(o.path)
		var best *Path
		bestA := Never
		size := f.framed(int(o.size))
		for _, q := range b.active {
			if q == p || q.Config.Metered || q.mtu < size {
				continue
			}
			if w := q.paceWait(now); w > 0 {
				b.copyAt = min(b.copyAt, now+w)
			}
			if !q.ready(now, size) {
				continue
			}
			if a, _ := q.arrival(now, size, true); a < bestA {
				best, bestA = q, a
			}
		}
		if best == nil {
			return Grant{}, false
		}
		d, high := p.Delay()
		if o.sent+high-now <= bestA+copyGain && now-o.sent < overdue {
			if t := o.sent + overdue; t > now {
				b.copyAt = min(b.copyAt, t)
			}
			if d >= bestA {
				continue
			}
			return Grant{}, false
		}
		o.copied = true
		o.tries++
		o.path, o.sent = best.ID, now
		b.copyBudget -= float64(o.size)
		b.stats.Copied++
		return b.regrant(best, f, f.base+uint64(i), o), true
	}
	return Grant{}, false
}

// regrant is a grant of what was sent before.
func (b *Bond) regrant(p *Path, f *flow, seq uint64, o *outstanding) Grant {
	return Grant{
		Path: p, Handle: o.handle, Size: int(o.size), Ordered: f.class != Stream, AtOnce: o.atOnce, Stream: f.class == Stream, Key: f.key,
		Offset: o.offset, Flow: f.id, Seq: seq, Try: o.tries,
	}
}
