package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// Direction of traffic, seen from the gateway.
type Direction uint8

// Up is from gateway to exit, Down the way back.
const (
	Up Direction = iota
	Down
	Both
)

// includes reports whether d covers one of Up and Down.
func (d Direction) includes(one Direction) bool { return d == Both || d == one }

// Uplink is one line of a scenario.
type Uplink struct {
	Name     string
	Up, Down link.Config
	MTU      int // of the gateway's interface; 0: 1500
	Backup   bool
	Metered  bool
	MaxRate  float64 // cap, bytes/s; 0: none
	// Shares names an uplink whose line this one uses instead of its own: a
	// common bottleneck that the gateway knows nothing of.
	Shares string
	// Police, where set, is a policer for each path of the uplink, in each direction, in front of the line: a provider that polices flows.
	Police *link.Policer
	// Late: the path is not there from the start; a fault adds it.
	Late bool
}

// Symmetric is an uplink with the same line in both directions.
func Symmetric(name string, cfg link.Config) Uplink { return Uplink{Name: name, Up: cfg, Down: cfg} }

// datagram is what travels on a line.
type datagram struct {
	buf    *buf.Buf
	uplink int
	port   uint16     // the NAT's port for the gateway: the source upwards, the destination downwards
	remote netip.Addr // the exit's address
	ecn    uint8
	beside bool // a packet of a neighbour, not of the bond
}

const (
	udpOverhead = ipHeader + udpHeader
	exitPort    = 7117
	natPort     = 20000
	// ackSize bounds what the fault AckLoss takes for an acknowledgement,
	// bytes of UDP payload.
	ackSize = 200
	ecnCE   = 3
)

// line is an uplink at run time.
type line struct {
	cfg     Uplink
	links   [2]*link.Link[datagram] // by Direction
	police  [2][]*link.Link[int]    // by Direction and remote; empty for none
	timer   [2]actor
	port    uint16 // of the NAT mapping
	local   netip.Addr
	ackLoss [2]float64
	paths   []tunnel.PathID // by remote; nil when not added
	stale   uint64          // datagrams to a mapping that is gone
	stats   [2]LineStats
}

// LineStats is what an uplink carried in one direction.
type LineStats struct {
	Datagrams, Bytes uint64 // handed to the line, UDP payload
	Dropped          uint64 // by the line, whatever the reason
	Delivered        uint64
}

func exitAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}) }

func natAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + i)}) }

// addLines makes the lines of a scenario.
func (r *Run) addLines(rng *rand.Rand) error {
	for i, u := range r.sc.Uplinks {
		l := &line{cfg: u, port: natPort, local: netip.AddrFrom4([4]byte{10, 0, byte(i), 2})}
		r.lines = append(r.lines, l)
		if u.Shares != "" {
			k := r.uplink(u.Shares)
			if k < 0 || k >= i || r.lines[k].cfg.Shares != "" {
				return fmt.Errorf("sim: uplink %q shares the line of %q, which is no earlier uplink with a line of its own", u.Name, u.Shares)
			}
			l.links, l.timer = r.lines[k].links, r.lines[k].timer
			continue
		}
		for k := 0; u.Police != nil && k < 2*r.sc.Remotes; k++ {
			l.police[k%2] = append(l.police[k%2], link.New[int](link.Config{Policer: u.Police}, rng))
		}
		for d, cfg := range [2]link.Config{u.Up, u.Down} {
			if err := cfg.Check(); err != nil {
				return fmt.Errorf("sim: uplink %q: %w", u.Name, err)
			}
			ln := link.New[datagram](cfg, rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())))
			l.links[d] = ln
			var self actor
			self = r.w.add("line "+u.Name, func(now time.Duration) {
				for dg, ok := ln.Receive(now); ok; dg, ok = ln.Receive(now) {
					r.arrive(now, Direction(d), dg)
				}
				r.w.set(self, ln.Next())
			})
			l.timer[d] = self
		}
	}
	return nil
}

// uplink finds an uplink by name, -1 if there is none.
func (r *Run) uplink(name string) int {
	for i, l := range r.lines {
		if l.cfg.Name == name {
			return i
		}
	}
	return -1
}

// launch puts a datagram of a session on its line.
func (r *Run) launch(now time.Duration, d Direction, o tunnel.Out) {
	dg := datagram{buf: o.Buf, ecn: o.ECN}
	var l *line
	if d == Up {
		if o.To.Socket < 0 || o.To.Socket >= len(r.lines) || o.To.Remote.Port() != exitPort {
			r.w.fail(fmt.Errorf("sim: the gateway sends to %v by socket %d: there is no such thing", o.To.Remote, o.To.Socket))
			o.Buf.Release()
			return
		}
		dg.uplink = o.To.Socket
		l = r.lines[dg.uplink]
		dg.port, dg.remote = l.port, o.To.Remote.Addr()
	} else {
		a := o.To.Remote.Addr().As4()
		dg.uplink = int(a[3]) - 1
		if a[0] != 203 || dg.uplink < 0 || dg.uplink >= len(r.lines) {
			r.w.fail(fmt.Errorf("sim: the exit sends to %v: no gateway was ever seen there", o.To.Remote))
			o.Buf.Release()
			return
		}
		l = r.lines[dg.uplink]
		dg.port, dg.remote = o.To.Remote.Port(), o.To.Local
		if dg.port != l.port {
			l.stale++
			o.Buf.Release()
			return
		}
	}
	n := o.Buf.Len()
	st := &l.stats[d]
	st.Datagrams++
	st.Bytes += uint64(n)
	r.event(now, EventSent, dg.uplink, d, o.Buf.Bytes())
	if p := l.ackLoss[d]; p > 0 && n <= ackSize && r.rng.Float64() < p {
		st.Dropped++
		o.Buf.Release()
		return
	}
	if dg.ecn != 0 {
		// The verdict comes too late to change what was handed over, so ask first.
		if c := l.links[d].Config(); c.MarkAbove > 0 && l.links[d].QueueDelay(now) > c.MarkAbove {
			dg.ecn = ecnCE
		}
	}
	if !l.granted(now, d, &dg, n) || !l.links[d].Send(now, n+udpOverhead, dg).Accepted() {
		st.Dropped++
		r.event(now, EventDropped, dg.uplink, d, o.Buf.Bytes())
		o.Buf.Release()
		return
	}
	r.w.set(l.timer[d], l.links[d].Next())
}

// granted asks the policer of the path, if there is one.
func (l *line) granted(now time.Duration, d Direction, dg *datagram, size int) bool {
	if len(l.police[d]) == 0 {
		return true
	}
	p := l.police[d][int(dg.remote.As4()[3])-1]
	ok := p.Send(now, size+udpOverhead, 0).Accepted()
	p.Receive(now) // of no delay: it is through
	return ok
}

// beside puts a neighbour's packet on the line it shares with the bond.
func (r *Run) beside(now time.Duration, d Direction, uplink int, b *buf.Buf) {
	l := r.lines[uplink]
	if !l.links[d].Send(now, b.Len(), datagram{buf: b, uplink: uplink, beside: true}).Accepted() {
		b.Release()
		return
	}
	r.w.set(l.timer[d], l.links[d].Next())
}

// arrive hands a datagram to the session at the far end of the line.
func (r *Run) arrive(now time.Duration, d Direction, dg datagram) {
	if dg.beside {
		r.pkts[0] = dg.buf
		r.w.hosts()[1-d].receive(now, r.pkts[:1])
		return
	}
	l := r.lines[dg.uplink]
	l.stats[d].Delivered++
	r.event(now, EventArrived, dg.uplink, d, dg.buf.Bytes())
	a := tunnel.Arrival{Buf: dg.buf, At: now, ECN: dg.ecn}
	if d == Up {
		a.From = tunnel.Endpoint{Local: dg.remote, Remote: netip.AddrPortFrom(natAddr(dg.uplink), dg.port)}
		r.exit.dgrams = append(r.exit.dgrams, a)
		return
	}
	if dg.port != l.port { // the mapping went while it was under way
		l.stale++
		dg.buf.Release()
		return
	}
	a.From = tunnel.Endpoint{Socket: dg.uplink, Local: l.local, Remote: netip.AddrPortFrom(dg.remote, exitPort)}
	r.gateway.dgrams = append(r.gateway.dgrams, a)
}

func (r *Run) event(now time.Duration, kind EventKind, uplink int, d Direction, p []byte) {
	e := Event{At: now, Kind: kind, Uplink: uplink, Down: d == Down, Size: len(p)}
	copy(e.Header[:], p)
	r.hash.event(&e)
	if r.sc.Trace != nil {
		r.sc.Trace(e)
	}
}
