package cc

import "time"

const (
	probeRTTTime  = 200 * time.Millisecond
	probeRTTEvery = 10 * time.Second
	// proofTime is enough to prove a short road, even past a few packets of jitter.
	proofTime = 80 * time.Millisecond
	// freshRTT: a proven base that was seen again this recently needs no probe.
	freshRTT = 5 * time.Second
	// An unproven base is probed at the next multiple of this since the
	// owner's origin: paths that unknowingly share a link are then quiet
	// together, and none takes the queue of the others for road.
	proveEvery = 2 * time.Second
)

// ProbeRTTAt sets the moment of the round-trip probe within its period of 10 s,
// so that the paths of a bond take turns.
func (c *BBR) ProbeRTTAt(phase time.Duration) {
	c.phase = (phase%probeRTTEvery + probeRTTEvery) % probeRTTEvery
	c.nextProbe = 0
}

// isProven reports whether the base was seen with little in flight: otherwise
// it may hold a queue of our own that no drain to "the path" would ever empty.
func (c *BBR) isProven() bool {
	return c.proven > 0 && c.base <= c.proven+max(2*time.Millisecond, c.proven/8)+c.jitter
}

// checkProbeRTT begins a probe when its turn has come and it is needed.
func (c *BBR) checkProbeRTT(now time.Duration) {
	if c.state != cruise && c.state != up && c.state != down {
		c.nextProbe = 0
		return
	}
	if c.nextProbe == 0 || c.isProven() != c.staggered {
		c.staggered = c.isProven()
		every, phase := proveEvery, time.Duration(0)
		if c.staggered {
			every, phase = probeRTTEvery, c.phase
		}
		c.nextProbe = now - now%every + phase
		if c.nextProbe <= now {
			c.nextProbe += every
		}
	}
	if now < c.nextProbe {
		return
	}
	c.nextProbe = 0
	if !c.staggered || now-c.refreshed > freshRTT {
		c.enter(now, probeRTT)
		c.probeDone, c.probeLow, c.probeFrom = 0, never, c.base
	}
}

// onProbeRTT holds half the path for 200 ms, counted from when it is reached.
func (c *BBR) onProbeRTT(now time.Duration, a Ack) {
	if c.probeDone == 0 && (c.inflight <= c.Window() || c.rounds >= 2) {
		c.probeDone = now + probeRTTTime
		if !c.staggered {
			c.probeDone = now + min(max(2*c.base, proofTime), probeRTTTime)
		}
	}
	if a.RTT > 0 {
		c.probeLow = min(c.probeLow, a.RTT)
	}
	if c.probeDone == 0 || now < c.probeDone || c.rounds < 1 {
		return
	}
	c.refreshed = now
	if c.probeLow < c.probeFrom*3/4 {
		// It fell so far that half of the path as it was believed may still
		// have been a queue: once more.
		c.proven = 0
	} else {
		c.proven = c.base
	}
	c.enter(now, cruise)
	c.nextUp = max(c.nextUp, now+c.base)
}
