package sim

import "time"

// ackNews gathers what one ACK brings.
type ackNews struct {
	una       uint64 // before
	advanced  bool
	dsack     bool
	original  bool // something sent once, before recovery began, has arrived
	retrans   bool // something sent again was acknowledged cumulatively
	reordered bool

	firstAcked, lastAcked   time.Duration // transmissions of the cumulative part
	firstSacked, lastSacked time.Duration

	// The delivered segment that was sent last, for the rate sample.
	sampled                bool
	sampleSent, sampleSpan time.Duration
	sampleEnd              uint64
	samplePrior            uint64
	samplePriorAt          time.Duration
	sampleLimited          bool
}

// onAck is the sender's whole reaction to one ACK, in the order of Linux's
// tcp_ack: scoreboard, RTT, loss detection, state, window, transmission.
func (c *conn) onAck(now time.Duration, p *packet) {
	s := &c.snd
	ack := s.una + uint64(int64(int32(p.ack-(c.isn+1)-uint32(s.una))))
	if ack > s.nxt {
		return // also an ack below 0
	}
	s.right = max(s.right, ack+uint64(p.window)<<tcpWindowScale)
	news := ackNews{una: s.una}
	rs := rateSample{inflight: s.inflight()}
	delivered := s.delivered
	fack := s.fack

	c.takeSacks(now, p, ack, &news)
	if ack > s.una {
		c.takeAck(now, ack, fack, &news)
	}
	if news.reordered {
		s.rack.reordered = true
	}
	c.ackTLP(now, ack, news.dsack)
	rs.delivered = int(s.delivered - delivered)
	if s.appLimited != 0 && s.delivered > s.appLimited {
		s.appLimited = 0
	}
	c.ackRTT(now, p, &news, &rs)
	if news.sampled {
		rs.prior, rs.limited = news.samplePrior, news.sampleLimited
		rs.interval = max(news.sampleSpan, now-news.samplePriorAt)
		if rs.interval < s.rtt.min {
			rs.interval = 0 // a retransmission's ACK, not to be believed
		}
		s.firstSent = news.sampleSent
	}
	s.rackWindow(news.una)
	rs.lost, s.reoAt = s.rackDetect(now)
	c.recover(now, p, &news, &rs)
	if news.advanced {
		s.backoff = 0
		c.armRTO(now)
	}
	c.transmit(now)
	if news.advanced || rs.delivered > 0 {
		c.armTLP(now)
	}
	c.armSender(now)
}

// deliver notes that segment g has arrived, once.
func (s *sender) deliver(now time.Duration, g *segment, news *ackNews) {
	s.delivered++
	s.deliveredAt = now
	s.rackDelivered(now, g)
	if !news.sampled || g.sent > news.sampleSent || g.sent == news.sampleSent && g.end() > news.sampleEnd {
		news.sampled = true
		news.sampleSent, news.sampleEnd = g.sent, g.end()
		news.sampleSpan = g.sent - g.firstSent
		news.samplePrior, news.samplePriorAt = g.delivered, g.deliveredAt
		news.sampleLimited = g.appLimited
	}
}

// takeSacks marks what the SACK blocks report, leaving out what the blocks of
// the ACK before reported already.
func (c *conn) takeSacks(now time.Duration, p *packet, ack uint64, news *ackNews) {
	s := &c.snd
	base := c.isn + 1
	var blocks [4]span
	n := 0
	for i, b := range p.sack[:p.sacks] {
		w := span{s.una + uint64(int64(int32(b.from-base-uint32(s.una)))), s.una + uint64(int64(int32(b.to-base-uint32(s.una))))}
		if i == 0 && (int64(w.to) <= int64(ack) || p.sacks > 1 && inside(b, p.sack[1])) {
			news.dsack = true
			s.rack.dsack = true
			if s.undoMarker && s.undoRetrans > 0 {
				s.undoRetrans--
			}
			continue
		}
		if int64(w.from) < int64(ack) || w.to > s.nxt || w.from >= w.to {
			continue // overtaken by another ACK, or nonsense
		}
		blocks[n] = w
		n++
	}
	for _, w := range blocks[:n] {
		// Cut off what is known: at most the four old blocks, in any order.
		from := w.from
		for from < w.to {
			to := w.to
			skip := false
			for _, k := range s.cached {
				if k.from <= from && from < k.to {
					from, skip = k.to, true
					break
				}
				if k.from > from && k.from < to {
					to = k.from
				}
			}
			if skip {
				continue
			}
			c.markSacked(now, from, to, news)
			from = to
		}
	}
	s.cached = blocks
}

func inside(a, b span32) bool { return a.from-b.from < 1<<31 && b.to-a.to < 1<<31 }

func (c *conn) markSacked(now time.Duration, from, to uint64, news *ackNews) {
	s := &c.snd
	if s.segs.head == s.segs.tail || to <= s.una {
		return
	}
	for i := s.segs.find(max(from, s.una), s.mss); i < s.segs.tail; i++ {
		g := s.segs.at(i)
		if g.end() > to {
			break
		}
		if g.sacked || g.seq < from {
			continue
		}
		if !g.retrans {
			if g.seq < s.fack {
				news.reordered = true
			}
			news.original = news.original || g.end() <= s.highSeq
			if news.firstSacked == 0 {
				news.firstSacked = g.sent
			}
			news.lastSacked = g.sent
		}
		s.deliver(now, g, news)
		s.dropMarks(g)
		s.segs.unlist(i)
		g.sacked = true
		s.sackedOut++
		s.fack = max(s.fack, g.end())
	}
}

// dropMarks takes a segment that has arrived out of the counters.
func (s *sender) dropMarks(g *segment) {
	if g.lost {
		s.lostOut--
		if !g.out {
			s.pending--
		}
		g.lost = false
	}
	if g.out {
		s.retransOut--
		g.out = false
	}
}

// takeAck moves una.
func (c *conn) takeAck(now time.Duration, ack, fack uint64, news *ackNews) {
	s := &c.snd
	news.advanced = true
	for s.segs.head < s.segs.tail {
		i := s.segs.head
		g := s.segs.at(i)
		if g.end() > ack {
			break
		}
		if g.retrans {
			news.retrans = true
		}
		if g.sacked {
			s.sackedOut--
		} else {
			if !g.retrans {
				if news.firstAcked == 0 {
					news.firstAcked = g.sent
				}
				news.lastAcked = g.sent
				news.original = news.original || g.end() <= s.highSeq
				news.reordered = news.reordered || g.seq < fack
			}
			s.deliver(now, g, news)
			s.dropMarks(g)
		}
		s.segs.unlist(i)
		s.segs.head++
	}
	s.una = ack
	s.fack = max(s.fack, ack)
	if s.segs.head == s.segs.tail {
		s.rtoAt, s.tlpAt, s.reoAt = Never, Never, Never
	}
}

// ackRTT takes the RTT sample (tcp_ack_update_rtt).
func (c *conn) ackRTT(now time.Duration, p *packet, news *ackNews, rs *rateSample) {
	var rtt time.Duration
	if news.firstAcked != 0 && !news.retrans {
		rtt, rs.rtt = now-news.firstAcked, now-news.lastAcked
	}
	if news.firstSacked != 0 {
		rs.rtt = now - news.lastSacked
		if rtt == 0 {
			rtt = now - news.firstSacked
		}
	}
	if rtt == 0 && news.advanced && p.tsEcr != 0 {
		rtt = time.Duration(millis(now)-p.tsEcr) * time.Millisecond
	}
	if rtt > 0 {
		c.sampleRTT(now, rtt)
	}
	if rs.rtt > 0 && rs.rtt < c.snd.rtt.min {
		c.snd.rtt.min, c.snd.rtt.minAt = rs.rtt, now
	}
}
