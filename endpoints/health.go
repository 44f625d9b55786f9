package endpoints

import "time"

// How an uplink fares. The zero value is unknown: no hook has been told anything.
type healthState uint8

const (
	healthUnknown healthState = iota
	healthUp
	healthDegraded
	healthDown
)

func (s healthState) String() string { return [...]string{"unknown", "up", "degraded", "down"}[s] }

const (
	// healthTick is how often an uplink is looked at.
	healthTick = time.Second
	// silentTime without a path makes an uplink down: the transport has moved its data long before, and a flap is no reason to redial.
	silentTime = 5 * time.Second
	// A window of lossWindow with at least lossDatagrams sent and more than lossBad of them lost makes an uplink degraded; one with less than
	// lossGood ends that. Ordinary lines under load lose 1 %; at 10 % no inner TCP gets anywhere.
	lossWindow    = 10 * time.Second
	lossDatagrams = 100
	lossBad       = 0.10
	lossGood      = 0.03
	// flapsBad failures within flapWindow make it degraded too.
	flapsBad   = 3
	flapWindow = time.Minute
)

// facts are what is known of an uplink at one moment.
type facts struct {
	link      bool   // its interface has a link and an address
	answers   bool   // a path of it is up
	others    bool   // a path of another uplink is up, so that the exit is
	probed    bool   // its probe target has been asked lately
	probeOK   bool   // and has answered
	sent      uint64 // datagrams since the session began, of all its paths
	lost      uint64
	failures  uint64 // times that a path of it became suspect
	sessionID uint32 // counters are of this session
}

// health follows one uplink. It is a pure machine: see is called once per healthTick.
type health struct {
	state  healthState
	since  time.Duration // state began
	reason string

	silent    time.Duration // since when no path answers
	hasSilent bool
	base      facts // at the start of the loss window
	baseAt    time.Duration
	lossy     bool
	lastFail  uint64
	session   uint32
	fails     []time.Duration // when paths failed, within flapWindow
}

// see takes the facts and tells whether the state has changed.
func (h *health) see(now time.Duration, f facts) bool {
	h.quality(now, f)
	next, reason := h.judge(now, f)
	if next == healthUnknown || next == h.state {
		return false
	}
	h.state, h.since, h.reason = next, now, reason
	return true
}

// judge decides on the state; healthUnknown leaves it as it is.
func (h *health) judge(now time.Duration, f facts) (healthState, string) {
	if !f.link {
		h.hasSilent = false
		return healthDown, "its interface has no link or no address"
	}
	if f.answers {
		h.hasSilent = false
		switch {
		case h.lossy:
			return healthDegraded, "it loses more than a tenth of its datagrams"
		case len(h.fails) >= flapsBad:
			return healthDegraded, "it failed several times within a minute"
		}
		return healthUp, "its paths answer"
	}
	if !h.hasSilent {
		h.silent, h.hasSilent = now, true
	}
	switch {
	case now-h.silent < silentTime:
	case f.probed && f.probeOK:
		if !f.others {
			return healthUp, "the exit does not answer, and its probe target does"
		}
		return healthDegraded, "its paths do not answer, and its probe target does"
	case f.probed:
		return healthDown, "neither its paths nor its probe target answer"
	case f.others:
		return healthDown, "its paths do not answer, and those of others do"
	}
	return healthUnknown, ""
}

// quality keeps count of losses and failures.
func (h *health) quality(now time.Duration, f facts) {
	if f.sessionID != h.session || f.sent < h.base.sent || f.failures < h.lastFail {
		h.session, h.base, h.baseAt, h.lastFail = f.sessionID, f, now, f.failures
	}
	for range min(f.failures-h.lastFail, flapsBad) {
		h.fails = append(h.fails, now)
	}
	h.lastFail = f.failures
	for len(h.fails) > 0 && now-h.fails[0] >= flapWindow {
		h.fails = h.fails[1:]
	}
	if now-h.baseAt < lossWindow {
		return
	}
	if sent := f.sent - h.base.sent; sent >= lossDatagrams {
		share := float64(f.lost-min(h.base.lost, f.lost)) / float64(sent)
		h.lossy = share > lossBad || h.lossy && share >= lossGood
	} else {
		h.lossy = false // it is not used enough to tell
	}
	h.base, h.baseAt = f, now
}
