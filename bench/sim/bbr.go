package sim

import "time"

// bbr is BBR version 1 as in Linux (net/ipv4/tcp_bbr.c), without the long-term
// (policer) sampling. Rates are in packets per second.
type bbr struct {
	mode       bbrMode
	bw         [3]bbrMax // windowed maximum over bbrBwRounds
	round      uint64
	roundEnd   uint64 // delivered count that ends the round
	roundStart bool
	fullBw     float64
	fullCount  int
	full       bool
	pacingGain float64
	windowGain float64
	cycle      int
	cycleAt    time.Duration
	minRTT     time.Duration
	minAt      time.Duration
	probeDone  time.Duration // end of ProbeRTT, 0: not yet at the small window
	probeRound bool
	prior      float64 // window before recovery or ProbeRTT
	was        caState
	conserve   bool

	// Aggregation of ACKs: what arrived beyond bandwidth × time.
	extra      [2]float64
	extraRound uint64
	epochAt    time.Duration
	epochAcked float64
}

type bbrMax struct {
	round uint64
	bw    float64
}

type bbrMode uint8

const (
	bbrStartup bbrMode = iota
	bbrDrain
	bbrProbeBW
	bbrProbeRTT
)

const (
	bbrHighGain  = 2885.0/1000 + 0.001 // 2/ln 2
	bbrWindow    = 2.0
	bbrMinWindow = 4
	bbrBwRounds  = 10
	bbrMinRTTFor = 10 * time.Second
	bbrProbeFor  = 200 * time.Millisecond
	bbrMargin    = 0.99 // paces 1 % below the estimate
)

var bbrCycle = [8]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

func newBBR(c *conn) *bbr {
	b := &bbr{pacingGain: bbrHighGain, windowGain: bbrHighGain}
	rtt := time.Millisecond
	if c.synNum == 1 {
		rtt = max(rtt, c.host.clock.now-c.synAt)
	}
	b.pace(c, tcpInitialWindow/rtt.Seconds())
	return b
}

func (b *bbr) rateBased() bool { return true }

func (b *bbr) pace(c *conn, packets float64) {
	c.snd.pacing = packets * b.pacingGain * bbrMargin * float64(c.snd.mss+ipHeader+tcpHeader+tsOption)
}

func (b *bbr) maxBw() float64 { return b.bw[0].bw }

func (b *bbr) acked(now time.Duration, c *conn, n int, rs *rateSample) {
	s := &c.snd
	b.updateBw(s, rs)
	b.updateExtra(now, s, n)
	b.updateCycle(now, s, rs)
	b.updateFull(rs)
	b.updateDrain(now, s)
	b.updateMinRTT(now, s, rs)
	if bw := b.maxBw(); bw > 0 {
		if rate := bw * b.pacingGain * bbrMargin * float64(s.mss+ipHeader+tcpHeader+tsOption); b.full || rate > s.pacing {
			s.pacing = rate
		}
	}
	b.setWindow(s, n, rs)
}

func (b *bbr) updateBw(s *sender, rs *rateSample) {
	b.roundStart = false
	if rs.interval <= 0 || rs.delivered == 0 {
		return
	}
	if rs.prior >= b.roundEnd {
		b.roundEnd = s.delivered
		b.round++
		b.roundStart = true
		b.conserve = false
	}
	bw := float64(s.delivered-rs.prior) / rs.interval.Seconds()
	if rs.limited && bw < b.maxBw() {
		return
	}
	// Kathleen Nichols' windowed maximum (lib/win_minmax.c).
	m := bbrMax{b.round, bw}
	switch {
	case bw >= b.bw[0].bw || b.round-b.bw[2].round > bbrBwRounds:
		b.bw = [3]bbrMax{m, m, m}
		return
	case bw >= b.bw[1].bw:
		b.bw[1], b.bw[2] = m, m
	case bw >= b.bw[2].bw:
		b.bw[2] = m
	}
	age := b.round - b.bw[0].round
	switch {
	case age > bbrBwRounds:
		b.bw[0], b.bw[1], b.bw[2] = b.bw[1], b.bw[2], m
		if b.round-b.bw[0].round > bbrBwRounds {
			b.bw[0], b.bw[1], b.bw[2] = b.bw[1], b.bw[2], m
		}
	case b.bw[1].round == b.bw[0].round && age > bbrBwRounds/4:
		b.bw[1], b.bw[2] = m, m
	case b.bw[2].round == b.bw[1].round && age > bbrBwRounds/2:
		b.bw[2] = m
	}
}

func (b *bbr) updateExtra(now time.Duration, s *sender, n int) {
	if n <= 0 {
		return
	}
	if b.round-b.extraRound > 5 {
		b.extraRound = b.round
		b.extra[1], b.extra[0] = b.extra[0], 0
	}
	expected := b.maxBw() * (now - b.epochAt).Seconds()
	if b.epochAcked <= expected {
		b.epochAcked, b.epochAt, expected = 0, now, 0
	}
	b.epochAcked += float64(n)
	extra := min(b.epochAcked-expected, s.cwnd)
	b.extra[0] = max(b.extra[0], extra)
}

// target is the window for the given gain (bbr_inflight and its rounding).
func (b *bbr) target(gain float64) float64 {
	if b.minRTT == 0 || b.maxBw() == 0 {
		return tcpInitialWindow
	}
	w := gain*b.maxBw()*b.minRTT.Seconds() + 6 // three bursts of the smallest size
	if b.mode == bbrProbeBW && b.cycle == 0 {
		w += 2
	}
	return w
}

func (b *bbr) updateCycle(now time.Duration, s *sender, rs *rateSample) {
	if b.mode != bbrProbeBW {
		return
	}
	long := now-b.cycleAt > b.minRTT
	next := long
	switch {
	case b.pacingGain > 1:
		next = long && (rs.lost > 0 || float64(rs.inflight) >= b.target(b.pacingGain))
	case b.pacingGain < 1:
		next = long || float64(rs.inflight) <= b.target(1)
	}
	if next {
		b.cycle = (b.cycle + 1) % len(bbrCycle)
		b.cycleAt = now
		b.pacingGain = bbrCycle[b.cycle]
	}
}

func (b *bbr) updateFull(rs *rateSample) {
	if b.full || !b.roundStart || rs.limited {
		return
	}
	if bw := b.maxBw(); bw >= b.fullBw*1.25 {
		b.fullBw, b.fullCount = bw, 0
		return
	}
	b.fullCount++
	b.full = b.fullCount >= 3
}

func (b *bbr) updateDrain(now time.Duration, s *sender) {
	if b.mode == bbrStartup && b.full {
		b.mode, b.pacingGain, b.windowGain = bbrDrain, 1/bbrHighGain, bbrHighGain
		s.ssthresh = b.target(1)
	}
	if b.mode == bbrDrain && float64(s.inflight()) <= b.target(1) {
		b.startProbeBW(now)
	}
}

func (b *bbr) startProbeBW(now time.Duration) {
	b.mode, b.windowGain = bbrProbeBW, bbrWindow
	b.cycle = 2 + int(b.round%6) // any phase but 1.25 and 0.75, without dice
	b.cycleAt = now
	b.pacingGain = bbrCycle[b.cycle]
}

func (b *bbr) updateMinRTT(now time.Duration, s *sender, rs *rateSample) {
	expired := b.minRTT != 0 && now > b.minAt+bbrMinRTTFor
	if rs.rtt > 0 && (b.minRTT == 0 || rs.rtt < b.minRTT || expired) {
		b.minRTT, b.minAt = rs.rtt, now
	}
	if expired && b.mode != bbrProbeRTT {
		b.mode, b.pacingGain, b.windowGain = bbrProbeRTT, 1, 1
		b.prior = max(b.prior, s.cwnd)
		b.probeDone = 0
	}
	if b.mode != bbrProbeRTT {
		return
	}
	s.appLimited = max(1, s.delivered+uint64(s.inflight()))
	if b.probeDone == 0 && s.inflight() <= bbrMinWindow {
		b.probeDone, b.probeRound = now+bbrProbeFor, false
		b.roundEnd = s.delivered
	} else if b.probeDone != 0 {
		b.probeRound = b.probeRound || b.roundStart
		if b.probeRound && now > b.probeDone {
			b.minAt = now
			s.cwnd = max(s.cwnd, b.prior)
			b.prior = 0
			if b.full {
				b.startProbeBW(now)
			} else {
				b.mode, b.pacingGain, b.windowGain = bbrStartup, bbrHighGain, bbrHighGain
			}
		}
	}
}

func (b *bbr) setWindow(s *sender, n int, rs *rateSample) {
	acked := float64(n)
	if rs.lost > 0 {
		s.cwnd = max(s.cwnd-float64(rs.lost), 1)
	}
	if s.state == caRecovery && b.was != caRecovery {
		b.conserve = true
		b.roundEnd = s.delivered
		s.cwnd = float64(s.inflight()) + acked
	} else if s.state == caOpen && b.was != caOpen {
		s.cwnd = max(s.cwnd, b.prior)
		b.prior = 0
		b.conserve = false
	}
	b.was = s.state
	if b.conserve {
		s.cwnd = max(s.cwnd, float64(s.inflight())+acked)
	} else if n > 0 {
		target := b.target(b.windowGain)
		if b.full {
			target += min(max(b.extra[0], b.extra[1]), b.maxBw()*0.1) // at most 100 ms worth
			s.cwnd = min(s.cwnd+acked, target)
		} else if s.cwnd < target || s.delivered < tcpInitialWindow {
			s.cwnd += acked
		}
		s.cwnd = max(s.cwnd, bbrMinWindow)
	}
	if b.mode == bbrProbeRTT {
		s.cwnd = min(s.cwnd, bbrMinWindow)
	}
}

func (b *bbr) threshold(_ time.Duration, c *conn) float64 {
	if b.mode != bbrProbeRTT && b.was == caOpen {
		b.prior = max(b.prior, c.snd.cwnd)
	}
	return c.snd.ssthresh
}

func (b *bbr) undo(*conn) { b.fullBw, b.fullCount = 0, 0 }

func (b *bbr) timeout(_ time.Duration, c *conn) {
	b.was, b.fullBw = caLoss, 0
	b.prior = max(b.prior, c.snd.cwnd)
}
