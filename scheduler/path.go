package scheduler

import (
	"errors"
	"math"
	"time"

	"github.com/bondd/bondd/scheduler/cc"
)

// PathID names a path for the life of a session.
type PathID uint8

// Never is the deadline of something that waits for nothing.
const Never = time.Duration(math.MaxInt64)

// State is a rung of a path's ladder.
//
//	           proven                    silence              more silence
//	Validating ──────► Up ────────────────────────► Suspect ───────────────► Down
//	                   ▲   any acknowledgement         │                       │
//	                   ├───────────────────────────────┘   two probes answered │
//	                   └───────────────────────────────────────────────────────┘
//
// Close leads from anywhere to Closed, for good.
type State uint8

const (
	Validating State = iota // not yet proven in both directions; carries challenges only
	Up                      // carries data
	Suspect                 // data is outstanding and nothing comes back; probed, all its data reinjected
	Down                    // silent for good; probed at a slow pace
	Closed
)

// Usable reports whether data has been carried and may come back.
func (s State) Usable() bool { return s == Up || s == Suspect }

func (s State) String() string {
	return [...]string{"validating", "up", "suspect", "down", "closed"}[s]
}

// PathConfig is what the owner knows of a path.
type PathConfig struct {
	Group   uint8   // paths of one uplink share a group
	Backup  bool    // carries data only while no other path is up
	Full    bool    // a backup that also does while all others are full
	Drain   bool    // takes nothing new, whatever else there is
	Metered bool    // probed rarely, never carries copies
	MaxRate float64 // cap, bytes/s; 0 means none
	MTU     int     // largest datagram (UDP payload), bytes
}

// Path is all that is known of one path. It belongs to its Bond.
type Path struct {
	ID     PathID
	Config PathConfig

	state      State
	stateSince time.Duration
	mtu        int

	log       sentLog
	inflight  int
	rtt       rttEstimator
	out       delayEstimator // our datagrams, as the peer reports them
	base      cc.Base        // the least of these delays
	in        inbound        // the peer's datagrams
	ctl       *cc.BBR
	nextSend  time.Duration // pacing: from here on the path has credit
	resume    time.Duration // pacing: from here on datagrams leave, until the credit is used up
	held      bool          // only pacing keeps back what is waiting
	largest   uint64        // highest packet number acknowledged
	hasAcked  bool
	heardTill uint64        // one above the highest packet number of any acknowledgement
	reorder   uint64        // packet threshold of loss detection, datagrams
	reorderAt time.Duration // when the threshold was last found to be needed, or lowered
	lossTime  time.Duration // when the next outstanding datagram counts as lost by time
	lastAck   time.Duration // when an acknowledgement last told something new
	reportCE  uint64        // CE count already seen
	delivered uint64        // bytes acknowledged since the path began
	loss      float64       // share of datagrams lost, over about the last lossMemory

	deliveredAt time.Duration // receiver's clock, of the newest acknowledged datagram
	firstSent   time.Duration
	limitedTill uint64 // delivery samples are application-limited until delivered passes this

	probeWait    time.Duration // current probe interval while suspect or down
	probeAt      time.Duration // next probe
	probeDue     bool
	probesAnswer int  // answered in a row while down
	doubted      bool // another path of its group has fallen silent: not used until it has answered since doubtedAt
	doubtedAt    time.Duration
	told         bool          // the suspicion came from outside: what was on its way before it proves nothing
	ackedSent    time.Duration // when the newest datagram left that the last acknowledgement told of
	watched      bool          // Bond.Watch is on
	helps        bool          // the rate is capped for a trial of its group
	declined     bool          // ECF passed it over last time
	rateAtDown   float64

	Stats PathStats
}

// PathStats counts since the path began.
type PathStats struct {
	SentBytes, SentDatagrams   uint64
	RecvBytes, RecvDatagrams   uint64
	LostDatagrams              uint64
	SpuriousLosses             uint64
	Suspicions                 uint64
	RetransmittedFrames        uint64
	ReinjectedFrames           uint64
	AckedDatagrams, AckedBytes uint64
}

const (
	packetThreshold = 3 // kPacketThreshold, RFC 9002 §6.1.1
	// maxPacketThreshold bounds the adaptation to reordering, as RFC 8985 bounds its window by one round trip.
	maxPacketThreshold = 64
	// reorderMemory without a datagram that was overtaken by packetThreshold others, half of what the threshold was raised by is taken back:
	// a road that reorders does it every second, and a threshold of 64 costs a thin path its repairs in time.
	reorderMemory = 10 * time.Second
	// maxAckDelay is the longest the peer may keep an acknowledgement (ackDelayMax) and its timer may be late.
	maxAckDelay = ackDelayMax + timerSlack
	timerSlack  = 5 * time.Millisecond
	// suspectMargin is the least slack above the round trip before silence is suspicious; below it the scheduling
	// delays of a busy host look like a dead path.
	suspectMargin = 10 * time.Millisecond
	// pacingQuantum: a path that has used up its credit waits until there is enough for a run of datagrams, which then cost
	// one wake-up and one system call. A run is a millisecond of the path's rate; a path too slow for two datagrams in that
	// time sends them singly.
	pacingQuantum = time.Millisecond
	// pacingCredit is what a path that had nothing to send may send at once.
	pacingCredit = 2 * time.Millisecond
	// lateCredit is how far a path that had something to send catches up when its owner comes late: on a busy machine of two cores that happens by
	// several milliseconds, and each of them is lost for good where it is not caught up. The line has emptied its queue meanwhile.
	lateCredit = 10 * time.Millisecond
)

// lossMemory is over how many datagrams loss is averaged: long enough to tell 0.3 %.
const lossMemory = 512

var errAckUnsent = errors.New("acknowledgement of a datagram that was never sent")

// State is the path's rung.
func (p *Path) State() State { return p.state }

// MTU is the largest datagram the path takes, bytes of UDP payload.
func (p *Path) MTU() int { return p.mtu }

// SetMTU changes the largest datagram size.
func (p *Path) SetMTU(n int) {
	p.mtu = n
	p.ctl.SetMSS(n)
}

// SRTT is the smoothed round-trip time; RTTVar its mean deviation.
func (p *Path) SRTT() time.Duration   { return p.rtt.srtt() }
func (p *Path) RTTVar() time.Duration { return p.rtt.rttvar() }

// Rate is the estimated delivery rate, bytes/s. In start-up it is at least what the window allows: what an idle path has
// carried says nothing about what it can.
func (p *Path) Rate() float64 {
	r := p.ctl.Rate()
	if r > 0 && !p.ctl.Starting() {
		return r
	}
	return max(r, float64(p.ctl.Window())/max(p.rtt.srtt(), timerGranularity).Seconds())
}

// Window and Inflight are in bytes.
func (p *Path) Window() int   { return p.ctl.Window() }
func (p *Path) Inflight() int { return p.inflight }

// Delay is the relative one-way delay of our datagrams, and its 90th percentile. Only differences between paths of
// one session mean anything.
func (p *Path) Delay() (mean, high time.Duration) {
	if !p.out.has {
		return p.rtt.srtt() / 2, p.rtt.srtt() / 2
	}
	return p.out.mean, p.out.high
}

// Loss is the share of datagrams lost lately.
func (p *Path) Loss() float64 { return p.loss }

// Queue is how much of the delay is queueing.
func (p *Path) Queue(now time.Duration) time.Duration {
	if low, ok := p.base.Low(now); ok {
		return max(p.out.mean-low, 0)
	}
	return 0
}

// DelayIn is the same for the peer's datagrams.
func (p *Path) DelayIn() (mean, high time.Duration, ok bool) {
	return p.in.delay.mean, p.in.delay.high, p.in.delay.has
}

// ControlState names the phase of the congestion controller.
func (p *Path) ControlState() string { return p.ctl.State() }

// NextPN is the number the next datagram must carry.
func (p *Path) NextPN() uint64 { return p.log.next }

// LargestReceived is the highest packet number that arrived.
func (p *Path) LargestReceived() (uint64, bool) { return p.in.set.largest() }

// paceWait is how long pacing holds the next datagram back.
func (p *Path) paceWait(now time.Duration) time.Duration { return max(p.resume-now, 0) }

// ready reports whether size bytes may leave now.
func (p *Path) ready(now time.Duration, size int) bool {
	return p.resume <= now && p.inflight+size <= p.ctl.Window()
}

// wait estimates how long size bytes would be held back by pacing and window.
func (p *Path) wait(now time.Duration, size int, rate float64) time.Duration {
	w := p.paceWait(now)
	if over := p.inflight + size - p.ctl.Window(); over > 0 {
		w = max(w, seconds(float64(over)/rate))
	}
	return w
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// record notes a datagram that leaves now with number NextPN.
func (p *Path) record(now time.Duration, d Datagram) {
	r := sent{at: now, size: int32(d.Size), probe: d.Probe, delivered: p.delivered, deliveredAt: p.deliveredAt}
	p.Stats.SentBytes += uint64(d.Size)
	p.Stats.SentDatagrams++
	if !d.Eliciting {
		r.state = sentUncounted
		p.log.push(r, nil)
		if p.log.base+1 == p.log.next {
			p.log.trim(now, 0)
		}
		return
	}
	if p.inflight == 0 {
		// From idle: the interval of the next sample begins now. On the receiver's clock that is one round trip
		// before this datagram arrives there.
		p.firstSent = now
		p.deliveredAt = now + p.out.mean - p.rtt.srtt()
		r.deliveredAt = p.deliveredAt
	}
	r.firstSentAt = p.firstSent
	r.appLimited = p.delivered < p.limitedTill
	p.ctl.OnSent(now, d.Size, p.inflight)
	p.inflight += d.Size
	if p.state == Up {
		p.probeAt = now + p.probeIdleWait()
	}
	p.log.push(r, d.Chunks)
	if !d.Unpaced {
		rate := p.ctl.PacingRate()
		cost := seconds(float64(d.Size) / rate)
		credit := max(pacingCredit, cost)
		if p.held {
			credit = max(lateCredit, cost)
		}
		p.nextSend = max(p.nextSend, now-credit) + cost
		p.resume = p.nextSend
		if p.nextSend > now && rate*pacingQuantum.Seconds() >= 2*float64(p.mtu) {
			p.resume += pacingQuantum
		}
	}
}

// markAppLimited notes that the path could have sent more than there was.
func (p *Path) markAppLimited() { p.limitedTill = p.delivered + uint64(p.inflight) + 1 }

// news is what an acknowledgement changed, appended to by onAck. The slices belong to the Bond.
type news struct {
	acked, lost []Chunk
}

// onAck applies an acknowledgement of our datagrams (RFC 9002 §5, §6). It reports whether it told anything new.
func (p *Path) onAck(now time.Duration, a Ack, n *news) (bool, error) {
	if len(a.Ranges) == 0 || a.Ranges[0].Last >= p.log.next {
		return false, errAckUnsent
	}
	var (
		newest    uint64
		fresh     bool
		ackedSize int
	)
	for _, rg := range a.Ranges {
		if rg.Last < p.log.base {
			break
		}
		for pn := max(rg.First, p.log.base); pn <= rg.Last; pn++ {
			r := p.log.at(pn)
			switch r.state {
			case sentOutstanding:
				r.state = sentAcked
				if p.hasAcked && pn+packetThreshold <= p.largest {
					p.reorderAt = now // it was overtaken by as much as would count as a loss
				}
				p.inflight -= int(r.size)
				ackedSize += int(r.size)
				p.delivered += uint64(r.size)
				p.Stats.AckedDatagrams++
				p.loss -= p.loss / lossMemory
				n.acked = p.log.appendChunks(n.acked, r)
				if !fresh || pn > newest {
					newest, fresh = pn, true
				}
			case sentLost:
				// It was only late: look further back before calling the next one lost.
				r.state = sentAcked
				p.delivered += uint64(r.size)
				p.Stats.SpuriousLosses++
				n.acked = p.log.appendChunks(n.acked, r)
				if d := p.largest - pn + 1; p.hasAcked && p.largest > pn && d > p.reorder {
					p.reorder, p.reorderAt = min(d, maxPacketThreshold), now
				}
			}
		}
	}
	if !fresh {
		return false, nil
	}
	if p.reorder > packetThreshold && now-p.reorderAt >= reorderMemory {
		p.reorder, p.reorderAt = (p.reorder+packetThreshold)/2, now
	}
	p.Stats.AckedBytes += uint64(ackedSize)
	p.lastAck = now
	var sample cc.Ack
	r := p.log.at(newest)
	p.ackedSent = r.at
	// Time is told of the largest number. That may be one of our own acknowledgements, which is never acknowledged for itself: where these are
	// as frequent as data, on a thin path, hardly an acknowledgement would tell the time without them.
	largest := a.Ranges[0].Last
	if top := p.log.at(largest); newest == largest || top.state == sentUncounted && largest >= p.heardTill {
		rtt := now - top.at - min(a.Delay, maxAckDelay)
		sample.RTT = max(rtt, 50*time.Microsecond)
		p.rtt.update(sample.RTT)
		p.out.update(a.Owd)
		sample.Queue = p.base.Queue(now, a.Owd, sample.RTT)
		arrived := top.at + a.Owd
		interval := max(r.at-r.firstSentAt, arrived-r.deliveredAt)
		if interval > 0 && interval >= p.ctl.MinRTT()/2 {
			sample.Rate = float64(p.delivered-r.delivered) / interval.Seconds()
		}
		p.deliveredAt = max(p.deliveredAt, arrived)
		p.firstSent = r.at
	} else {
		sample.Queue = -1
	}
	p.heardTill = max(p.heardTill, largest+1)
	if !p.hasAcked || newest > p.largest {
		p.largest, p.hasAcked = newest, true
	}
	if a.CE > p.reportCE {
		sample.CE = int(a.CE - p.reportCE)
		p.reportCE = a.CE
	}
	sample.Delivered = ackedSize
	sample.AppLimited = r.appLimited
	sample.DeliveredAtSend, sample.DeliveredTotal = r.delivered, p.delivered
	sample.Lost = p.detectLost(now, n)
	sample.Inflight = p.inflight
	p.ctl.OnAck(now, sample)
	p.log.trim(now, p.rtt.srtt())
	return true, nil
}

// detectLost declares outstanding datagrams lost by number or by time (RFC 9002 §6.1) and returns the bytes that count
// as a sign of congestion.
func (p *Path) detectLost(now time.Duration, n *news) (bytes int) {
	p.lossTime = Never
	if !p.hasAcked {
		return 0
	}
	delay := p.rtt.lossDelay()
	for pn := p.log.base; pn < p.largest; pn++ {
		r := p.log.at(pn)
		if r.state != sentOutstanding {
			continue
		}
		if p.largest-pn < p.reorder && now-r.at < delay {
			p.lossTime = min(p.lossTime, r.at+delay)
			continue
		}
		r.state = sentLost
		p.inflight -= int(r.size)
		p.Stats.LostDatagrams++
		if !r.probe {
			p.loss += (1 - p.loss) / lossMemory
			bytes += int(r.size)
		}
		if !r.moved {
			n.lost = p.log.appendChunks(n.lost, r)
		}
	}
	return bytes
}

// oldest is the time at which the oldest outstanding datagram was sent.
func (p *Path) oldest() (time.Duration, bool) {
	for pn := p.log.base; pn < p.log.next; pn++ {
		if r := p.log.at(pn); r.state == sentOutstanding && !r.probe {
			return r.at, true
		}
	}
	return 0, false
}

// suspectAt is when silence becomes suspicious: something has been outstanding for a round trip, its variation and the
// acknowledgement delay that the peer keeps at such a round trip, counted from the last sign of life if that is later.
func (p *Path) suspectAt() time.Duration {
	at, ok := p.oldest()
	if !ok {
		return Never
	}
	wait := max(4*p.rtt.rttvar(), suspectMargin) + ackDelay(p.rtt.srtt()) + timerSlack
	if p.loss > lossyPath {
		// An acknowledgement may have been lost; the next one follows a datagram later.
		wait += ackDelay(p.rtt.srtt()) + seconds(float64(p.mtu)/p.Rate())
	}
	return max(at+p.rtt.srtt(), p.lastAck) + wait
}
