package sim

import "time"

// hystart is the HyStart of Linux (tcp_cubic.c): slow start ends when a train
// of ACKs has lasted for half the minimum RTT, or when the RTT has risen.
type hystart struct {
	started  bool
	roundEnd uint64
	begin    time.Duration
	lastAck  time.Duration
	rtt      time.Duration // least of the round
	samples  int
	found    bool
}

const (
	hystartLowWindow = 16
	hystartAckGap    = 2 * time.Millisecond
	hystartSamples   = 8
	hystartDelayMin  = 4 * time.Millisecond
	hystartDelayMax  = 16 * time.Millisecond
)

func (h *hystart) restart(c *conn, now time.Duration) {
	*h = hystart{started: true, roundEnd: c.snd.nxt, begin: now, lastAck: now, found: h.found}
}

func (h *hystart) update(now time.Duration, c *conn, minRTT, rtt time.Duration) {
	if h.found || rtt == 0 {
		return
	}
	if !h.started || c.snd.una > h.roundEnd {
		h.restart(c, now)
	}
	if c.snd.cwnd < hystartLowWindow {
		return
	}
	if now-h.lastAck <= hystartAckGap {
		h.lastAck = now
		if now-h.begin > minRTT/2 {
			h.found = true
		}
	}
	if h.rtt == 0 || rtt < h.rtt {
		h.rtt = rtt
	}
	if h.samples < hystartSamples {
		h.samples++
	} else if h.rtt > minRTT+min(max(minRTT/8, hystartDelayMin), hystartDelayMax) {
		h.found = true
	}
	if h.found {
		c.snd.ssthresh = c.snd.cwnd
	}
}

// hystartPP is HyStart++ (RFC 9406), for senders that do not pace.
type hystartPP struct {
	started  bool
	done     bool
	roundEnd uint64
	last     time.Duration // least RTT of the previous round
	rtt      time.Duration // least of this one
	samples  int
	css      int           // rounds of conservative slow start, 0: not in it
	baseline time.Duration // least RTT when it began
}

const (
	hppLimit     = 8 // packets per ACK that may count (L, not paced)
	hppDivisor   = 4 // CSS_GROWTH_DIVISOR
	hppRounds    = 5 // CSS_ROUNDS
	hppMinRTT    = 4 * time.Millisecond
	hppMaxRTT    = 16 * time.Millisecond
	hppNoRTT     = time.Duration(1<<63 - 1)
	hppMinSample = 8
)

// grow raises the window for acked packets in slow start and returns those left
// for congestion avoidance.
func (h *hystartPP) grow(_ time.Duration, c *conn, acked float64, rtt time.Duration) float64 {
	s := &c.snd
	if h.done { // RFC 9406 §4.1: only the first slow start
		grown := min(s.cwnd+acked, s.ssthresh)
		left := acked - (grown - s.cwnd)
		s.cwnd = grown
		return left
	}
	if !h.started || s.una > h.roundEnd {
		last := hppNoRTT
		if h.started {
			last = h.rtt
			if h.css > 0 {
				h.css++
			}
		}
		h.started, h.last, h.rtt, h.samples, h.roundEnd = true, last, hppNoRTT, 0, s.nxt
		if h.css > hppRounds {
			s.ssthresh, h.done = s.cwnd, true
			return acked
		}
	}
	if rtt > 0 {
		h.rtt = min(h.rtt, rtt)
		h.samples++
	}
	enough := h.samples >= hppMinSample && h.rtt != hppNoRTT
	if h.css == 0 {
		if enough && h.last != hppNoRTT && h.rtt >= h.last+max(hppMinRTT, min(h.last/8, hppMaxRTT)) {
			h.baseline, h.css = h.rtt, 1
		}
	} else if enough && h.rtt < h.baseline {
		h.baseline, h.css = hppNoRTT, 0
	}
	n := min(acked, hppLimit)
	if h.css > 0 {
		n /= hppDivisor
	}
	s.cwnd = min(s.cwnd+n, s.ssthresh)
	return 0
}
