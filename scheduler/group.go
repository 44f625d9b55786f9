package scheduler

import (
	"slices"
	"time"
)

// mayShare reports whether p may carry beside another member of its group.
func (b *Bond) mayShare(p *Path) bool {
	return p.state == Up && !p.doubted && !p.Config.Backup && !p.Config.Drain && !p.Config.Metered && p.mtu >= b.full
}

// splitGroups lets the groups look for what their members carry together, and adds those to the active paths that carry beside the best.
func (b *Bond) splitGroups(now time.Duration) {
	if b.cfg.Policy != Aggregate {
		return
	}
	for i, p := range b.paths {
		if b.mayShare(p) && b.splitOf(p.Config.Group) == nil && slices.ContainsFunc(b.paths[:i], func(q *Path) bool { return q.Config.Group == p.Config.Group && b.mayShare(q) }) {
			b.splits = append(b.splits, &split{group: p.Config.Group})
		}
	}
	for _, s := range b.splits {
		b.splitGroup(now, s)
	}
	for _, p := range b.paths {
		s := b.splitOf(p.Config.Group)
		if helps := s != nil && s.helping(p.ID); helps != p.helps {
			p.helps = helps
			p.ctl.SetMaxRate(p.Config.MaxRate)
			if helps {
				p.ctl.SetMaxRate(lesser(splitHelp*s.before, p.Config.MaxRate))
			}
		}
	}
}

// splitGroup looks at one group.
func (b *Bond) splitGroup(now time.Duration, s *split) {
	at := slices.IndexFunc(b.active, func(p *Path) bool { return p.Config.Group == s.group })
	l := splitLook{eligible: b.eligible[:0], queues: b.queues[:0], full: b.waiting}
	for _, p := range b.paths {
		if p.Config.Group != s.group || at < 0 || !b.mayShare(p) {
			continue
		}
		l.eligible = append(l.eligible, p.ID)
		l.queues = append(l.queues, p.Queue(now))
		l.carried += p.delivered
		l.rtt = max(l.rtt, p.rtt.srtt())
		if p == b.active[at] && len(s.members) == 0 || slices.Contains(s.members, p.ID) {
			l.full = l.full && p.delivered >= p.limitedTill
			l.carrier += p.delivered
			l.crowded = l.crowded || p.ctl.Crowd() > 0
			l.queue = max(l.queue, p.Queue(now))
		}
	}
	b.eligible, b.queues = l.eligible, l.queues
	if at < 0 || len(l.eligible) < 2 || !slices.Contains(l.eligible, b.active[at].ID) {
		*s = split{group: s.group}
		return
	}
	l.leader = b.active[at].ID
	if now >= s.lookAt || !slices.Equal(l.eligible, s.eligible) {
		s.look(now, l)
	}
	if len(s.members) > 0 {
		b.active[at] = b.Path(s.members[0])
		b.leaders[s.group] = s.members[0]
		for _, id := range s.members[1:] {
			b.active = append(b.active, b.Path(id))
		}
	}
	if s.phase == splitHelped {
		b.active = append(b.active, b.Path(s.helper))
	}
}

func (b *Bond) splitOf(group uint8) *split {
	for _, s := range b.splits {
		if s.group == group {
			return s
		}
	}
	return nil
}

// lesser is the smaller of a rate and a cap, where 0 is no cap.
func lesser(rate, limit float64) float64 {
	if limit > 0 {
		return min(rate, limit)
	}
	return rate
}
