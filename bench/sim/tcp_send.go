package sim

import (
	"math"
	"time"
)

// caState is the state of loss recovery, as in Linux (Disorder is not told
// apart from Open: nothing here depends on it).
type caState uint8

const (
	caOpen     caState = iota
	caRecovery         // fast recovery, window by PRR
	caLoss             // after a retransmission timeout
)

// sender is the data sending half of a connection: the scoreboard, loss
// recovery (RFC 6675 by way of RACK-TLP, RFC 8985), PRR (RFC 6937), undo
// (RFC 4015, RFC 3708), and the timers.
type sender struct {
	mss   int
	una   uint64
	nxt   uint64
	limit uint64 // the application's data ends here
	right uint64 // right edge of the peer's window
	segs  segments
	cc    congestion
	state caState
	cwnd  float64
	// ssthresh, infinite at first.
	ssthresh float64

	sackedOut, lostOut, retransOut int
	pending                        int   // lost, and not sent again yet
	lostHint                       int64 // none of them below this index
	fack                           uint64
	cached                         [4]span // blocks of the last ACK

	// Recovery.
	highSeq      uint64 // recovery ends when this is acknowledged
	priorWnd     float64
	priorThresh  float64
	undoMarker   bool
	undoRetrans  int
	retransStamp uint32 // tsVal of the first retransmission of the episode, 0: none
	prrDelivered int
	prrOut       int
	frto         bool

	rtt  rttEstimator
	rack rack

	// Timers: instants, Never when not set.
	rtoAt, tlpAt, reoAt, paceAt time.Duration
	backoff                     uint
	tlpHigh                     uint64 // end of the stream when a loss probe left, 0: none
	tlpNew                      bool   // the probe was new data

	// Congestion window validation (tcp_cwnd_validate of Linux).
	limited   bool
	usageSeq  uint64
	maxFlight int

	// Delivery rate.
	delivered   uint64
	deliveredAt time.Duration
	firstSent   time.Duration
	appLimited  uint64
	pacing      float64 // bytes/s, 0: not paced

	stats SenderStats
}

// SenderStats counts what the sender did.
type SenderStats struct {
	Segments, Retransmits, Timeouts, Probes, Recoveries, Undos uint64
}

func (c *conn) startSending(now time.Duration) {
	s := &c.snd
	s.segs.init()
	s.cwnd, s.ssthresh = tcpInitialWindow, math.Inf(1)
	if s.limit == 0 {
		s.limit = math.MaxUint64
	}
	s.right = 65535
	s.rtoAt, s.tlpAt, s.reoAt, s.paceAt = Never, Never, Never, Never
	s.rtt.init()
	s.rack.init()
	s.deliveredAt, s.firstSent = now, now
	if c.cfg.BBR {
		s.cc = newBBR(c)
	} else {
		s.cc = newCubic()
	}
}

// inflight is the number of packets believed to be in the network.
func (s *sender) inflight() int {
	return int(s.segs.tail-s.segs.head) - s.sackedOut - s.lostOut + s.retransOut
}

// transmit sends what window and pacing allow: lost segments first, new data
// then.
func (c *conn) transmit(now time.Duration) {
	s := &c.snd
	windowFull := false
	for {
		if s.pacing > 0 && s.paceAt != Never && now < s.paceAt {
			windowFull = true
			break
		}
		if s.inflight() >= int(s.cwnd) {
			windowFull = true
			break
		}
		if i := s.nextLost(); i >= 0 {
			c.send(now, i)
			continue
		}
		n := c.available()
		if n <= 0 {
			break
		}
		if s.inflight() == 0 {
			s.firstSent, s.deliveredAt = now, now
		}
		i := s.segs.push(segment{seq: s.nxt, len: int32(n)})
		s.nxt += uint64(n)
		c.send(now, i)
	}
	if !windowFull && c.available() <= 0 && s.lostOut == 0 {
		s.appLimited = max(1, s.delivered+uint64(s.inflight()))
	}
	flight := int(s.segs.tail - s.segs.head)
	if s.una >= s.usageSeq || windowFull || !s.limited && flight > s.maxFlight {
		s.limited, s.maxFlight, s.usageSeq = windowFull, flight, s.nxt
	}
}

// available is the length of the next new segment, 0 for none.
func (c *conn) available() int {
	s := &c.snd
	end := min(s.limit, s.right, s.una+tcpSendBuffer)
	if end <= s.nxt {
		return 0
	}
	n := int(min(end-s.nxt, uint64(s.mss)))
	if n < s.mss && s.nxt+uint64(n) != s.limit {
		return 0 // no silly window
	}
	return n
}

// nextLost is the index of the first segment to send again, or -1.
func (s *sender) nextLost() int64 {
	if s.pending == 0 {
		return -1
	}
	for i := max(s.lostHint, s.segs.head); i < s.segs.tail; i++ {
		g := s.segs.at(i)
		if g.lost && !g.out && !g.sacked {
			s.lostHint = i
			return i
		}
	}
	return -1
}

// send transmits segment i, for the first time or again.
func (c *conn) send(now time.Duration, i int64) {
	s := &c.snd
	g := s.segs.at(i)
	again := g.sent != 0 || g.retrans
	if again {
		g.retrans = true
		if !g.out {
			g.out = true
			s.retransOut++
			if g.lost {
				s.pending--
			}
		}
		s.stats.Retransmits++
		s.undoRetrans++
		if s.retransStamp == 0 {
			s.retransStamp = millis(now)
		}
	}
	if s.state == caRecovery {
		s.prrOut++
	}
	s.stats.Segments++
	s.segs.unlist(i)
	g.sent = max(now, 1)
	s.segs.list(i)
	g.delivered, g.deliveredAt, g.firstSent = s.delivered, s.deliveredAt, s.firstSent
	g.appLimited = s.appLimited != 0
	if s.pacing > 0 {
		gap := time.Duration(float64(g.len+ipHeader+tcpHeader+tsOption) / s.pacing * 1e9)
		// Idle credit is not kept.
		if s.paceAt == Never || s.paceAt < now {
			s.paceAt = now
		}
		s.paceAt += gap
	}
	flags := uint8(flagACK)
	if g.end() == s.limit {
		flags |= flagPSH
	}
	c.output(now, &packet{flags: flags, seq: c.isn + 1 + uint32(g.seq), ack: c.peer + 1, window: 512}, int(g.len))
	if s.rtoAt == Never {
		c.armRTO(now)
	}
}

// MTUChanged is what the kernel does with an ICMP "fragmentation needed".
func (c *conn) mtuChanged(now time.Duration, mtu int) {
	mss := mtu - ipHeader - tcpHeader - tsOption
	if !c.sends || mss >= c.snd.mss || mss < 500 {
		return
	}
	s := &c.snd
	s.mss = mss
	for i := s.segs.head; i < s.segs.tail; i++ {
		if g := s.segs.at(i); int(g.len) > mss && !g.sacked {
			s.markLost(i)
		}
	}
	s.segs.split(mss)
	s.recount()
	s.lostHint = s.segs.head
	c.transmit(now)
	c.armSender(now)
}

// recount derives the counters from the scoreboard.
func (s *sender) recount() {
	s.sackedOut, s.lostOut, s.retransOut, s.pending = 0, 0, 0, 0
	for i := s.segs.head; i < s.segs.tail; i++ {
		g := s.segs.at(i)
		if g.sacked {
			s.sackedOut++
		}
		if g.lost {
			s.lostOut++
		}
		if g.out {
			s.retransOut++
		}
		if g.lost && !g.out {
			s.pending++
		}
	}
}

// markLost takes a segment for lost: it leaves the flight, and the order of
// transmission until it is sent again.
func (s *sender) markLost(i int64) bool {
	g := s.segs.at(i)
	if g.sacked {
		return false
	}
	was := g.lost && !g.out
	if g.out { // the retransmission is lost too
		g.out = false
		s.retransOut--
	}
	if !g.lost {
		g.lost = true
		s.lostOut++
	}
	if !was {
		s.pending++
	}
	s.segs.unlist(i)
	s.lostHint = min(s.lostHint, i)
	return !was
}
