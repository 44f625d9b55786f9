package scheduler

import "time"

// Acknowledgement timing. An ACK is owed for ack-eliciting datagrams only.
const (
	// ackEvery: with a 1400-byte datagram, one ACK for 22 kB; at 50 Mb/s that is 280 ACKs/s, 0.2 % of the rate.
	ackEvery = 16
	// ackDelayMin and ackDelayMax bound how long the first unacknowledged datagram waits: an eighth of the
	// round trip, so that feedback stays fresh on short paths and cheap on long ones. Where half a round trip is shorter
	// than ackDelayMin it is half a round trip, down to what timers can do, or a window would wait for its acknowledgement.
	ackDelayMin   = 5 * time.Millisecond
	ackDelayMax   = 25 * time.Millisecond
	ackDelayLeast = time.Millisecond
	// ackQuick: the first datagrams after an idle time are acknowledged in pairs, since start-up doubles on every round.
	ackQuick     = 64
	ackQuickIdle = 500 * time.Millisecond
)

// inbound is the receiving half of a path: what has arrived and which acknowledgement is owed.
type inbound struct {
	set       rangeSet
	largestAt time.Duration // arrival of the largest
	owd       time.Duration // relative one-way delay of the largest
	delay     delayEstimator
	ce, ect   uint64
	bytes     uint64
	lastAt    time.Duration // any arrival
	quick     int           // arrivals since the last idle time
	unacked   int
	due       time.Duration // when an ACK must go, Never if none is owed
	run       int           // datagrams without a gap
	retellAt  time.Duration // when the last ACK is to be repeated on another path, Never for not
	retell    bool          // now
	holeIn    int           // datagrams to come until a hole is to be told of, 0 for none
	holeAt    time.Duration // when it is, Never for not
	// holeToldAt is when one was told of last.
	holeToldAt time.Duration
}

// received notes a datagram that was authenticated and is not a replay. owd is the receiver's clock minus the
// datagram's timestamp. It reports whether it opened a gap.
func (in *inbound) received(now, at time.Duration, pn uint64, size int, owd time.Duration, eliciting bool, ecn uint8, srtt time.Duration) (gap bool) {
	idle := now-in.lastAt > ackQuickIdle
	in.ran(now)
	in.lastAt = at
	in.bytes += uint64(size)
	if idle {
		in.quick = 0
	}
	in.quick++
	in.delay.update(owd)
	switch ecn {
	case 3:
		in.ce++
	case 1, 2:
		in.ect++
	}
	gap = in.set.add(pn)
	if l, _ := in.set.largest(); l == pn {
		in.largestAt, in.owd = at, owd
	}
	if !eliciting {
		return gap
	}
	in.unacked++
	limit := ackEvery
	if in.quick < ackQuick {
		limit = 2
	}
	if gap || ecn == 3 || idle || in.unacked >= limit {
		in.due = now
		return gap
	}
	in.due = min(in.due, now+ackDelay(srtt))
	return gap
}

// ackDelay is how long the first unacknowledged datagram waits.
func ackDelay(srtt time.Duration) time.Duration {
	return min(max(srtt/8, min(srtt/2, ackDelayMin), ackDelayLeast), ackDelayMax)
}

// Ack is an acknowledgement of one path's datagrams, as it is reported to and by the peer. Ranges is only valid until
// the next datagram arrives.
type Ack struct {
	Path   PathID
	Retold bool          // it came by another path
	Delay  time.Duration // how long the largest waited at the receiver
	Owd    time.Duration // relative one-way delay of the largest: receiver's clock minus sender's timestamp
	CE     uint64        // congestion marks since the path began
	ECT    uint64
	Ranges []Range // newest first
}

// takeAck returns the acknowledgement owed and notes that it was sent.
func (in *inbound) takeAck(now time.Duration, id PathID) Ack {
	in.due, in.unacked = Never, 0
	return Ack{Path: id, Delay: max(now-in.largestAt, 0), Owd: in.owd, CE: in.ce, ECT: in.ect, Ranges: in.set.ranges()}
}
