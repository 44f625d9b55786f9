package cc

import (
	"math"
	"time"
)

// cubic is a neighbour: CUBIC (RFC 9438) with fast convergence, HyStart's delay
// test and no pacing, as a kernel sends it.
type cubic struct {
	cwnd, ssthresh    float64 // packets
	wMax, k, wEst     float64
	epoch             time.Duration
	base, round       time.Duration // smallest round trip; smallest of this round
	srtt              time.Duration
	roundEnd          uint64
	recover           uint64 // losses of data sent before do not count again
	inEpoch, hasRound bool
}

func newCubic() *cubic { return &cubic{cwnd: 10, ssthresh: math.Inf(1), base: never, round: never} }

func (c *cubic) OnSent(time.Duration, int, int) {}
func (c *cubic) Window() int                    { return int(c.cwnd) * packetSize }
func (c *cubic) PacingRate() float64            { return 1e9 }
func (c *cubic) OnTimeout(time.Duration) {
	c.ssthresh = max(2, c.cwnd*0.7)
	c.wMax, c.cwnd, c.inEpoch = c.cwnd, 1, false
}

func (c *cubic) OnAck(now time.Duration, a Ack) {
	if a.RTT > 0 {
		c.base, c.round, c.srtt = min(c.base, a.RTT), min(c.round, a.RTT), a.RTT
	}
	if a.DeliveredAtSend >= c.roundEnd {
		if c.cwnd < c.ssthresh && c.hasRound && c.cwnd >= 16 && c.round > c.base+min(max(c.base/8, 4*ms), 16*ms) {
			c.ssthresh = c.cwnd
		}
		c.roundEnd, c.round, c.hasRound = a.DeliveredTotal, never, true
	}
	if a.Lost > 0 && a.DeliveredAtSend >= c.recover {
		if c.cwnd < c.wMax {
			c.wMax = c.cwnd * 0.85
		} else {
			c.wMax = c.cwnd
		}
		c.cwnd = max(2, c.cwnd*0.7)
		c.ssthresh = c.cwnd
		c.inEpoch = false
		c.recover = a.DeliveredTotal
		return
	}
	acked := float64(a.Delivered) / packetSize
	if float64(a.Inflight+a.Delivered) < c.cwnd*packetSize*0.8 {
		return
	}
	if c.cwnd < c.ssthresh {
		c.cwnd += acked
		return
	}
	if !c.inEpoch {
		c.inEpoch, c.epoch, c.wEst = true, now, c.cwnd
		c.wMax = max(c.wMax, c.cwnd)
		c.k = math.Cbrt((c.wMax - c.cwnd) / 0.4)
	}
	t := (now - c.epoch + c.srtt).Seconds() - c.k
	target := min(c.wMax+0.4*t*t*t, c.cwnd*1.5)
	c.wEst += 0.53 * acked / c.cwnd
	if target > c.cwnd {
		c.cwnd += (target - c.cwnd) / c.cwnd * acked
	}
	c.cwnd = max(c.cwnd, c.wEst)
}

// bbr1 is a neighbour: BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00).
type bbr1 struct {
	state           int // 0 start-up, 1 drain, 2 bandwidth, 3 round trip
	rates           [10]float64
	rounds          int
	roundEnd        uint64
	full            float64
	fullCount       int
	minRTT          time.Duration
	minAt           time.Duration
	phase           int
	phaseAt, probed time.Duration
	inflight        int
}

func newBBR1() *bbr1 { return &bbr1{minRTT: never} }

func (b *bbr1) bw() float64 {
	m := 0.0
	for _, r := range b.rates {
		m = max(m, r)
	}
	return m
}

func (b *bbr1) OnSent(time.Duration, int, int) {}
func (b *bbr1) OnTimeout(time.Duration)        {}

func (b *bbr1) gain() float64 {
	switch b.state {
	case 0:
		return 2.89
	case 1:
		return 1 / 2.89
	case 2:
		return [8]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}[b.phase]
	}
	return 1
}

func (b *bbr1) bdp() float64 { return b.bw() * b.minRTT.Seconds() }

func (b *bbr1) Window() int {
	if b.bw() == 0 {
		return 10 * packetSize
	}
	if b.state == 3 {
		return 4 * packetSize
	}
	g := 2.0
	if b.state < 2 {
		g = 2.89
	}
	return max(4*packetSize, int(g*b.bdp())+3*2*packetSize)
}

func (b *bbr1) PacingRate() float64 {
	if b.bw() == 0 {
		return 10 * packetSize * 2.89 / 0.025
	}
	return b.gain() * b.bw()
}

func (b *bbr1) OnAck(now time.Duration, a Ack) {
	b.inflight = a.Inflight
	round := a.DeliveredAtSend >= b.roundEnd
	if round {
		b.roundEnd = a.DeliveredTotal
		b.rounds++
		b.rates[b.rounds%10] = 0
	}
	if a.Rate > 0 && (!a.AppLimited || a.Rate > b.bw()) {
		b.rates[b.rounds%10] = max(b.rates[b.rounds%10], a.Rate)
	}
	expired := b.minRTT != never && now > b.minAt+10*time.Second
	if a.RTT > 0 && (a.RTT < b.minRTT || expired) {
		b.minRTT, b.minAt = a.RTT, now
	}
	switch b.state {
	case 0:
		if round && !a.AppLimited {
			if b.bw() >= b.full*1.25 {
				b.full, b.fullCount = b.bw(), 0
			} else if b.fullCount++; b.fullCount >= 3 {
				b.state = 1
			}
		}
	case 1:
		if float64(a.Inflight) <= b.bdp() {
			b.state, b.phase, b.phaseAt = 2, 2, now
		}
	case 2:
		long := now-b.phaseAt > b.minRTT
		switch b.phase {
		case 0:
			long = long && (a.Lost > 0 || float64(a.Inflight) >= 1.25*b.bdp())
		case 1:
			long = long || float64(a.Inflight) <= b.bdp()
		}
		if long {
			b.phase, b.phaseAt = (b.phase+1)%8, now
		}
	case 3:
		if a.Inflight <= 4*packetSize && b.probed == 0 {
			b.probed = now + 200*ms
		}
		if b.probed > 0 && now > b.probed && round {
			b.state, b.phase, b.phaseAt, b.minAt = 2, 2, now, now
		}
	}
	if expired && b.state != 3 {
		b.state, b.probed = 3, 0
	}
}
