package cc

import "time"

const (
	probeRTTTime  = 200 * time.Millisecond
	probeRTTEvery = 10 * time.Second
	// freshRTT: a base seen this recently needs no probe.
	freshRTT = 5 * time.Second
)

// ProbeRTTAt sets the moment of the round-trip probe within its period of 10 s,
// so that the paths of a bond take turns.
func (c *BBR) ProbeRTTAt(phase time.Duration) {
	c.phase = (phase%probeRTTEvery + probeRTTEvery) % probeRTTEvery
	c.nextProbe = 0
}

// checkProbeRTT begins a probe when its turn has come and the base is old.
func (c *BBR) checkProbeRTT(now time.Duration) {
	if c.nextProbe == 0 {
		c.nextProbe = now - now%probeRTTEvery + c.phase
		if c.nextProbe <= now {
			c.nextProbe += probeRTTEvery
		}
	}
	if now < c.nextProbe {
		return
	}
	c.nextProbe += probeRTTEvery
	if c.nextProbe <= now {
		c.nextProbe = 0
	}
	if now-c.refreshed > freshRTT && (c.state == cruise || c.state == up || c.state == down) {
		c.enter(now, probeRTT)
		c.probeDone = 0
	}
}

// onProbeRTT holds half the path for 200 ms, counted from when it is reached.
func (c *BBR) onProbeRTT(now time.Duration) {
	if c.probeDone == 0 && (c.inflight <= c.Window() || c.rounds >= 2) {
		c.probeDone = now + probeRTTTime
	}
	if c.probeDone != 0 && now >= c.probeDone && c.rounds >= 1 {
		c.refreshed = now
		c.enter(now, cruise)
		c.nextUp = max(c.nextUp, now+c.base)
	}
}
