package cc

import (
	"math/rand/v2"
	"time"
)

// state is the phase of the machine; see doc.go for the drawing.
type state uint8

const (
	startup  state = iota // find the rate: grow by 2.77 per round trip
	drain                 // empty the queue that start-up built
	cruise                // send at the estimate
	up                    // probe above it
	down                  // empty the queue of the probe, or any other we stand in
	probeRTT              // make room for a sample of the bare round trip
)

// BBR is the congestion controller of one path. It is a pure machine: no
// clock, no goroutine; the owner calls it with the time.
type BBR struct {
	rng     *rand.Rand
	mss     int
	maxRate float64

	state   state
	entered time.Duration // when the state began
	rounds  int           // round trips begun since then

	// the model of the path
	bw       bandwidth
	top      float64 // largest recent estimate: the link's rate as far as seen
	seed     float64 // rate remembered from before, until measured
	rtt      minimum // bare round trip
	base     time.Duration
	standing minimum       // queue that did not go away for a moment
	stand    time.Duration // its value
	noise    time.Duration // usual round trip above base and queue: jitter and ACK delay
	jitter   time.Duration // usual one-way delay above the smallest of its epoch
	inflight int

	roundEnd uint64 // a datagram sent after this much was delivered ends the round
	epoch    epoch

	// start-up
	full      float64 // rate of the last round that grew
	flat      int     // rounds since
	roundLost int     // bytes lost and delivered in this round
	roundGot  int
	found     time.Duration // queue that stood before we sent anything
	early     bool          // start-up was left on a sign that may deceive

	// probing
	nextUp  time.Duration
	upFrom  float64 // estimate when this step of the probe began
	upStep  int
	stepAge int // rounds of this step
	busy    int // rounds of this cycle that were not app-limited
	lossTest
	rival rival

	// round-trip probe
	phase     time.Duration
	nextProbe time.Duration
	refreshed time.Duration // when the base was last seen
	probeDone time.Duration
	proven    time.Duration // base as seen with little in flight; 0: never
	staggered bool          // the next probe has its own turn
	probeLow  time.Duration // smallest round trip of this probe
	probeFrom time.Duration // base before it

	allowance int // bytes: window while recovering from a timeout; 0: none
}

// begin sets the machine to its first state.
func (c *BBR) begin(rate float64, rtt time.Duration) {
	*c = BBR{rng: c.rng, mss: c.mss, maxRate: c.maxRate, phase: c.phase, nextProbe: c.nextProbe}
	if valid(rate) {
		c.seed = rate
	}
	if rtt > 0 {
		c.base = rtt
	}
	c.jitter = firstJitter
}

// Restart forgets the path: it has moved to other ground, or returned from the
// dead. It begins at keepRate (bytes/s, 0: nothing is known) and learns anew.
func (c *BBR) Restart(now time.Duration, keepRate float64) {
	c.begin(keepRate, 0)
	c.entered = now
}

// enter changes the state.
func (c *BBR) enter(now time.Duration, s state) {
	c.state, c.entered, c.rounds = s, now, 0
}

// OnSent is told of every datagram sent on the path that asks for an acknowledgement.
func (c *BBR) OnSent(now time.Duration, bytes, inflightBefore int) {
	c.inflight = max(0, inflightBefore) + max(0, bytes)
	if inflightBefore <= 0 {
		// After a pause the old samples say nothing about the queue.
		c.standing.reset()
		c.stand = 0
		c.epoch.open = false
		if c.state == up {
			c.enter(now, cruise)
		}
	}
}

// OnAck digests one acknowledgement.
func (c *BBR) OnAck(now time.Duration, a Ack) {
	a = clean(a)
	round := a.DeliveredAtSend >= c.roundEnd
	if round {
		c.roundEnd = a.DeliveredTotal
		c.rounds++
		if !a.AppLimited {
			c.busy++
		}
	}
	c.inflight = a.Inflight
	if c.allowance > 0 {
		c.allowance += 2 * a.Delivered
		if c.allowance >= c.target() {
			c.allowance = 0
		}
	}
	c.roundLost += a.Lost
	c.roundGot += a.Delivered
	c.measure(now, a)
	c.account(now, a, round)

	c.watch(now, a, round)

	if c.rival.level != polite {
		if round {
			c.roundLost, c.roundGot = 0, 0
		}
		return
	}
	switch c.state {
	case startup:
		c.onStartup(now, a, round)
	case drain:
		c.onDrain(now)
	case cruise:
		c.onCruise(now, a)
	case up:
		c.onUp(now, a, round)
	case down:
		c.onDown(now)
	case probeRTT:
		c.onProbeRTT(now, a)
	}
	c.checkProbeRTT(now)
	if round {
		c.roundLost, c.roundGot = 0, 0
	}
}

// clean brings an Ack inside what the machine computes with.
func clean(a Ack) Ack {
	a.Delivered, a.Lost, a.Inflight = max(0, a.Delivered), max(0, a.Lost), max(0, a.Inflight)
	a.RTT = max(0, a.RTT)
	if !valid(a.Rate) {
		a.Rate = 0
	}
	a.Rate = min(a.Rate, maxRate)
	return a
}

// OnTimeout is told that everything outstanding is presumed lost. The model is
// kept, for the silence may be an outage; the window opens again by what is
// acknowledged.
func (c *BBR) OnTimeout(now time.Duration) {
	c.inflight = 0
	c.allowance = 4 * c.mss
	c.epoch.open = false
	c.standing.reset()
	c.stand = 0
	if w := &c.rival.cubic; c.rival.level == greedy {
		w.window = max(w.window/2, minWindow*float64(c.mss))
		w.slow, w.growing = false, false
		c.rival.elastic.phase = elasticIdle
	}
	if c.state == up || c.state == probeRTT {
		c.enter(now, cruise)
		c.nextUp = now + c.interval()
	}
}
