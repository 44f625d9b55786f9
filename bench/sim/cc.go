package sim

import (
	"math"
	"time"
)

// congestion is a congestion controller of the TCP model. Windows are in
// packets.
type congestion interface {
	// acked is called for every ACK outside of window reductions, with the
	// number of packets delivered; where the controller is not rateBased
	// only while the window is what limits the sender.
	acked(now time.Duration, c *conn, n int, rs *rateSample)
	// threshold is the new slow start threshold after a loss.
	threshold(now time.Duration, c *conn) float64
	// undo: the last reduction was for a loss that was none.
	undo(c *conn)
	// timeout: the retransmission timer fired.
	timeout(now time.Duration, c *conn)
	// rateBased controllers set window and pacing rate from samples also
	// during recovery (cong_control of Linux).
	rateBased() bool
}

// rateSample is what one ACK says about the delivery rate.
type rateSample struct {
	rtt       time.Duration // of the segment acked last that was sent once; 0: none
	delivered int           // packets newly delivered
	lost      int           // packets newly marked
	prior     uint64        // c.snd.delivered when the sampled segment left
	interval  time.Duration
	limited   bool // application-limited
	inflight  int  // before the ACK
}

// cubic is CUBIC (RFC 9438) in the form of Linux (net/ipv4/tcp_cubic.c).
type cubic struct {
	lastMax, k, origin float64
	epoch              time.Duration // start, -1: none
	ackCount, renoWnd  float64
	minRTT             time.Duration

	linux hystart
	plus  hystartPP
}

const (
	cubicC    = 0.4
	cubicBeta = 717.0 / 1024
	// renoRise: packets acknowledged per window for the Reno estimate to
	// grow by one (RFC 9438 §4.3, alpha = 3(1-beta)/(1+beta)).
	renoRise = (1 + cubicBeta) / (3 * (1 - cubicBeta))
)

func newCubic() *cubic { return &cubic{epoch: -1} }

func (q *cubic) rateBased() bool { return false }

func (q *cubic) acked(now time.Duration, c *conn, n int, rs *rateSample) {
	s := &c.snd
	// Samples right after a recovery are not trusted (bictcp_acked).
	fresh := q.epoch < 0 || now-q.epoch >= time.Second
	if rs.rtt > 0 && fresh && (q.minRTT == 0 || rs.rtt < q.minRTT) {
		q.minRTT = rs.rtt
	}
	acked := float64(n)
	if s.cwnd < s.ssthresh {
		if c.cfg.HyStartPP {
			acked = q.plus.grow(now, c, acked, rs.rtt)
		} else {
			q.linux.update(now, c, q.minRTT, rs.rtt)
			grown := min(s.cwnd+acked, max(s.ssthresh, s.cwnd))
			acked -= grown - s.cwnd
			s.cwnd = grown
		}
		if acked <= 0 {
			return
		}
	}
	q.avoid(now, s, acked)
}

func (q *cubic) avoid(now time.Duration, s *sender, acked float64) {
	q.ackCount += acked
	if q.epoch < 0 {
		q.epoch, q.ackCount, q.renoWnd = now, acked, s.cwnd
		if q.lastMax <= s.cwnd {
			q.k, q.origin = 0, s.cwnd
		} else {
			q.k, q.origin = math.Cbrt((q.lastMax-s.cwnd)/cubicC), q.lastMax
		}
	}
	t := (now - q.epoch + q.minRTT).Seconds() - q.k
	target := q.origin + cubicC*t*t*t
	count := 100 * s.cwnd
	if target > s.cwnd {
		count = s.cwnd / (target - s.cwnd)
	}
	if q.lastMax == 0 {
		count = min(count, 20)
	}
	if rise := s.cwnd * renoRise; q.ackCount > rise {
		n := math.Floor(q.ackCount / rise)
		q.ackCount -= n * rise
		q.renoWnd += n
	}
	if q.renoWnd > s.cwnd {
		count = min(count, s.cwnd/(q.renoWnd-s.cwnd))
	}
	s.cwnd += acked / max(count, 2)
}

func (q *cubic) threshold(_ time.Duration, c *conn) float64 {
	q.epoch = -1
	if c.snd.cwnd < q.lastMax { // fast convergence
		q.lastMax = c.snd.cwnd * (1 + cubicBeta) / 2
	} else {
		q.lastMax = c.snd.cwnd
	}
	return max(2, math.Floor(c.snd.cwnd*cubicBeta))
}

func (q *cubic) undo(c *conn) {}

func (q *cubic) timeout(now time.Duration, c *conn) {
	*q = *newCubic() // bictcp_reset of Linux on entering the Loss state
	q.linux.restart(c, now)
}
