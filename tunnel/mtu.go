package tunnel

import (
	"net/netip"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

// mtuSearch finds the largest datagram of one path (DPLPMTUD, RFC 8899 §5). Probes are acknowledged like data, and
// their loss is never taken for congestion.
//
//	          ceiling acknowledged, or nothing left between low and high
//	searching ─────────────────────────────────────────────────────────► settled
//	    ▲                                                                   │
//	    └───────────────────── after mtuRaise ──────────────────────────────┘
type mtuSearch struct {
	ceiling int // what the interface takes
	low     int // acknowledged
	high    int // refused, or one more than the ceiling
	size    int // being probed
	tries   int
	waiting bool // a probe is out
	due     bool // a probe is to be sent
	settled bool
	at      time.Duration
}

const (
	mtuTries = 3 // MAX_PROBES, RFC 8899 §5.1.2
	// mtuTimeout takes a probe for lost when no later acknowledgement has said so.
	mtuTimeout = 2 * time.Second
	// mtuRaise is when a settled path is searched again (PMTU_RAISE_TIMER, RFC 8899 §5.1.1).
	mtuRaise = 10 * time.Minute
	// mtuGrain ends the search: a gain of fewer bytes is not worth probing for.
	mtuGrain = 8
	// defaultInnerMTU stands until a path is settled: what a path of 1500 bytes over IPv6 leaves.
	defaultInnerMTU = maxInterfaceMTU - 48 - overhead
	// minInnerMTU is the least an IPv6 link must carry (RFC 8200 §5).
	minInnerMTU = 1280
	// overhead of a full datagram: header 8, tag 16, timestamp 3, ORDERED frame 5.
	overhead = 32
)

// commonMTUs are the IP MTUs worth trying first, as bytes below the ceiling are seldom arbitrary: PPPoE, DS-Lite and
// tunnels, WireGuard, mobile networks, the IPv6 minimum.
var commonMTUs = [...]int{1500, 1492, 1480, 1460, 1440, 1420, 1400, 1358, 1320, 1280}

// begin prepares a search below the MTU of the interface. It does not start before the path is proven.
func (m *mtuSearch) begin(ifMTU int, remote netip.Addr) {
	if ifMTU <= 0 || ifMTU > maxInterfaceMTU {
		ifMTU = maxInterfaceMTU
	}
	*m = mtuSearch{ceiling: max(ifMTU-headers(remote), baseMTU), low: baseMTU, at: Never}
	m.high = m.ceiling + 1
}

// start begins to probe.
func (m *mtuSearch) start(now time.Duration) {
	if m.at == Never && !m.settled {
		m.next(now)
	}
}

// next chooses the next size: the ceiling, then the common sizes in between, then the middle.
func (m *mtuSearch) next(now time.Duration) {
	m.tries, m.waiting = 0, false
	if m.high-m.low <= mtuGrain {
		m.settled, m.due, m.at = true, false, now+mtuRaise
		return
	}
	m.size = (m.low + m.high) / 2
	over := maxInterfaceMTU - m.ceiling // upper bound of the headers
	if m.high > m.ceiling {
		m.size = m.ceiling
	} else {
		for _, c := range commonMTUs {
			for _, h := range [...]int{28, 48} {
				if n := c - h; h <= over && n > m.low && n < m.high && m.high-n <= 64 {
					m.size = n
					m.due, m.at = true, now
					return
				}
			}
		}
	}
	m.due, m.at = true, now
}

func (m *mtuSearch) acked(now time.Duration, size int) {
	m.low = max(m.low, size)
	m.high = max(m.high, m.low+1)
	if size == m.ceiling {
		m.high = m.low
	}
	if size == m.size && m.waiting || m.high-m.low <= mtuGrain {
		m.next(now)
	}
}

// lost notes a probe that did not arrive. The next try follows at once.
func (m *mtuSearch) lost(size int) {
	if !m.waiting || size != m.size {
		return
	}
	m.waiting = false
	m.tries++
	m.at = 0
}

// advanceMTU does what is due for the search of p.
func (s *Session) advanceMTU(now time.Duration, p *path) {
	m := &p.mtu
	if now < m.at || p.sched.State() != scheduler.Up {
		if now >= m.at {
			m.at = now + mtuTimeout
		}
		return
	}
	switch {
	case m.settled:
		m.settled, m.high = false, m.ceiling+1
		if m.low == m.ceiling {
			m.settled, m.at = true, now+mtuRaise
			return
		}
		m.next(now)
	case m.waiting:
		m.lost(m.size)
		s.advanceMTU(now, p)
	case m.tries >= mtuTries:
		m.high = m.size
		m.next(now)
		s.applyMTU(p)
	default:
		m.due, m.at = true, now+mtuTimeout
	}
}

// mtuProbe makes the probe that is due.
func (s *Session) mtuProbe(now time.Duration, p *path, b *buf.Buf, dg []byte) Out {
	m := &p.mtu
	m.due, m.waiting, m.at = false, true, now+mtuTimeout
	// A small one follows: its acknowledgement soon tells whether the probe was lost.
	p.probe = true
	dg = wire.AppendPing(dg, false)
	dg = pad(dg, m.size)
	s.chunks = append(s.chunks, fact(factMTU, uint64(p.id)<<16|uint64(m.size)))
	return s.finish(now, p, b, dg, p.to, scheduler.Datagram{Eliciting: true, Unpaced: true, Probe: true, Chunks: s.chunks}, 0)
}

// applyMTU uses what the search has found.
func (s *Session) applyMTU(p *path) {
	if p.mtu.low != p.sched.MTU() {
		p.sched.SetMTU(p.mtu.low)
	}
	s.updateInnerMTU()
}

// updateInnerMTU follows the smallest of the settled paths that are up and carry what IPv6 demands. Smaller ones serve
// small packets; only where there is nothing else does the TUN go below 1280, and IPv6 with it.
func (s *Session) updateInnerMTU() {
	least, tiny := 0, 0
	for _, p := range s.paths {
		if p.sched.State() != scheduler.Up || !p.mtu.settled && p.mtu.low != p.mtu.ceiling {
			continue
		}
		switch n := p.mtu.low - overhead; {
		case n < minInnerMTU:
			tiny = max(tiny, n)
		case least == 0 || n < least:
			least = n
		}
	}
	if least == 0 {
		least = tiny
	}
	if least != 0 && least != s.innerMTU {
		s.innerMTU = least
		s.bond.SetFull(least + overhead)
		s.events.push(Event{Kind: MTUChanged})
	}
}

// InnerMTU is what the MTU of the TUN device should be, bytes.
func (s *Session) InnerMTU() int { return s.innerMTU }
