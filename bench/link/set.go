package link

import "time"

// Set changes the link while it runs. The function sees the settings in force
// at now (steps already taken are folded into Rate) and changes them; what has
// left the serialiser keeps its delivery, what waits is served under the new
// settings. Setting Down loses what waits.
func (l *Link[T]) Set(now time.Duration, mutate func(*Config)) {
	l.leave(now)
	old := l.cfg
	was := old.cfgAt(now)
	l.cfg = was
	mutate(&l.cfg)
	if l.cfg.Queue != was.Queue || l.cfg.QueueBytes != was.QueueBytes {
		l.cap = l.cfg.queueBytes()
	}

	// Take back everything not yet through the serialiser.
	kept := l.flight[:l.first]
	l.ordered = 0
	for _, it := range l.flight[l.first:] {
		if it.depart <= now {
			kept = append(kept, it)
			if !it.late {
				l.ordered = max(l.ordered, it.deliver)
			}
		}
	}
	clear(l.flight[len(kept):])
	l.flight = kept
	waiting := l.queue
	l.queue = fifo[item[T]]{}
	l.free = now
	if waiting.len() > 0 {
		l.cur = waiting.front().cur
	}
	same := sameTrace(old.Trace, l.cfg.Trace)
	if !same {
		l.cur = cursor{}
	}
	for waiting.len() > 0 {
		it := waiting.pop()
		if l.cfg.Down {
			l.queued -= it.size
			if !it.lost {
				l.stats.Verdicts[DroppedOutage]++
			}
			continue
		}
		if it.start < now && len(old.Trace) == 0 {
			it.bits = max(0, it.bits-old.served(it.start, now))
		}
		if it.start < now && same && len(old.Trace) > 0 {
			// The head keeps the opportunities it has already used.
			l.free = it.start
		}
		it.start = max(l.free, it.sent)
		l.schedule(it)
	}
}

func sameTrace(a, b []time.Duration) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// cfgAt is the configuration with the steps up to now folded into Rate.
func (c Config) cfgAt(now time.Duration) Config {
	c.Rate, _ = c.rateAt(now)
	for len(c.Steps) > 0 && c.Steps[0].At <= now {
		c.Steps = c.Steps[1:]
	}
	return c
}

// SetRate changes the rate, in bit/s.
func (l *Link[T]) SetRate(now time.Duration, rate float64) {
	l.Set(now, func(c *Config) { c.Rate = rate })
}

// Cut takes the link down; what waits in its queue is lost, what has left it
// still arrives.
func (l *Link[T]) Cut(now time.Duration) { l.Set(now, func(c *Config) { c.Down = true }) }

// Restore brings a cut link back.
func (l *Link[T]) Restore(now time.Duration) { l.Set(now, func(c *Config) { c.Down = false }) }
