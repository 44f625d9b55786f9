package sim

import "time"

// rack is the state of RACK (RFC 8985): the latest delivered transmission, and
// the reordering window, which grows while DSACKs tell of needless
// retransmissions.
type rack struct {
	sent    time.Duration // of the newest delivered segment
	end     uint64
	rtt     time.Duration
	dsack   bool
	steps   int
	persist int
	// round: DSACKs before this is delivered belong to one round trip.
	round     uint64
	reordered bool
}

const (
	// rackPersist is RACK.reo_wnd_persist: recoveries without a DSACK before
	// the window shrinks back.
	rackPersist = 16
	dupThresh   = 3
	tlpDelay    = 2 * time.Millisecond // TCP_TIMEOUT_MIN
)

func (r *rack) init() { r.steps = 1 }

// delivered notes that a segment has arrived (RFC 8985 §6.2 steps 1 and 2).
func (s *sender) rackDelivered(now time.Duration, g *segment) {
	r := &s.rack
	rtt := now - g.sent
	if g.retrans && rtt < s.rtt.min {
		return // the ACK is for the original
	}
	r.rtt = rtt
	if g.sent > r.sent || g.sent == r.sent && g.end() > r.end {
		r.sent, r.end = g.sent, g.end()
	}
}

// reoWnd is the time a segment may be overtaken (tcp_rack_reo_wnd).
func (s *sender) reoWnd() time.Duration {
	if !s.rack.reordered && (s.state >= caRecovery || s.sackedOut >= dupThresh) {
		return 0
	}
	return min(s.rtt.min/4*time.Duration(s.rack.steps), s.rtt.srtt)
}

// rackWindow adapts the reordering window once per ACK (step 4).
func (s *sender) rackWindow(priorUna uint64) {
	r := &s.rack
	if priorUna < r.round { // still the round in which a DSACK counted
		r.dsack = false
	}
	if r.dsack {
		r.steps = min(255, r.steps+1)
		r.dsack = false
		r.round = s.nxt
		r.persist = rackPersist
	} else if r.persist == 0 {
		r.steps = 1
	}
}

// rackDetect marks what was sent a reordering window before something that has
// arrived, and returns how many and when to look again (step 5).
func (s *sender) rackDetect(now time.Duration) (lost int, again time.Duration) {
	r := &s.rack
	again = Never
	wnd := s.reoWnd()
	for i := s.segs.oldest; i >= 0; {
		g := s.segs.at(i)
		next := g.next
		if g.sent > r.sent || g.sent == r.sent && g.end() >= r.end {
			break
		}
		remaining := g.sent + r.rtt + wnd - now
		if remaining <= 0 {
			if s.markLost(i) {
				lost++
			}
		} else {
			again = now + remaining
			break // sent later, due later
		}
		i = next
	}
	return lost, again
}

// armTLP schedules a loss probe (RFC 8985 §7.2).
func (c *conn) armTLP(now time.Duration) {
	s := &c.snd
	s.tlpAt = Never
	if s.state != caOpen || s.segs.head == s.segs.tail || s.sackedOut > 0 || s.tlpHigh != 0 || s.rtt.srtt == 0 {
		return
	}
	pto := 2 * s.rtt.srtt
	if s.segs.tail-s.segs.head == 1 {
		pto += rtoVariance
	} else {
		pto += tlpDelay
	}
	if at := now + pto; at < s.rtoAt {
		s.tlpAt = at
	}
}

// fireTLP sends the probe: new data where there is some, else the last segment
// again.
func (c *conn) fireTLP(now time.Duration) {
	s := &c.snd
	s.tlpAt = Never
	if s.segs.head == s.segs.tail {
		return
	}
	s.stats.Probes++
	if n := c.available(); n > 0 {
		i := s.segs.push(segment{seq: s.nxt, len: int32(n)})
		s.nxt += uint64(n)
		c.send(now, i)
		s.tlpNew = true
	} else {
		i := s.segs.tail - 1
		if g := s.segs.at(i); g.sacked || g.lost {
			return
		}
		c.send(now, i)
		s.tlpNew = false
	}
	s.tlpHigh = s.nxt
	c.armRTO(now)
}

// ackTLP decides whether the probe repaired a loss (RFC 8985 §7.4).
func (c *conn) ackTLP(now time.Duration, ack uint64, dsack bool) {
	s := &c.snd
	if s.tlpHigh == 0 || ack < s.tlpHigh {
		return
	}
	switch {
	case s.tlpNew || dsack: // nothing was lost
		s.tlpHigh = 0
	case ack > s.tlpHigh:
		// The probe filled a hole: one reduction of the window.
		s.tlpHigh = 0
		if s.state == caOpen {
			s.ssthresh = s.cc.threshold(now, c)
			s.cwnd = s.ssthresh
		}
	}
}
