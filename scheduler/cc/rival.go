package cc

import "time"

const (
	// A queue that stays although we have left it belongs to somebody else.
	// It must stay this long, and this many round trips.
	squeezeTime = time.Second
	squeezeLaps = 4
	// squeezed is the part of the rate that is left when a squeeze is suspected.
	squeezed = 0.7
	// A contest left this recently, by mistake as it turns out, is taken up
	// where it stood.
	returnTime = 10 * time.Second
	// Back to the delay bound when there was no queue for so long: longer than
	// a neighbouring BBR's round-trip probe (200 ms).
	relaxTime = 400 * time.Millisecond
	relaxLaps = 4
	// shortQueue is one in which windows find their places within seconds.
	shortQueue = 100 * time.Millisecond
	// After peakTime without a queue the estimate is the link's rate even if
	// it was larger before.
	peakTime = 5 * time.Second
)

// level says how the path competes.
type level uint8

const (
	polite level = iota // the delay bound holds
	firm                // BBR's standard gains, no bound
	greedy              // a window like CUBIC's
)

// rival is the part of the machine that deals with neighbours on the link who
// do not share our view of queues. While a neighbour keeps a queue standing, a
// sender that leaves queues would starve.
type rival struct {
	level level

	// polite: are we squeezed?
	born      time.Duration // first acknowledgement
	last      time.Duration // the acknowledgement before
	pressed   time.Duration // how long the queue stood while we held no more than the path,
	pressLaps int           // and for how many round trips; both fall thrice as fast as they rise
	best      float64       // estimate when the queue came
	peak      float64       // estimate as measured on an empty link: the link's rate; 0: never
	calm      time.Duration // there is no queue since then
	calmLaps  int

	// the way back
	left     time.Duration // when a contest was last left, and from which level
	was      level
	again    time.Duration // no second return to it before
	leaveAt  time.Duration // not before: leaving on the strength of one quiet moment
	patience time.Duration
	trusted  time.Duration // when an elasticity probe last found us alone
	trusts   int
	free     int           // see watchRoad
	bias     time.Duration // part of the reported queue that is known to be road

	laps    laps
	deepest minimum       // negative: of the queue
	high    time.Duration // the queue is beyond what BBRs leave since then

	firm    firmBBR
	cubic   cubicWindow
	elastic elastic
	steer   steering
}

// watch keeps the books of neighbourhood; it is called for every acknowledgement.
func (c *BBR) watch(now time.Duration, a Ack, round bool) {
	r := &c.rival
	queue, known := c.queue(a)
	if known {
		r.deepest.add(now, rttWindow, -queue)
	}
	lapped := r.laps.add(now, a, queue, known, round)
	if r.level == polite {
		c.watchQueue(now, a, round)
		return
	}
	c.watchCalm(now, round)
	if lapped && r.level != polite {
		c.watchRoad(now)
	}
	if r.level == polite {
		return
	}
	quiet := r.firm.phase == firmRTT
	r.firm.onAck(now, a, round, c.mss)
	switch {
	case r.level == greedy:
		c.onGreedy(now, a, lapped)
	case quiet && r.firm.phase != firmRTT && c.stand <= c.low() && now >= r.leaveAt:
		// Nobody held the queue while we were quiet; perhaps all were quiet
		// together. If not we shall soon know, and wait longer the next time.
		r.patience = min(2*r.patience, time.Minute)
		r.leaveAt = now + r.patience
		c.compete(now, polite)
	default:
		c.onFirm(now, a)
	}
}

// watchQueue decides whether a neighbour holds a queue against us: it stands
// nearly all the time although we hold no more than the path.
func (c *BBR) watchQueue(now time.Duration, a Ack, round bool) {
	r := &c.rival
	if r.born == 0 {
		r.born = now
	}
	since := min(now-r.last, 200*time.Millisecond)
	r.last = now
	switch {
	case c.state == startup || a.AppLimited || c.bw.value() == 0:
		r.pressed, r.pressLaps, r.best = 0, 0, c.bw.value()
	case c.stand <= c.low():
		r.pressed = max(0, r.pressed-3*since)
		if round {
			r.pressLaps = max(0, r.pressLaps-3)
		}
		if r.pressed == 0 {
			r.best, r.pressLaps = c.bw.value(), 0
		}
		if r.calm == 0 {
			r.calm = now
		}
		if c.bw.value() > r.peak && c.state == cruise && c.rounds >= 4 || now-r.calm > peakTime {
			r.peak = c.bw.value()
		}
	case c.proven == 0 && now-r.born < proveEvery+time.Second:
		// First know the road; those who share the link unknowingly may be
		// about to prove theirs.
	case float64(c.inflight) <= 1.1*c.holds()+2*float64(c.mss):
		r.calm = 0
		r.pressed += since
		if round {
			r.pressLaps++
		}
		switch {
		case r.was != polite && now-r.left < returnTime && now >= r.again && (c.proven > 0 || now-r.left > 2*proveEvery) && r.pressLaps >= 2 && r.pressed >= squeezeTime/2:
			r.again = now + 2*returnTime
			c.compete(now, r.was)
		case r.pressLaps >= squeezeLaps && r.pressed >= squeezeTime || r.pressLaps >= 2 && r.pressed >= 2*squeezeTime:
			c.compete(now, firm)
		}
	default:
		r.calm = 0
	}
}

// holds is what the path holds without a queue, in bytes.
func (c *BBR) holds() float64 {
	return c.bw.value() * (c.base + c.noise).Seconds()
}

// compete changes the level.
func (c *BBR) compete(now time.Duration, l level) {
	r := &c.rival
	if l != polite && r.trusts >= 2 && now-r.trusted < 2*squeezeTime+squeezeLaps*2*c.base {
		// Twice we were found alone, and left the queue: it is no queue.
		c.rebase(now)
		return
	}
	switch l {
	case polite:
		c.enter(now, down)
		c.nextUp = now + c.interval()
		c.bw.previous, c.bw.current = r.firm.rate(), 0
		c.proven = 0
		r.left, r.was = now, r.level
	case firm:
		c.enter(now, cruise)
		// A start-up from what two should have had, but the old rate may be
		// no more.
		rate := r.best
		if r.peak > 0 {
			rate = min(r.peak/2, 4*c.bw.value())
		}
		if r.leaveAt < now {
			r.patience = firmExpiry
			r.leaveAt = now + r.patience
		}
		r.firm.begin(now, max(c.bw.value(), rate), true, c.base)
	case greedy:
		if r.level == firm {
			r.cubic.window = max(float64(c.inflight), r.firm.window(c.mss))
			r.cubic.most, r.cubic.slow = 0, true
		} else {
			r.firm.begin(now, c.bw.value(), false, c.base)
			r.cubic.slow = false
		}
		r.elastic.nextAt = now - now%elasticEvery + elasticEvery
	}
	r.level = l
	r.calm, r.calmLaps, r.free, r.high = 0, 0, 0, 0
	r.steer.rate = 0
	r.pressed, r.pressLaps = 0, 0
	r.elastic.phase, r.cubic.growing = 0, false
}

// watchCalm returns to politeness when the queue stays away.
func (c *BBR) watchCalm(now time.Duration, round bool) {
	r := &c.rival
	switch {
	case c.stand > c.low():
		r.calm, r.calmLaps = 0, 0
	case r.calm == 0:
		r.calm = now
	case round:
		if r.calmLaps++; r.calmLaps >= relaxLaps && now-r.calm >= relaxTime {
			c.compete(now, polite)
		}
	}
}

// Crowd is how much longer than on a link of one's own the flows of the path must be able to wait, because of a neighbour's queue: their round
// trip has grown by it, and while the controller is finding its share its rate is no measure of what will come. While greedy in
// a deep queue it is twice that: the window moves by a third up and down, and what waits for it must not all be dropped when it has moved down.
func (c *BBR) Crowd() time.Duration {
	r := &c.rival
	switch {
	case r.level == firm && r.firm.phase != firmSteady && r.firm.phase != firmRTT || r.level == greedy && r.cubic.slow:
		return r.laps.past[0].queue + squeezeTime
	case r.level == greedy:
		q := r.laps.past[0].queue
		return q + max(0, q-shortQueue)
	case r.level == firm:
		return r.laps.past[0].queue
	case c.state != startup && c.stand > c.low() && c.bw.value() < squeezed*r.best:
		return squeezeTime // perhaps
	}
	return 0
}
