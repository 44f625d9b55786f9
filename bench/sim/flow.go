package sim

import (
	"math"
	"slices"
	"time"
)

// Kind is what a flow is.
type Kind uint8

const (
	// TCP is one connection, opened by the client, that carries data one way.
	TCP Kind = iota
	// UDP is a datagram stream of constant rate, one way, as a paced QUIC
	// sender makes it.
	UDP
	// Ping is small and sparse: the client asks, the server answers.
	Ping
	// Stream is one reliable byte stream of the bond, opened at the gateway, that
	// carries data one way: up, or down as the answer to a small request.
	Stream
)

// Flow is one flow of a scenario.
type Flow struct {
	Kind  Kind
	Down  bool // data flows from server to client (TCP, UDP, Stream)
	TCP   TCPConfig
	Start time.Duration
	Stop  time.Duration // 0: runs to the end
	Bytes uint64        // of payload of TCP or a stream; 0: no end
	Rate  float64       // UDP: bit/s of IP bytes
	Size  int           // UDP and Ping: IP bytes; 0: udpSize or pingSize
	Every time.Duration // Ping: 0 is pingEvery
	// Beside names an uplink: the flow runs over its line outside the bond, a
	// neighbour that shares the bottleneck (TCP only).
	Beside string
	// Streams: ReadRate bounds how fast the receiver reads, bit/s, 0 for as it
	// comes; Abort makes of Stop a reset by the client.
	ReadRate float64
	Abort    bool
}

const (
	udpSize   = 1280 // what QUIC sends before it has probed
	pingSize  = 64
	pingEvery = 20 * time.Millisecond
)

// Bin is the width of one slot of a series.
const Bin = 10 * time.Millisecond

// FlowResult is what was seen of one flow. It grows while the run goes on.
type FlowResult struct {
	Flow
	// Series is payload bytes per Bin at the receiver, from time 0 on.
	Series []int64
	// Done is when the last of Flow.Bytes arrived; 0: not yet.
	Done time.Duration
	// Received is payload bytes in order (TCP, Stream), or packets (others).
	Received uint64
	// Whole and Reset say how a stream has ended: both directions at their end,
	// or broken off.
	Whole, Reset bool

	run    *world
	total  uint64
	conns  [2]*conn
	udp    *udpFlow
	stream *streamFlow
}

// addFlow makes a flow's two ends and schedules its start.
func (w *world) addFlow(f Flow) *FlowResult {
	id := w.flow()
	r := &FlowResult{Flow: f, run: w}
	switch f.Kind {
	case TCP:
		for i, h := range w.hosts() {
			c := newConn(h, f.TCP, id, h.client, h.client != f.Down)
			h.conns[id] = c
			r.conns[i] = c
			c.onData = r.got
			c.snd.limit = f.Bytes
			if f.Beside != "" {
				c.mtu = func() int { return 1500 }
			}
		}
		r.at(f.Start, func(now time.Duration) { r.conns[0].connect(now) })
	case UDP, Ping:
		from, to := w.client, w.server
		if f.Kind == UDP && f.Down {
			from, to = to, from
		}
		size, every := f.Size, f.Every
		if f.Kind == UDP {
			if size == 0 {
				size = udpSize
			}
			every = time.Duration(float64(size) * 8 / f.Rate * 1e9)
		} else {
			if size == 0 {
				size = pingSize
			}
			if every == 0 {
				every = pingEvery
			}
		}
		u := newUDPFlow(from, to, id, size, every, f.Kind == Ping)
		u.onData = r.got
		r.udp = u
		from.udps[id], to.udps[id] = u, u
		r.at(f.Start, u.start)
	}
	if f.Stop > 0 {
		r.at(f.Stop, func(time.Duration) { r.stop() })
	}
	return r
}

// at runs something once.
func (r *FlowResult) at(when time.Duration, do func(now time.Duration)) {
	a := r.run.add("flow", do)
	r.run.set(a, when)
}

func (r *FlowResult) stop() {
	if r.udp != nil {
		r.udp.stop = r.run.now
		return
	}
	for _, c := range r.conns {
		c.snd.limit = min(c.snd.limit, max(c.snd.nxt, 1))
	}
}

func (r *FlowResult) got(now time.Duration, n int) {
	i := int(now / Bin)
	for len(r.Series) <= i {
		r.Series = append(r.Series, 0)
	}
	r.Series[i] += int64(n)
	r.total += uint64(n)
	if r.Kind == TCP || r.Kind == Stream {
		r.Received = r.total
	} else {
		r.Received++
	}
	if r.Bytes > 0 && r.total >= r.Bytes && r.Done == 0 {
		r.Done = now
	}
}

// Mbps is the mean goodput between two instants, to the resolution of Bin.
func (r *FlowResult) Mbps(from, to time.Duration) float64 {
	lo, hi := int(from/Bin), int(to/Bin)
	var sum int64
	for i := lo; i < min(hi, len(r.Series)); i++ {
		sum += r.Series[i]
	}
	if hi <= lo {
		return 0
	}
	return float64(sum) * 8 / (time.Duration(hi-lo) * Bin).Seconds() / 1e6
}

// Silence is the longest time without an arrival between two instants, to the
// resolution of Bin.
func (r *FlowResult) Silence(from, to time.Duration) time.Duration {
	longest, run := 0, 0
	for i := int(from / Bin); i < int(to/Bin); i++ {
		if i < len(r.Series) && r.Series[i] > 0 {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return time.Duration(longest) * Bin
}

// Slices are the rates, in Mb/s, of consecutive slots of the given width.
func (r *FlowResult) Slices(width time.Duration) []float64 {
	var out []float64
	for at := time.Duration(0); at < time.Duration(len(r.Series))*Bin; at += width {
		out = append(out, r.Mbps(at, at+width))
	}
	return out
}

// Delays are the delays (round trips, for pings) of what was sent between two
// instants and arrived, ascending; and the number of those that did not arrive.
func (r *FlowResult) Delays(from, to time.Duration) (ds []time.Duration, lost int) {
	if r.udp == nil {
		return nil, 0
	}
	for _, at := range r.udp.sentTimes {
		if at >= from && at < to {
			lost++
		}
	}
	for _, d := range r.udp.delays {
		if d.sent >= from && d.sent < to {
			ds = append(ds, d.delay)
			lost--
		}
	}
	slices.Sort(ds)
	return ds, lost
}

// Sender is what the sender of a TCP flow counted.
func (r *FlowResult) Sender() SenderStats {
	for _, c := range r.conns {
		if c != nil && c.sends {
			return c.snd.stats
		}
	}
	return SenderStats{}
}

// RTT is the smoothed RTT of a TCP flow's sender.
func (r *FlowResult) RTT() time.Duration {
	for _, c := range r.conns {
		if c != nil && c.sends {
			return c.snd.rtt.srtt
		}
	}
	return 0
}

// Order says how many packets of the flow's data arrived behind later ones, and
// how far behind the worst of them was, in packets.
func (r *FlowResult) Order() (late, farthest uint64) {
	for i, c := range r.conns {
		if c != nil && !c.sends {
			w := &r.run.hosts()[i].seen[c.flow]
			return w.late, w.maxLate
		}
	}
	if r.udp != nil && !r.udp.echo {
		w := &r.udp.to.seen[r.udp.flow]
		return w.late, w.maxLate
	}
	return 0, 0
}

// Quantile is the smallest of ds, which ascend, that the share q does not
// exceed; 0 for none.
func Quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(ds)))) - 1
	return ds[min(max(i, 0), len(ds)-1)]
}

// Offered is the rate of a UDP flow in Mb/s of payload.
func (r *FlowResult) Offered() float64 {
	if r.udp == nil {
		return 0
	}
	return float64(r.udp.size-udpOverhead) * 8 / r.udp.every.Seconds() / 1e6
}
