package scheduler

import (
	"slices"
	"time"
)

// The paths of one uplink form a group, which is served through its best member, since they mostly share what the uplink carries. Where they do
// not, because the provider polices each flow, or the relay of one is the narrow place, capacity lies in the sum of several members. That is found by
// trial (research/transport.md §4.2): for a second, another member helps out with a quarter of the group's rate.
//
//	         full for 3 s             a second               a second
//	┌───────┐            ┌────────┐            ┌─────────────┐            ┌────────────────────────────────────────┐
//	│ whole │───────────►│ helped │───────────►│ alone again │───────────►│ split: the helper stays                │
//	└───────┘            └────────┘            └─────────────┘            │ if the sum was a tenth above the best  │
//	   ▲   a queue, or no     │     no more than now  │                   │ second before, and above the one after │
//	   └───────more───────────┴───────────────────────┘                   └────────────────────────────────────────┘
//
// On a shared line the helper makes a queue and takes from the others what it brings, and either ends the trial soon. Where the probes of an idle
// member meet the queue of those that carry, that is to be expected, and there is hardly ever a trial. A split ends, and has to be found again, when the
// paths that may be used are others: one has come, gone or fallen silent, the uplink has; and when it brings nothing any more.
const (
	// splitFull looks, each refreshEvery, have to find the group full; one that does not takes back another. A single inner TCP is without a queue at
	// one look in five.
	splitFull = 30
	// splitGain is what the sum has to exceed, in rates of the best member (research/transport.md §4.2).
	splitGain = 1.1
	// splitHelp is the part of the group's rate that a helper may add in the trial: enough to tell splitGain by, and little enough to be seen as a
	// queue before anybody feels it. An inner TCP has a window for so much, because something waits.
	splitHelp = .25
	// splitQueue more than before is a queue that the helper has made: max(15 ms, …) is the bound of a path's own (scheduler/cc).
	splitQueue = 15 * time.Millisecond
	// splitSecond, in looks, is what is compared; splitSettle, before that, at most.
	splitSecond = 10
	splitSettle = 5
	// splitVain is too little after half a second of the trial to wait for the rest.
	splitVain = 1.05
	// splitYield of the former rate, in the mean, is what those keep at least who carried before, if the helper takes nothing from them; over splitShort looks.
	splitYield = .9
	splitShort = 3
	// splitNoise is a mean queue too short to compare. Where the probes of the helper-to-be meet half as long a queue as those who carry, the line is
	// shared in all likelihood: a trial comes after splitHeld looks of a full group only.
	splitNoise = 500 * time.Microsecond
	splitHeld  = 600
	// splitOver: with so little the transfer has ended, which shows nothing at all.
	splitOver = .9
	// After a trial that showed nothing the next is splitPatience later, then twice as much, up to splitPatienceMax.
	splitPatience    = 10 * time.Second
	splitPatienceMax = 5 * time.Minute
	// splitIdle looks of a full group in which its members together carry no more than splitGain times what one did end a split.
	splitIdle = 100
)

type splitPhase uint8

const (
	splitWhole splitPhase = iota
	splitHelped
	splitAlone
)

// split is one group. It looks once per refresh.
type split struct {
	group    uint8
	eligible []PathID // members that could carry data, at the last look
	members  []PathID // of them, those that carry together, the leader first; empty: the group is whole
	helper   PathID   // of the present trial, or the last one
	tried    bool     // there was one

	phase   splitPhase
	lookAt  time.Duration
	level   int           // looks that found the group full
	looks   int           // in the present phase
	settled int           // look at which the second to be compared begins
	carried uint64        // bytes, when the present second began
	rates   [3]float64    // of the last seconds, bytes/s, newest first
	carrier uint64        // the same, of those that carried before
	queue   time.Duration // the longest lately
	mean    time.Duration // the mean over some two seconds
	held    int           // looks at which a trial would have been due
	before  float64       // best rate before the trial
	usual   float64       // mean rate of the three seconds before it
	sum     float64       // rate in it
	single  float64       // rate of the group when it was whole
	vain    int

	next     time.Duration // no trial before
	patience time.Duration
}

// splitLook is what a group looks like at one moment.
type splitLook struct {
	leader   PathID
	eligible []PathID        // in rising order
	queues   []time.Duration // of each of them
	carried  uint64          // bytes acknowledged so far, of all of them
	carrier  uint64          // of those, by the ones that carry but for a helper
	full     bool            // those that carry are, and more waits
	crowded  bool            // by a neighbour, who would have to give way to two instead of one
	queue    time.Duration   // of those that carry
	rtt      time.Duration   // of the slowest
}

// look moves the machine on.
func (s *split) look(now time.Duration, l splitLook) {
	s.lookAt = now + refreshEvery
	if !slices.Equal(l.eligible, s.eligible) {
		*s = split{group: s.group, lookAt: s.lookAt, eligible: append(s.eligible[:0], l.eligible...), members: s.members[:0]}
	}
	if l.full {
		s.level = min(s.level+1, splitFull)
	} else {
		s.level = max(s.level-1, 0)
	}
	s.looks++
	if s.looks == 1 {
		s.settled = min(1+int(4*l.rtt/refreshEvery), splitSettle)
	}
	switch {
	case s.phase == splitWhole:
		s.wait(now, l)
	case s.phase == splitHelped && (l.queue > s.queue+splitQueue || l.crowded):
		s.nothing(now)
	case s.looks == s.settled:
		s.carried, s.carrier = l.carried, l.carrier
	case s.phase == splitHelped && s.looks == s.settled+splitShort:
		if rate := perSecond(l.carrier-s.carrier, splitShort); rate < splitYield*s.usual {
			s.failed(now, perSecond(l.carried-s.carried, splitShort))
		}
	case s.phase == splitHelped && s.looks == s.settled+splitSecond/2:
		if rate := perSecond(l.carried-s.carried, splitSecond/2); rate <= splitVain*s.before {
			s.failed(now, rate)
		}
	case s.looks < s.settled+splitSecond:
	case s.phase == splitHelped:
		if s.sum = s.rate(l); s.sum <= splitGain*s.before {
			s.failed(now, s.sum)
			return
		}
		s.enter(splitAlone)
	default:
		if after := s.rate(l); s.sum <= splitGain*after || after < splitOver*s.before {
			s.failed(now, after)
			return
		}
		if len(s.members) == 0 {
			s.members, s.single = append(s.members, l.leader), s.before
		}
		s.members = append(s.members, s.helper)
		s.patience, s.next = 0, now+splitPatience
		s.enter(splitWhole)
	}
}

// wait measures the group until a trial is due, and whether an earlier one still pays.
func (s *split) wait(now time.Duration, l splitLook) {
	if s.level == 0 {
		s.enter(splitWhole)
		return
	}
	switch {
	case s.looks == 1:
		s.carried = l.carried
	case s.looks > splitSecond:
		s.rates = [3]float64{s.rate(l), s.rates[0], s.rates[1]}
		s.carried, s.looks = l.carried, 1
	}
	s.queue = max(s.queue-time.Millisecond, l.queue)
	s.mean += (l.queue - s.mean) / 16
	if s.level < splitFull || s.rates[2] == 0 || l.crowded {
		return
	}
	s.before = slices.Max(s.rates[:])
	s.usual = (s.rates[0] + s.rates[1] + s.rates[2]) / 3
	if len(s.members) > 0 {
		if s.vain++; s.before > splitGain*s.single {
			s.vain = 0
		} else if s.vain > splitIdle {
			s.members, s.vain = s.members[:0], 0
			s.nothing(now)
			return
		}
	}
	if now < s.next || !s.choose(l) {
		return
	}
	if i := slices.Index(l.eligible, s.helper); s.mean > splitNoise && l.queues[i] > s.mean/2 && s.held < splitHeld {
		s.held++
		return
	}
	s.held = 0
	s.enter(splitHelped)
}

// enter begins a phase. What was measured in an earlier one does not count any more, but for the verdict.
func (s *split) enter(p splitPhase) {
	s.phase, s.looks = p, 0
	if p == splitWhole {
		s.rates, s.queue = [3]float64{}, 0
	}
}

// choose finds the next helper: each has its turn.
func (s *split) choose(l splitLook) bool {
	first, found := s.helper, false
	for _, id := range l.eligible {
		if id == l.leader || slices.Contains(s.members, id) {
			continue
		}
		if !found {
			first, found = id, true
		}
		if s.tried && id > s.helper {
			first = id
			break
		}
	}
	s.helper, s.tried = first, s.tried || found
	return found
}

// failed ends a trial in which no more came through; rate is the last that did.
func (s *split) failed(now time.Duration, rate float64) {
	if rate < splitOver*s.before {
		s.next = now + splitPatience
		s.enter(splitWhole)
		return
	}
	s.nothing(now)
}

// nothing ends a trial that showed nothing, or a split that no longer does.
func (s *split) nothing(now time.Duration) {
	s.patience = min(max(2*s.patience, splitPatience), splitPatienceMax)
	s.next = now + s.patience
	s.enter(splitWhole)
}

// rate is what has come through since carried was noted, splitSecond looks ago, bytes/s.
func (s *split) rate(l splitLook) float64 { return perSecond(l.carried-s.carried, splitSecond) }

// perSecond is the rate of so many bytes in so many looks, bytes/s.
func perSecond(bytes uint64, looks int) float64 {
	return float64(bytes) / (float64(looks) * refreshEvery.Seconds())
}

// helping reports whether the path helps out in a trial now.
func (s *split) helping(id PathID) bool { return s.phase == splitHelped && s.helper == id }
