package sim

import (
	"slices"
	"time"
)

const (
	// delayedAck is Linux's TCP_ATO_MIN.
	delayedAck = 40 * time.Millisecond
	// quickAcks is how many segments are acknowledged one by one at the
	// start (TCP_MAX_QUICKACKS).
	quickAcks = 16
	// Compressed SACKs: beyond three, ACKs with the same ack number wait for
	// min(compressDelay, 5 % of RTT) or compressMax of them (tcp_comp_sack_*).
	compressDelay = time.Millisecond
	compressMax   = 44
	// receiveBufferStart is tcp_rmem's second value.
	receiveBufferStart = 131072
	// groBytes is the most that one coalesced packet holds.
	groBytes = 65535
)

type span struct{ from, to uint64 }

// receiver is the data receiving half of a connection: reassembly, SACK,
// delayed and compressed ACKs, and the window with its autotuning
// (tcp_rcv_space_adjust of Linux).
type receiver struct {
	nxt uint64
	ooo []span // ascending, apart
	// recent are the blocks to report, latest first; dsack is reported once.
	recent   []span
	dsack    span
	oooBytes uint64

	acked    uint64 // nxt when the last ACK left
	right    uint64 // window's right edge as advertised
	quick    int
	delayed  time.Duration // when a delayed ACK is due, Never if none
	compress time.Duration // the same for compressed SACKs
	dups     int
	dupsAt   uint64
	held     int // compressed ACKs

	buffer, bufferMax uint64
	space             uint64 // bytes consumed in the last measured RTT
	spaceFrom         uint64
	spaceAt           time.Duration
	rtt               time.Duration
	gro               int // bytes coalesced so far

	segments, repeats uint64
}

func (r *receiver) init(c *conn) {
	r.delayed, r.compress = Never, Never
	r.quick = quickAcks
	r.buffer = receiveBufferStart
	r.bufferMax = tcpReceiveBuffer
	if c.cfg.ReceiveBuffer > 0 {
		r.bufferMax = uint64(c.cfg.ReceiveBuffer)
		r.buffer = min(r.buffer, r.bufferMax)
	}
	r.space = uint64(tcpInitialWindow * c.snd.mss)
	r.right = r.buffer / 2
}

// windowField computes the window to advertise: half the free buffer, and never
// less than promised before.
func (r *receiver) windowField() uint16 {
	if r.buffer == 0 {
		return 65535 >> tcpWindowScale
	}
	free := r.buffer / 2
	free -= min(free, r.oooBytes)
	r.right = max(r.right, r.nxt+free)
	return uint16(min((r.right-r.nxt)>>tcpWindowScale, 65535))
}

// onSegment takes a data segment.
func (c *conn) onSegment(now time.Duration, p *packet, more bool) {
	r := &c.rcv
	r.segments++
	n := uint64(len(p.payload))
	from := r.nxt + uint64(int64(int32(p.seq-(c.peer+1)-uint32(r.nxt))))
	to := from + n
	if p.tsVal-c.tsRecent < 1<<31 && from <= r.acked {
		c.tsRecent = p.tsVal // RFC 7323 §4.3
	}
	if p.tsEcr != 0 && p.tsEcr != c.lastSent {
		c.lastSent = p.tsEcr
		c.receiverRTT(time.Duration(millis(now)-p.tsEcr) * time.Millisecond)
	}
	if from > r.right { // beyond the window: not for us
		return
	}
	switch {
	case to <= r.nxt: // all of it is here already
		r.repeats++
		r.dsack = span{from, to}
		c.ackNow(now)
	case from <= r.nxt:
		before := r.nxt
		r.nxt = to
		filled := len(r.ooo) > 0
		r.absorb()
		c.consumed(now, int(r.nxt-before))
		if filled {
			c.ackNow(now)
			return
		}
		r.gro += int(n)
		if more && r.gro < groBytes {
			return
		}
		r.gro = 0
		c.ackMaybe(now)
	default:
		if r.insert(from, to) {
			c.ackOutOfOrder(now)
		} else {
			r.repeats++
			r.dsack = span{from, to}
			c.ackNow(now)
		}
	}
}

// absorb moves nxt over what was waiting behind it.
func (r *receiver) absorb() {
	k := 0
	for k < len(r.ooo) && r.ooo[k].from <= r.nxt {
		r.nxt = max(r.nxt, r.ooo[k].to)
		r.oooBytes -= r.ooo[k].to - r.ooo[k].from
		k++
	}
	if k > 0 {
		r.ooo = append(r.ooo[:0], r.ooo[k:]...)
		r.recent = slices.DeleteFunc(r.recent, func(s span) bool { return s.from < r.nxt })
	}
}

// insert files an out-of-order piece; false when all of it was there.
func (r *receiver) insert(from, to uint64) bool {
	// The common case is the piece behind the last one.
	i := len(r.ooo)
	for i > 0 && r.ooo[i-1].from > from {
		i--
	}
	if i > 0 && r.ooo[i-1].to >= to {
		return false
	}
	j := i
	merged := span{from, to}
	if i > 0 && r.ooo[i-1].to >= from {
		i--
		merged.from = r.ooo[i].from
	}
	for j < len(r.ooo) && r.ooo[j].from <= to {
		merged.to = max(merged.to, r.ooo[j].to)
		j++
	}
	var had uint64
	for _, s := range r.ooo[i:j] {
		had += s.to - s.from
	}
	r.oooBytes += merged.to - merged.from - had
	if j == i {
		r.ooo = slices.Insert(r.ooo, i, merged)
	} else {
		r.ooo[i] = merged
		r.ooo = slices.Delete(r.ooo, i+1, j)
	}
	r.recent = slices.DeleteFunc(r.recent, func(s span) bool { return s.from >= merged.from && s.to <= merged.to })
	r.recent = slices.Insert(r.recent, 0, merged)
	if len(r.recent) > 4 {
		r.recent = r.recent[:4]
	}
	return true
}

// ackMaybe decides on an ACK for in-order data.
func (c *conn) ackMaybe(now time.Duration) {
	r := &c.rcv
	if r.nxt-r.acked > uint64(c.snd.mss) || r.quick > 0 {
		if r.quick > 0 {
			r.quick--
		}
		c.ackNow(now)
		return
	}
	if r.delayed == Never {
		r.delayed = now + delayedAck
		c.armReceiver()
	}
}

// ackOutOfOrder decides on an ACK while there are holes.
func (c *conn) ackOutOfOrder(now time.Duration) {
	r := &c.rcv
	if r.dupsAt != r.nxt {
		r.dupsAt, r.dups = r.nxt, 0
	}
	if r.dups < 3 || r.held >= compressMax {
		r.dups++
		c.ackNow(now)
		return
	}
	r.held++
	if r.compress == Never {
		r.compress = now + min(compressDelay, r.rtt/20)
		c.armReceiver()
	}
}

func (c *conn) armReceiver() {
	c.host.clock.set(c.timer, min(c.rcv.delayed, c.rcv.compress))
}

func (c *conn) receiveTimer(now time.Duration) {
	if now >= min(c.rcv.delayed, c.rcv.compress) {
		c.ackNow(now)
		return
	}
	c.armReceiver()
}

// ackNow sends an ACK with up to three SACK blocks.
func (c *conn) ackNow(now time.Duration) {
	r := &c.rcv
	s := packet{flags: flagACK, seq: c.isn + 1, ack: c.peer + 1 + uint32(r.nxt), window: r.windowField()}
	add := func(b span) {
		if s.sacks < 3 {
			s.sack[s.sacks] = span32{c.peer + 1 + uint32(b.from), c.peer + 1 + uint32(b.to)}
			s.sacks++
		}
	}
	if r.dsack.to > 0 {
		add(r.dsack)
		r.dsack = span{}
	}
	for _, b := range r.recent {
		add(b)
	}
	r.acked = r.nxt
	r.held = 0
	if r.delayed != Never || r.compress != Never {
		r.delayed, r.compress = Never, Never
		c.armReceiver()
	}
	c.output(now, &s, 0)
}

// receiverRTT smooths the receiver's own estimate (tcp_rcv_rtt_update).
func (c *conn) receiverRTT(sample time.Duration) {
	r := &c.rcv
	sample = max(sample, time.Millisecond)
	if r.rtt == 0 {
		r.rtt = sample
	} else {
		r.rtt += (sample - r.rtt) / 8
	}
}

// consumed: the application has taken n bytes in order; once per RTT the buffer
// is made to hold twice what one RTT brought, and more while that grows.
func (c *conn) consumed(now time.Duration, n int) {
	r := &c.rcv
	if c.onData != nil {
		c.onData(now, n)
	}
	if r.rtt == 0 || now-r.spaceAt < r.rtt {
		return
	}
	copied := r.nxt - r.spaceFrom
	if copied > r.space {
		window := 2*copied + 16*uint64(c.snd.mss)
		window += 2 * (window * (copied - r.space) / r.space)
		r.buffer = max(r.buffer, min(2*window, r.bufferMax))
		r.space = copied
	}
	r.spaceFrom, r.spaceAt = r.nxt, now
}
