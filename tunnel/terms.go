package tunnel

import (
	"math"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/wire"
)

// pathCaps are the caps of a path, bytes/s; 0 is none.
type pathCaps struct {
	own   float64 // on our sending, by our owner
	peers float64 // on our sending, by the peer
	told  float64 // on the peer's sending, by our owner
	tell  bool    // the peer has been told of one, or is to be
	known uint64  // sequence of the peer's last one
}

// SetTerms changes how a path is used, at both ends: everything of spec but the name, the endpoint, the group and the MTU.
func (s *Session) SetTerms(now time.Duration, id PathID, spec PathSpec) {
	p := s.path(id)
	if p == nil || p.sched.State() == scheduler.Closed {
		return
	}
	s.setTerms(now, p, &spec)
	s.after(now)
}

func (s *Session) setTerms(now time.Duration, p *path, spec *PathSpec) {
	t := spec.terms()
	p.status.State, p.status.Seq = wire.PathAvailable, p.status.Seq+1
	p.status.Metered, p.status.Full, p.status.Drain = t.Metered, t.Full, t.Drain
	if t.Backup || t.Drain {
		p.status.State = wire.PathBackup
	}
	p.caps.own, p.caps.told = spec.MaxRate, spec.PeerMaxRate
	p.caps.tell = p.caps.tell || p.caps.told != 0
	p.applyCaps()
	s.bond.SetTerms(now, p.sched, t)
}

// appendCap appends the frame that goes with a status, if the peer has to know.
func (p *path) appendCap(dg []byte) []byte {
	if !p.caps.tell {
		return dg
	}
	rate := uint64(min(max(p.caps.told, 0), wire.MaxVarint))
	return wire.AppendPathCap(dg, false, wire.PathCap{Path: uint8(p.id), Seq: p.status.Seq, Rate: rate})
}

// peerCap applies what the peer wants to receive at most.
func (s *Session) peerCap(c wire.PathCap) {
	p := s.path(PathID(c.Path))
	if p == nil || c.Seq <= p.caps.known {
		return
	}
	p.caps.known, p.caps.peers = c.Seq, float64(c.Rate)
	p.applyCaps()
}

// applyCaps gives the path the lower of the two caps on our sending.
func (p *path) applyCaps() {
	rate := math.Inf(1)
	for _, c := range []float64{p.caps.own, p.caps.peers} {
		if c > 0 {
			rate = min(rate, c)
		}
	}
	if math.IsInf(rate, 1) {
		rate = 0
	}
	p.sched.SetMaxRate(rate)
}
