package cc

import "time"

const (
	firmRounds   = 10               // round trips of the bandwidth maximum
	firmExpiry   = 10 * time.Second // life of the round-trip minimum
	firmGain     = 2.0              // window in steady state
	firmExtra    = 6                // datagrams beyond it, for delayed and stretched ACKs
	firmProbeLow = 4                // datagrams in flight during the round-trip probe
	firmPush     = 2.89             // start-up gain of version 1
	seedRounds   = 3                // a seed that did not come true by then is forgotten
)

// firmPhase is the phase of the firm machine.
type firmPhase uint8

const (
	firmSteady firmPhase = iota
	firmStart            // for one who came second and never had a share
	firmDrain
	firmRTT
)

// firm is BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00), the
// standard gains without a delay bound, for a link whose queue others hold.
// Its round-trip minimum is its own: there a neighbour's queue does count,
// because a window that ignores it starves.
type firmBBR struct {
	phase   firmPhase
	rates   [firmRounds]float64
	rounds  int
	seed    float64 // stands for the maximum in the first rounds
	full    float64
	flat    int
	rtt     time.Duration
	rttAt   time.Duration
	cycle   int
	cycleAt time.Duration
	done    time.Duration // end of the round-trip probe
}

// begin starts with a rate (0: unknown, then by a start-up) and a round trip.
func (f *firmBBR) begin(now time.Duration, rate float64, push bool, rtt time.Duration) {
	*f = firmBBR{rtt: rtt, rttAt: now, cycle: 2, cycleAt: now, seed: rate}
	if push {
		f.phase = firmStart
	}
}

// rate is the bandwidth maximum.
func (f *firmBBR) rate() float64 {
	m := 0.0
	if f.rounds < seedRounds {
		m = f.seed
	}
	for _, r := range f.rates {
		m = max(m, r)
	}
	return m
}

func (f *firmBBR) path() float64 { return f.rate() * f.rtt.Seconds() }

func (f *firmBBR) onAck(now time.Duration, a Ack, round bool, mss int) {
	if round {
		f.rounds++
		f.rates[f.rounds%firmRounds] = 0
	}
	if p := &f.rates[f.rounds%firmRounds]; a.Rate > 0 && (!a.AppLimited || a.Rate > f.rate()) {
		*p = max(*p, a.Rate)
	}
	expired := now > f.rttAt+firmExpiry
	if a.RTT > 0 && (a.RTT <= f.rtt || expired) {
		f.rtt, f.rttAt = a.RTT, now
	}
	switch f.phase {
	case firmStart:
		if round && !a.AppLimited {
			if f.rate() >= f.full*growth {
				f.full, f.flat = f.rate(), 0
			} else if f.flat++; f.flat >= flatRounds {
				f.phase = firmDrain
			}
		}
	case firmDrain:
		if float64(a.Inflight) <= f.path() {
			f.steady(now)
		}
	case firmSteady:
		done := now-f.cycleAt > f.rtt
		switch f.cycle {
		case 0:
			done = done && (a.Lost > 0 || float64(a.Inflight) >= upGain*f.path())
		case 1:
			done = done || float64(a.Inflight) <= f.path()
		}
		if done {
			f.cycle, f.cycleAt = (f.cycle+1)%8, now
		}
	case firmRTT:
		if f.done == 0 && a.Inflight <= firmProbeLow*mss {
			f.done = now + probeRTTTime
		}
		if f.done > 0 && now > f.done && round {
			f.rttAt = now
			f.steady(now)
		}
	}
	if expired && f.phase == firmSteady {
		f.phase, f.done = firmRTT, 0
	}
}

func (f *firmBBR) steady(now time.Duration) {
	f.phase, f.cycle, f.cycleAt = firmSteady, 2, now
}

// pacing is the rate to send at.
func (f *firmBBR) pacing() float64 {
	g := 1.0
	switch f.phase {
	case firmStart:
		g = firmPush
	case firmDrain:
		g = 1 / firmPush
	case firmSteady:
		if f.cycle == 0 {
			g = upGain
		} else if f.cycle == 1 {
			g = downGain
		}
	}
	return g * f.rate()
}

// window is the number of bytes in flight.
func (f *firmBBR) window(mss int) float64 {
	switch f.phase {
	case firmStart, firmDrain:
		return firmPush*f.path() + firmExtra*float64(mss)
	case firmRTT:
		return firmProbeLow * float64(mss)
	}
	return firmGain*f.path() + firmExtra*float64(mss)
}

// onFirm looks for signs that BBR's gains will not do: a queue beyond what
// BBRs leave, or one that overflows.
func (c *BBR) onFirm(now time.Duration, a Ack) {
	r := &c.rival
	if low := r.laps.past[0].low; low == never || low <= 2*c.base+20*time.Millisecond {
		r.high = 0
	} else if r.high == 0 {
		r.high = now
	}
	if c.overflow(now, a) {
		r.firm.steady(now)
		c.compete(now, greedy)
		c.cutWindow(a)
	} else if r.high > 0 && now-r.high > squeezeTime {
		c.compete(now, greedy)
	}
}

// overflow reports whether loss came from a full queue, or a mark from one
// that was about to fill.
func (c *BBR) overflow(now time.Duration, a Ack) bool {
	if a.CE > 0 {
		return true
	}
	if a.Lost == 0 {
		return false
	}
	deepest := -c.rival.deepest.value(now)
	return c.stand > c.bound() && c.rival.laps.past[0].queue >= time.Duration(nearFull*float64(deepest))
}
