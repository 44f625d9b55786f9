package cc

import (
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/bondd/bondd/bench/link"
)

const ms = time.Millisecond

// controller is what the simulated sender drives: ours and the neighbours.
type controller interface {
	OnSent(now time.Duration, bytes, inflightBefore int)
	OnAck(now time.Duration, a Ack)
	OnTimeout(now time.Duration)
	Window() int
	PacingRate() float64
}

const packetSize = 1500 // IP bytes of a full packet, and the MSS

type packet struct {
	flow, pn int
}

type record struct { // one sent packet, as the sender remembers it
	size          int
	sent          time.Duration
	acked, lost   bool
	delivered     uint64
	deliveredTime time.Duration
	firstSent     time.Duration
	appLimited    bool
}

type span struct{ first, last int }

type report struct { // an acknowledgement on its way back
	flow    int
	ranges  []span
	largest int
	owd     time.Duration // one-way delay of the largest, with the receiver's own clock offset
	delay   time.Duration // time the largest waited for this report
}

// flow is a sender and its receiver over a shared link.
type flow struct {
	id    int
	cc    controller
	start time.Duration
	// app reports how many bytes the application has ready; nil: endless.
	app func(now time.Duration) (ready int, next time.Duration)

	// sender
	sent       []record
	low        int // everything below is settled
	inflight   int
	delivered  uint64
	delTime    time.Duration
	firstSent  time.Duration
	limited    uint64 // app-limited until this much is delivered; 0: not
	taken      int    // bytes the application's data already used
	nextSend   time.Duration
	srtt, rvar time.Duration
	largest    int
	base       Base
	timeout    time.Duration
	backoff    int
	lostBytes  uint64

	// receiver
	got       []span // ascending
	gotBytes  uint64
	unacked   int
	ackAt     time.Duration
	largestAt time.Duration

	ackEvery int           // acknowledge after this many packets
	ackDelay time.Duration // or after this time
	marks    []uint64      // gotBytes at every 100 ms
}

// net is a shared forward link with flows.
type simNet struct {
	now   time.Duration
	fwd   *link.Link[packet]
	rev   *link.Link[report]
	flows []*flow
	// every 5 ms from `from` on
	queue  []time.Duration
	sample time.Duration
	from   time.Duration
	each   func(now time.Duration)
}

func newSimNet(fwd, rev link.Config, seed uint64) *simNet {
	return &simNet{
		fwd: link.New[packet](fwd, rand.New(rand.NewPCG(seed, 1))),
		rev: link.New[report](rev, rand.New(rand.NewPCG(seed, 2))),
	}
}

func (n *simNet) add(c controller, start time.Duration) *flow {
	f := &flow{id: len(n.flows), cc: c, start: start, largest: -1, timeout: never, ackAt: never, ackEvery: 2, ackDelay: 10 * ms}
	n.flows = append(n.flows, f)
	return f
}

func (n *simNet) run(until time.Duration) {
	for {
		next := min(n.fwd.Next(), n.rev.Next(), n.sample)
		for _, f := range n.flows {
			next = min(next, f.next(n.now))
		}
		next = max(next, n.now)
		if next > until {
			n.now = until
			return
		}
		n.now = next
		for {
			p, ok := n.fwd.Receive(n.now)
			if !ok {
				break
			}
			n.flows[p.flow].receive(n, p)
		}
		for {
			r, ok := n.rev.Receive(n.now)
			if !ok {
				break
			}
			n.flows[r.flow].ack(n, r)
		}
		for _, f := range n.flows {
			if f.ackAt <= n.now {
				f.report(n)
			}
			if f.timeout <= n.now {
				f.onTimeout(n)
			}
			f.push(n)
		}
		if n.now >= n.sample {
			n.sample += 5 * ms
			if n.now >= n.from {
				n.queue = append(n.queue, n.fwd.QueueDelay(n.now))
			}
			if n.now%(100*ms) == 0 {
				for _, f := range n.flows {
					f.marks = append(f.marks, f.gotBytes)
				}
				if n.each != nil {
					n.each(n.now)
				}
			}
		}
	}
}

// next is the instant of the flow's next timer.
func (f *flow) next(now time.Duration) time.Duration {
	if now < f.start {
		return f.start
	}
	t := min(f.ackAt, f.timeout)
	ready, at := f.ready(now)
	if ready <= 0 {
		t = min(t, at)
	} else if f.inflight+packetSize <= f.cc.Window() {
		t = min(t, f.nextSend)
	}
	return t
}

func (f *flow) ready(now time.Duration) (int, time.Duration) {
	if f.app == nil {
		return math.MaxInt, never
	}
	ready, at := f.app(now)
	return ready - f.taken, at
}

// push sends what window and pacing allow, in bursts of two packets or 1 ms.
func (f *flow) push(n *simNet) {
	if n.now < f.start || n.now < f.nextSend {
		return
	}
	rate := f.cc.PacingRate()
	burst := 0
	for burst < max(2*packetSize, int(rate/1000)) && f.inflight+packetSize <= f.cc.Window() {
		if ready, _ := f.ready(n.now); ready <= 0 {
			f.limited = max(1, f.delivered+uint64(f.inflight))
			break
		}
		f.send(n)
		burst += packetSize
	}
	if burst > 0 {
		f.nextSend = n.now + time.Duration(float64(burst)/rate*1e9)
	}
}

func (f *flow) send(n *simNet) {
	if f.inflight == 0 {
		f.delTime, f.firstSent = n.now, n.now
	}
	pn := len(f.sent)
	f.sent = append(f.sent, record{size: packetSize, sent: n.now, delivered: f.delivered, deliveredTime: f.delTime, firstSent: f.firstSent, appLimited: f.limited > 0})
	f.cc.OnSent(n.now, packetSize, f.inflight)
	f.inflight += packetSize
	f.taken += packetSize
	n.fwd.Send(n.now, packetSize, packet{f.id, pn})
	f.arm(n.now)
}

func (f *flow) receive(n *simNet, p packet) {
	gap := false
	if k := len(f.got); k > 0 && f.got[k-1].last+1 == p.pn {
		f.got[k-1].last++
	} else {
		gap = k > 0
		f.got = append(f.got, span{p.pn, p.pn})
		if len(f.got) > 64 {
			f.got = append(f.got[:0:0], f.got[32:]...)
		}
	}
	f.gotBytes += packetSize
	f.largestAt = n.now
	f.unacked++
	if f.unacked == 1 {
		f.ackAt = n.now + f.ackDelay
	}
	if f.unacked >= f.ackEvery || gap {
		f.report(n)
	}
}

func (f *flow) report(n *simNet) {
	f.unacked, f.ackAt = 0, never
	k := max(0, len(f.got)-32)
	r := report{flow: f.id, ranges: append([]span(nil), f.got[k:]...), largest: f.got[len(f.got)-1].last, delay: n.now - f.largestAt}
	r.owd = f.largestAt - f.sent[r.largest].sent + 12345*time.Second
	n.rev.Send(n.now, 80, r)
}

// ack handles a report: RFC 9002 loss detection and the delivery-rate draft.
func (f *flow) ack(n *simNet, r report) {
	var a Ack
	newest := -1
	for _, s := range r.ranges {
		for pn := max(s.first, f.low); pn <= s.last; pn++ {
			p := &f.sent[pn]
			if p.acked {
				continue
			}
			p.acked = true
			if !p.lost {
				f.inflight -= p.size
			}
			a.Delivered += p.size
			f.delivered += uint64(p.size)
			f.delTime = n.now
			newest = pn
		}
	}
	if newest < 0 {
		return
	}
	if f.limited > 0 && f.delivered > f.limited {
		f.limited = 0
	}
	p := &f.sent[newest]
	f.firstSent = p.sent
	interval := max(p.sent-p.firstSent, n.now-p.deliveredTime)
	if interval > 0 && !p.lost {
		a.Rate = float64(f.delivered-p.delivered) / interval.Seconds()
	}
	a.AppLimited = p.appLimited
	a.Queue = -1
	if newest == r.largest {
		a.RTT = n.now - p.sent - r.delay
		a.Queue = f.base.Queue(n.now, r.owd, a.RTT)
		if f.srtt == 0 {
			f.srtt, f.rvar = a.RTT, a.RTT/2
		} else {
			f.rvar += ((a.RTT - f.srtt).Abs() - f.rvar) / 4
			f.srtt += (a.RTT - f.srtt) / 8
		}
	}
	f.largest = max(f.largest, r.largest)
	f.backoff = 0
	a.DeliveredAtSend, a.DeliveredTotal = p.delivered, f.delivered
	a.Lost = f.detect(n.now)
	a.Inflight = f.inflight
	f.cc.OnAck(n.now, a)
	f.arm(n.now)
}

func (f *flow) detect(now time.Duration) (lost int) {
	threshold := max(f.srtt*9/8, ms)
	for pn := f.low; pn <= f.largest; pn++ {
		p := &f.sent[pn]
		if !p.acked && !p.lost && (f.largest-pn >= 3 || now-p.sent > threshold) {
			p.lost = true
			lost += p.size
			f.inflight -= p.size
			f.taken -= p.size // the data goes again
		}
	}
	for f.low < len(f.sent) && (f.sent[f.low].acked || f.sent[f.low].lost) {
		f.low++
	}
	f.lostBytes += uint64(lost)
	return lost
}

func (f *flow) arm(now time.Duration) {
	f.timeout = never
	if f.inflight > 0 {
		rto := 500 * ms
		if f.srtt > 0 {
			rto = f.srtt + max(4*f.rvar, 10*ms) + f.ackDelay
		}
		f.timeout = now + min(max(rto, 50*ms)<<min(f.backoff, 6), max(rto, 500*ms))
	}
}

// onTimeout presumes everything lost and lets a probe go out.
func (f *flow) onTimeout(n *simNet) {
	for pn := f.low; pn < len(f.sent); pn++ {
		if p := &f.sent[pn]; !p.acked && !p.lost {
			p.lost = true
			f.inflight -= p.size
			f.taken -= p.size
			f.lostBytes += uint64(p.size)
		}
	}
	f.backoff++
	f.timeout = never
	f.nextSend = n.now
	f.cc.OnTimeout(n.now)
}

// rate is the flow's goodput in bit/s between two instants (multiples of 100 ms).
func (f *flow) rate(from, to time.Duration) float64 {
	a, b := f.marks[from/(100*ms)], f.marks[to/(100*ms)-1]
	return float64(b-a) * 8 / (to - from - 100*ms).Seconds()
}

func mean(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	var sum time.Duration
	for _, v := range d {
		sum += v
	}
	return sum / time.Duration(len(d))
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := append([]time.Duration(nil), d...)
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	return s[min(len(s)-1, int(q*float64(len(s))))]
}
