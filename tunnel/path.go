package tunnel

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
	"github.com/bondd/bondd/tunnel/wire"
)

// PathSpec is a path as its opener wants it.
type PathSpec struct {
	Name    string
	To      Endpoint
	Group   uint8 // one per uplink
	MTU     int   // IP MTU of the interface, bytes; 0 means 1500
	Backup  bool
	Metered bool
	MaxRate float64 // cap in bytes/s; 0 means none

	Full        bool    // a backup that carries data also while all others are full
	Drain       bool    // nothing new is sent, by either end
	PeerMaxRate float64 // cap of the peer's sending in bytes/s, which it is told; 0 means none
}

// terms is what of a spec both ends go by.
func (p *PathSpec) terms() scheduler.Terms {
	return scheduler.Terms{Backup: p.Backup, Full: p.Full, Drain: p.Drain, Metered: p.Metered}
}

// path is what the session knows of a path beside the scheduler.
type path struct {
	id       PathID
	name     string
	sched    *scheduler.Path
	to       Endpoint
	window   seal.Window
	expected uint64 // one more than the highest packet number received

	token     wire.Token // of our challenge to `to`
	candidate Endpoint   // an address the peer has appeared from, not yet believed
	candToken wire.Token
	candAsk   bool // a challenge to the candidate is to be sent
	candUntil time.Duration

	answers  []answer // responses to be sent
	ask      bool     // a challenge is to be sent on the path itself
	probe    bool     // a PING is to be sent
	ackDue   bool
	status   wire.PathStatus
	statusAt uint64 // sequence of the last status that was sent and not lost
	known    uint64 // sequence of the peer's last status
	caps     pathCaps

	mtu       mtuSearch
	epochPN   uint64 // first packet number of the current key epoch
	largestIn int
}

// answer is a response owed to an address. RFC 9000 §8.2.2: it goes to where the challenge came from.
type answer struct {
	token wire.Token
	to    Endpoint
}

const (
	// baseMTU is the datagram size every path must carry (RFC 8899 §5.1.2: BASE_PLPMTU 1200).
	baseMTU = 1200
	// maxAnswers bounds the challenges answered between two pulls.
	maxAnswers = 4
	// candidateFor: an unproven address is forgotten after this.
	candidateFor = 3 * time.Second
)

// path finds a path by ID, nil if there is none.
func (s *Session) path(id PathID) *path {
	if int(id) < len(s.paths) && s.paths[id].id == id {
		return s.paths[id]
	}
	for _, p := range s.paths {
		if p.id == id {
			return p
		}
	}
	return nil
}

// AddPath opens a path. It carries data once the peer has answered a challenge on it. IDs are never used twice, so
// that a session can have 256 paths in its life; after that the only cure is a new session.
func (s *Session) AddPath(now time.Duration, spec PathSpec) (PathID, error) {
	if s.nextID > 255 || len(s.paths) >= maxPaths {
		return 0, errPaths
	}
	p := s.newPath(now, PathID(s.nextID), spec.To, spec.MTU, scheduler.PathConfig{
		Group: spec.Group, MTU: baseMTU,
	})
	p.name = spec.Name
	p.status = wire.PathStatus{Path: uint8(p.id), Group: spec.Group}
	s.setTerms(now, p, &spec)
	return p.id, nil
}

// learnPath makes the path on which the peer's first authentic datagram came.
func (s *Session) learnPath(now time.Duration, id PathID, from Endpoint) *path {
	p := s.newPath(now, id, from, 0, scheduler.PathConfig{Group: uint8(id), MTU: baseMTU})
	p.name = from.Remote.String()
	return p
}

func (s *Session) newPath(now time.Duration, id PathID, to Endpoint, ifMTU int, cfg scheduler.PathConfig) *path {
	p := &path{id: id, to: to, sched: s.bond.AddPath(now, id, cfg), status: wire.PathStatus{Path: uint8(id)}}
	s.nextID = max(s.nextID, int(id)+1)
	p.token = s.newToken()
	p.mtu.begin(ifMTU, to.Remote.Addr())
	s.paths = append(s.paths, p)
	return p
}

func (s *Session) newToken() (t wire.Token) {
	binary.BigEndian.PutUint64(t[:], s.rng.Uint64())
	return t
}

// RemovePath closes a path for good.
func (s *Session) RemovePath(now time.Duration, id PathID) {
	p := s.path(id)
	if p == nil {
		return
	}
	s.bond.Close(now, p.sched)
	p.mtu.at = Never
	p.status.State, p.status.Seq = wire.PathClosed, p.status.Seq+1
	s.after(now)
}

// MovePath gives a path a new local address or socket. It carries data again once it is proven.
func (s *Session) MovePath(now time.Duration, id PathID, to Endpoint, ifMTU int) {
	p := s.path(id)
	if p == nil || p.sched.State() == scheduler.Closed {
		return
	}
	p.to, p.token = to, s.newToken()
	p.sched.SetMTU(baseMTU)
	p.mtu.begin(ifMTU, to.Remote.Addr())
	s.bond.Revalidate(now, p.sched)
	s.after(now)
}

// PathFailed reports bad news from outside, of the interface or the socket: the path is suspect at once, and the peer, which would notice by
// silence, is told on two others, and what has arrived.
func (s *Session) PathFailed(now time.Duration, id PathID) {
	p := s.path(id)
	if p == nil || p.sched.State() != scheduler.Up {
		return
	}
	s.bond.Fail(now, p.sched)
	s.bond.Retell(p.sched)
	p.status.Failed, p.status.Seq = true, p.status.Seq+1
	s.after(now)
}

// recovered takes back what PathFailed has told the peer.
func (p *path) recovered() {
	if p.status.Failed {
		p.status.Failed, p.status.Seq = false, p.status.Seq+1
	}
}

// same reports whether two endpoints are one, where an unknown local address matches any.
func (e Endpoint) same(f Endpoint) bool {
	return e.Socket == f.Socket && e.Remote == f.Remote && (e.Local == f.Local || !e.Local.IsValid() || !f.Local.IsValid())
}

// challenged owes the peer a response.
func (p *path) challenged(t wire.Token, from Endpoint) {
	if len(p.answers) < maxAnswers {
		p.answers = append(p.answers, answer{t, from})
	}
}

// responded believes an address whose challenge has been answered.
func (s *Session) responded(now time.Duration, p *path, t wire.Token) {
	switch t {
	case p.token:
		s.bond.Proven(now, p.sched)
		p.mtu.start(now)
	case p.candToken:
		if p.candUntil == 0 {
			return
		}
		p.to, p.token = p.candidate, p.candToken
		p.candUntil = 0
		s.events.push(Event{Kind: PathMoved, Path: p.id, Name: p.name, Reason: p.to.Remote.String()})
	}
}

// moved notes that the peer's newest datagram came from another address: an address translation has changed, or the
// peer has. It is asked to prove it; until then we go on as before (RFC 9000 §9.3).
func (s *Session) moved(now time.Duration, p *path, from Endpoint) {
	if p.sched.State() == scheduler.Validating && !s.cfg.Initiator {
		// Nothing is known of the old one either.
		p.to = from
		return
	}
	if p.candUntil != 0 && from.same(p.candidate) && now < p.candUntil {
		return
	}
	p.candidate, p.candToken = from, s.newToken()
	p.candAsk, p.candUntil = true, now+candidateFor
}

// pathStatus applies what the peer says of one of its paths.
func (s *Session) pathStatus(now time.Duration, st wire.PathStatus) {
	p := s.path(PathID(st.Path))
	if p == nil || st.Seq <= p.known || p.sched.State() == scheduler.Closed {
		return
	}
	p.known = st.Seq
	if st.State == wire.PathClosed {
		s.bond.Close(now, p.sched)
		p.mtu.at = Never
		return
	}
	if st.Failed {
		s.bond.FailedThere(now, p.sched)
	}
	if s.cfg.Initiator {
		return // how a path is used is for the one who opened it to say
	}
	p.sched.Config.Group = st.Group
	s.bond.SetTerms(now, p.sched, scheduler.Terms{Backup: st.State == wire.PathBackup, Full: st.Full, Drain: st.Drain, Metered: st.Metered})
}

// wantsControl reports whether the session has something to say on p now.
func (p *path) wantsControl(now time.Duration, b *scheduler.Bond) bool {
	if b.ProbeDue(now, p.sched) {
		if p.sched.State() == scheduler.Validating {
			p.ask = true
		} else {
			p.probe = true
		}
	}
	p.ackDue = b.AckDue(now, p.sched)
	return p.ask || p.probe || p.ackDue || p.candAsk || len(p.answers) > 0 || p.mtu.due || p.status.Seq > p.statusAt
}

// Control facts are repeated until they arrive; their names carry what they are about.
const (
	factStatus          = iota + 1 // low 32 bits: path
	factMTU                        // low 32 bits: path << 16 | size
	factStreamOpen                 // stream
	factStreamWindow               // stream
	factStreamReset                // stream
	factStreamConnected            // stream
)

// factBits is what is left for the subject of a fact.
const factBits = 58

func fact(kind, id uint64) scheduler.Chunk {
	return scheduler.Chunk{Kind: scheduler.ChunkControl, Seq: kind<<factBits | id}
}

// control makes one datagram out of what is to be said on p.
func (s *Session) control(now time.Duration, p *path) Out {
	b, dg := s.begin(now, p)
	s.chunks = s.chunks[:0]
	d := scheduler.Datagram{Unpaced: true}
	to := p.to
	switch {
	case p.mtu.due:
		return s.mtuProbe(now, p, b, dg)
	case p.candAsk:
		// To the new address, and nothing else of value; padded, so that the address is known to take base datagrams.
		p.candAsk, to = false, p.candidate
		dg = wire.AppendChallenge(dg, false, p.candToken)
		d.Eliciting = true
		return s.padded(now, p, b, dg, to, d)
	case len(p.answers) > 0:
		ans := p.answers[0]
		p.answers = p.answers[1:]
		to = ans.to
		dg = wire.AppendResponse(dg, false, ans.token)
		d.Eliciting = true
		if p.sched.State() == scheduler.Validating && to == p.to {
			p.ask = false
			dg = wire.AppendChallenge(dg, false, p.token)
		}
		return s.padded(now, p, b, dg, to, d)
	}
	if p.status.Seq > p.statusAt {
		p.statusAt = p.status.Seq
		dg = wire.AppendPathStatus(dg, false, p.status)
		dg = p.appendCap(dg)
		s.chunks = append(s.chunks, fact(factStatus, uint64(p.id)))
		d.Eliciting = true
	}
	if p.ackDue || s.bond.AckWanted(p.sched) {
		dg = s.appendAck(now, p, dg)
	}
	if p.probe {
		p.probe = false
		dg = wire.AppendPing(dg, false)
		d.Eliciting = true
	}
	d.Chunks = s.chunks
	if p.ask {
		p.ask = false
		dg = wire.AppendChallenge(dg, false, p.token)
		d.Eliciting = true
		return s.padded(now, p, b, dg, to, d)
	}
	return s.finish(now, p, b, dg, to, d, 0)
}

// statusElsewhere tells the peer on path via that p is closed, or has failed.
func (s *Session) statusElsewhere(now time.Duration, p, via *path) Out {
	p.statusAt = p.status.Seq
	b, dg := s.begin(now, via)
	dg = wire.AppendPathStatus(dg, true, p.status)
	s.chunks = append(s.chunks[:0], fact(factStatus, uint64(p.id)))
	return s.finish(now, via, b, dg, via.to, scheduler.Datagram{Eliciting: true, Unpaced: true, Chunks: s.chunks}, 0)
}

// padded fills a datagram up to the base size and finishes it.
func (s *Session) padded(now time.Duration, p *path, b *buf.Buf, dg []byte, to Endpoint, d scheduler.Datagram) Out {
	dg = pad(dg, baseMTU)
	return s.finish(now, p, b, dg, to, d, 0)
}

// pad appends a PADDING frame so that the sealed datagram has size bytes.
func pad(dg []byte, size int) []byte {
	if room := size - seal.Overhead - len(dg) - wire.FrameOverhead(0, true); room >= 0 {
		dg = wire.AppendPadding(dg, true, room)
	}
	return dg
}

func (s *Session) appendAck(now time.Duration, p *path, dg []byte) []byte {
	p.ackDue = false
	a := s.bond.TakeAck(now, p.sched)
	if len(a.Ranges) == 0 {
		return dg
	}
	w := wire.Ack{
		Path: uint8(a.Path), DelayUS: uint64(a.Delay.Microseconds()), OneWayUS: s.owdIn.wire(a.Owd), CE: a.CE, ECT: a.ECT,
		Count: len(a.Ranges),
	}
	for i, r := range a.Ranges {
		w.Ranges[i] = wire.Range(r)
	}
	w.Fit(baseMTU/2, false)
	return wire.AppendAck(dg, false, &w)
}

// wire turns a relative delay back into what stands in an ACK.
func (o *owdReference) wire(d time.Duration) int32 { return o.ref + int32(d.Microseconds()) }

func (s *Session) controlLost(_ time.Duration, name uint64) {
	id := name & (1<<factBits - 1)
	switch kind := name >> factBits; kind {
	case factStatus:
		if p := s.path(PathID(id)); p != nil {
			p.statusAt = 0
		}
	case factMTU:
		if p := s.path(PathID(id >> 16)); p != nil {
			p.mtu.lost(int(id & 0xffff))
		}
	default:
		if st := s.streamByID[StreamID(id)]; st != nil {
			s.dirty(st, streamFactOf(kind))
		}
	}
}

func (s *Session) controlAcked(now time.Duration, name uint64) {
	id := name & (1<<factBits - 1)
	if kind := name >> factBits; kind != factMTU {
		s.streamFactAcked(kind, StreamID(id))
	} else {
		if p := s.path(PathID(id >> 16)); p != nil {
			p.mtu.acked(now, int(id&0xffff))
			s.applyMTU(p)
		}
	}
}

// maxInterfaceMTU bounds what is probed for: inner packets of that size still fit into a Buf.
const maxInterfaceMTU = 1500

// headers of IP and UDP around a datagram, bytes.
func headers(a netip.Addr) int {
	if a.Unmap().Is4() {
		return 28
	}
	return 48
}
