package sim

import (
	"math"
	"time"
)

// recover is the state machine of loss recovery (tcp_fastretrans_alert) and the
// window that follows from it.
func (c *conn) recover(now time.Duration, p *packet, news *ackNews, rs *rateSample) {
	s := &c.snd
	// The timestamp proves that this ACK is for the original transmission
	// (Eifel, RFC 4015).
	delayed := s.retransStamp != 0 && p.tsEcr != 0 && p.tsEcr < s.retransStamp
	spurious := s.undoMarker && (s.retransStamp != 0 && s.undoRetrans == 0 || delayed)
	switch s.state {
	case caRecovery:
		switch {
		case s.una >= s.highSeq:
			if spurious || s.undoMarker && s.retransStamp == 0 {
				c.undo()
			} else {
				s.cwnd = min(s.cwnd, s.ssthresh)
				if !s.cc.rateBased() {
					s.cwnd = s.ssthresh
				}
			}
			c.reopen()
		case news.advanced && delayed && s.undoMarker && s.retransOut == 0:
			c.undo()
			s.unmark()
			c.reopen()
		case spurious && !delayed: // every retransmission was needless (DSACK)
			c.undo()
			if s.pending == 0 {
				c.reopen()
			}
		}
	case caLoss:
		if s.frto && news.original || news.advanced && delayed && s.undoMarker {
			c.undo()
			s.unmark()
			c.reopen()
		} else if s.una >= s.highSeq {
			if spurious {
				c.undo()
			}
			c.reopen()
		}
	}
	if s.state == caOpen && s.pending > 0 {
		c.enterRecovery(now)
	}
	if s.cc.rateBased() {
		s.cc.acked(now, c, rs.delivered, rs)
		return
	}
	switch {
	case s.state == caRecovery:
		s.reduce(rs, news)
	case rs.delivered > 0 && s.windowLimited():
		s.cc.acked(now, c, rs.delivered, rs)
	}
}

func (c *conn) reopen() {
	s := &c.snd
	s.state = caOpen
	s.undoMarker = false
	s.retransStamp = 0
	s.frto = false
	s.rack.persist = max(0, s.rack.persist-1)
}

func (c *conn) enterRecovery(now time.Duration) {
	s := &c.snd
	s.stats.Recoveries++
	s.priorWnd, s.priorThresh = s.cwnd, s.ssthresh
	s.undoMarker, s.undoRetrans, s.retransStamp = true, 0, 0
	s.ssthresh = s.cc.threshold(now, c)
	s.prrDelivered, s.prrOut = 0, 0
	s.highSeq = s.nxt
	s.state = caRecovery
	s.tlpHigh, s.tlpAt = 0, Never
}

// undo takes the last reduction back.
func (c *conn) undo() {
	s := &c.snd
	s.stats.Undos++
	s.cwnd = max(s.cwnd, s.priorWnd)
	s.ssthresh = max(s.ssthresh, s.priorThresh)
	s.undoMarker = false
	s.cc.undo(c)
}

// unmark forgets all losses that have not been acted on.
func (s *sender) unmark() {
	for i := s.segs.tail - 1; i >= s.segs.head; i-- {
		g := s.segs.at(i)
		if !g.lost {
			continue
		}
		g.lost = false
		if !g.listed { // the oldest: RACK shall look at it first
			g.prev, g.next, g.listed = -1, s.segs.oldest, true
			if s.segs.oldest >= 0 {
				s.segs.at(s.segs.oldest).prev = i
			} else {
				s.segs.newest = i
			}
			s.segs.oldest = i
		}
	}
	s.recount()
}

// windowLimited is tcp_is_cwnd_limited.
func (s *sender) windowLimited() bool {
	return s.limited || s.cwnd < s.ssthresh && s.cwnd < 2*float64(s.maxFlight)
}

// reduce is proportional rate reduction (RFC 6937, tcp_cwnd_reduction).
func (s *sender) reduce(rs *rateSample, news *ackNews) {
	if rs.delivered <= 0 || s.priorWnd == 0 {
		return
	}
	s.prrDelivered += rs.delivered
	flight := s.inflight()
	delta := int(s.ssthresh) - flight
	var n int
	if delta < 0 {
		n = int(math.Ceil(s.ssthresh*float64(s.prrDelivered)/s.priorWnd)) - s.prrOut
	} else {
		n = max(s.prrDelivered-s.prrOut, rs.delivered)
		if news.advanced && rs.lost == 0 {
			n++
		}
		n = min(delta, n)
	}
	least := 0
	if s.prrOut == 0 {
		least = 1
	}
	s.cwnd = float64(flight + max(n, least))
}

// fireRTO: nothing else has helped (tcp_enter_loss).
func (c *conn) fireRTO(now time.Duration) {
	s := &c.snd
	s.rtoAt, s.tlpAt, s.reoAt = Never, Never, Never
	if s.segs.head == s.segs.tail {
		return
	}
	s.stats.Timeouts++
	if s.state != caLoss || s.una >= s.highSeq {
		if s.state == caOpen {
			s.priorWnd, s.priorThresh = s.cwnd, s.ssthresh
			s.ssthresh = s.cc.threshold(now, c)
		}
		s.undoMarker, s.undoRetrans, s.retransStamp = true, 0, 0
		s.cc.timeout(now, c)
	}
	wnd := s.reoWnd()
	for i := s.segs.head; i < s.segs.tail; i++ {
		g := s.segs.at(i)
		if i == s.segs.head || now-g.sent >= s.rack.rtt+wnd {
			s.markLost(i)
		}
	}
	s.state, s.highSeq, s.frto, s.tlpHigh = caLoss, s.nxt, true, 0
	s.cwnd = float64(s.inflight() + 1)
	s.backoff = min(s.backoff+1, 10)
	s.paceAt = Never
	c.transmit(now)
	c.armRTO(now)
	c.armSender(now)
}

func (c *conn) armRTO(now time.Duration) {
	s := &c.snd
	if s.segs.head == s.segs.tail {
		s.rtoAt = Never
		return
	}
	s.rtoAt = now + min(s.rtt.rto()<<s.backoff, rtoMax)
}

// armSender sets the one timer to the earliest of all.
func (c *conn) armSender(now time.Duration) {
	s := &c.snd
	at := min(s.rtoAt, s.tlpAt, s.reoAt)
	if s.pacing > 0 && s.paceAt > now && s.inflight() < int(s.cwnd) && (s.pending > 0 || c.available() > 0) {
		at = min(at, s.paceAt)
	}
	c.host.clock.set(c.timer, at)
}

// sendTimer does what is due.
func (c *conn) sendTimer(now time.Duration) {
	s := &c.snd
	switch {
	case now >= s.rtoAt:
		c.fireRTO(now)
		return
	case now >= s.reoAt:
		var lost int
		lost, s.reoAt = s.rackDetect(now)
		if lost > 0 {
			if s.state == caOpen {
				c.enterRecovery(now)
			}
			if s.state == caRecovery && !s.cc.rateBased() {
				// One segment at once, as on an ACK (tcp_rack_reo_timeout).
				s.reduce(&rateSample{delivered: 1, lost: lost}, &ackNews{})
			}
			c.armRTO(now)
		}
	case now >= s.tlpAt:
		c.fireTLP(now)
	}
	c.transmit(now)
	c.armSender(now)
}
