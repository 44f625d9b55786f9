package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
)

// Session is what the simulator drives: the methods of tunnel.Session it uses.
type Session interface {
	AddPath(now time.Duration, spec tunnel.PathSpec) (tunnel.PathID, error)
	RemovePath(now time.Duration, id tunnel.PathID)
	MovePath(now time.Duration, id tunnel.PathID, to tunnel.Endpoint, mtu int)
	PathFailed(now time.Duration, id tunnel.PathID)
	PushPackets(now time.Duration, packets []*buf.Buf)
	PushDatagrams(now time.Duration, arrivals []tunnel.Arrival)
	PullDatagrams(now time.Duration, out []tunnel.Out) int
	PullPackets(now time.Duration, out []*buf.Buf) int
	Advance(now time.Duration)
	Deadline() time.Duration
	Event() (tunnel.Event, bool)
	InnerMTU() int
	Stats(now time.Duration) tunnel.Stats
}

// Scenario is a bond, its traffic and its accidents.
type Scenario struct {
	Seed    uint64
	Uplinks []Uplink
	// Remotes is the number of addresses of the exit: each uplink carries
	// that many paths. 0: 1.
	Remotes int
	// ServerDelay is the one-way delay between exit and server.
	ServerDelay time.Duration
	Flows       []Flow
	Faults      []Fault
	// Check is called after every step beside the invariants that always hold.
	Check func(*Run) error
	// Strict checks every invariant after every step, which takes longer.
	Strict bool
	// Trace is told of every datagram.
	Trace func(Event)
	// Sessions makes other sessions than tunnel.New, for tests of the driver.
	Sessions func(cfg tunnel.Config, rng *rand.Rand) (Session, error)
}

// News is an event of a session with its time and place.
type News struct {
	At   time.Duration
	Exit bool
	tunnel.Event
}

// node is one end of the bond.
type node struct {
	name    string
	dir     Direction // of what it sends
	sess    Session
	timer   actor
	due     bool
	packets []*buf.Buf
	dgrams  []tunnel.Arrival
	host    *host
	pushed  uint64 // inner packets in
	pulled  uint64 // inner packets out
	flight  []int  // bytes in flight by path, at the last audit
	over    []int  // bytes sent beyond the window since it was reached

	streams  streamSession // nil while there are no streams in the scenario
	byStream map[tunnel.StreamID]*streamFlow
}

// Run is a scenario under way.
type Run struct {
	sc      Scenario
	w       *world
	rng     *rand.Rand
	lines   []*line
	gateway *node
	exit    *node
	pipes   [2]pipe // exit to server, server to exit
	hash    Hash
	audited time.Duration
	// neighbours: there are flows beside the bond. aside has the uplink of each, by the number in its packets; -1: it goes through the bond.
	neighbours bool
	aside      []int
	streams    []*streamFlow

	// Flows are the results, in the order of Scenario.Flows.
	Flows []*FlowResult
	// News are the events of both sessions so far.
	News []News

	outs [64]tunnel.Out
	pkts [64]*buf.Buf
}

// New prepares a run. Nothing happens before Advance.
func New(sc Scenario) (*Run, error) {
	rng := rand.New(rand.NewPCG(sc.Seed, 0x626f6e64))
	sc.Remotes = max(sc.Remotes, 1)
	if sc.Sessions == nil {
		sc.Sessions = func(cfg tunnel.Config, rng *rand.Rand) (Session, error) { return tunnel.New(0, cfg, rng) }
	}
	r := &Run{sc: sc, rng: rng, hash: fnvBasis, w: newWorld(rng)}
	r.w.net = r
	r.w.check = r.invariants
	if err := r.addLines(rng); err != nil {
		return nil, err
	}
	if err := r.addSessions(rng); err != nil {
		return nil, err
	}
	r.addPipes()
	for _, f := range sc.Flows {
		if f.Beside != "" {
			if r.uplink(f.Beside) < 0 || f.Kind != TCP {
				return nil, fmt.Errorf("sim: a flow runs beside the bond on %q: it must be TCP, on an uplink there is", f.Beside)
			}
			r.neighbours = true
		}
		if f.Kind == Stream {
			if err := r.carryStreams(); err != nil {
				return nil, err
			}
			r.Flows = append(r.Flows, r.addStream(f))
			continue
		}
		r.Flows = append(r.Flows, r.w.addFlow(f))
		r.aside = append(r.aside, r.uplink(f.Beside))
	}
	for _, f := range sc.Faults {
		r.addFault(f)
	}
	for i, u := range sc.Uplinks {
		if !u.Late {
			if err := r.addPaths(0, i); err != nil {
				return nil, err
			}
		}
	}
	r.gateway.due, r.exit.due = true, true
	return r, nil
}

func (r *Run) addSessions(rng *rand.Rand) error {
	var up, down [32]byte
	for i := range up {
		up[i], down[i] = byte(rng.Uint32()), byte(rng.Uint32())
	}
	inner := netip.PrefixFrom(clientAddr, 32)
	cfgs := [2]tunnel.Config{
		{Initiator: true, LocalIndex: 1, PeerIndex: 2, SendSecret: up, RecvSecret: down},
		{LocalIndex: 2, PeerIndex: 1, SendSecret: down, RecvSecret: up, Sources: []netip.Prefix{inner}},
	}
	names, hosts := [2]string{"gateway", "exit"}, r.w.hosts()
	for i, cfg := range cfgs {
		cfg.Suite = seal.SuiteAES128GCM
		s, err := r.sc.Sessions(cfg, rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())))
		if err != nil {
			return fmt.Errorf("sim: %s: %w", names[i], err)
		}
		n := &node{name: names[i], dir: Direction(i), sess: s, host: hosts[i]}
		n.timer = r.w.add(n.name, func(time.Duration) { n.due = true })
		if i == 0 {
			r.gateway = n
		} else {
			r.exit = n
		}
	}
	return nil
}

// addPaths opens the paths of one uplink.
func (r *Run) addPaths(now time.Duration, i int) error {
	l := r.lines[i]
	u := l.cfg
	l.paths = l.paths[:0]
	for k := range r.sc.Remotes {
		name := u.Name
		if r.sc.Remotes > 1 {
			name = fmt.Sprintf("%s/%d", u.Name, k)
		}
		mtu := u.MTU
		if mtu == 0 {
			mtu = 1500
		}
		id, err := r.gateway.sess.AddPath(now, tunnel.PathSpec{
			Name: name, Group: uint8(i), MTU: mtu, Backup: u.Backup, Metered: u.Metered, MaxRate: u.MaxRate,
			To: tunnel.Endpoint{Socket: i, Local: l.local, Remote: netip.AddrPortFrom(exitAddr(k), exitPort)},
		})
		if err != nil {
			return fmt.Errorf("sim: path %s: %w", name, err)
		}
		l.paths = append(l.paths, id)
	}
	r.gateway.due = true
	return nil
}

// Advance runs until the given virtual instant, or to the first broken
// invariant, which it returns.
func (r *Run) Advance(until time.Duration) error {
	r.w.settle(r.w.now)
	return r.w.run(until)
}

// Now is the virtual time.
func (r *Run) Now() time.Duration { return r.w.now }

// Hash is the trace hash so far.
func (r *Run) Hash() Hash { return r.hash }

// Stats are the sessions' own figures.
func (r *Run) Stats() (gateway, exit tunnel.Stats) {
	return r.gateway.sess.Stats(r.w.now), r.exit.sess.Stats(r.w.now)
}

// Line says what an uplink has carried.
func (r *Run) Line(name string) (up, down LineStats) {
	i := r.uplink(name)
	if i < 0 {
		return up, down
	}
	return r.lines[i].stats[Up], r.lines[i].stats[Down]
}

// QueueDelay is how long a datagram would now wait in front of an uplink's line.
func (r *Run) QueueDelay(name string, d Direction) time.Duration {
	i := r.uplink(name)
	if i < 0 {
		return 0
	}
	return r.lines[i].links[d].QueueDelay(r.w.now)
}

// take implements network.
func (r *Run) take(now time.Duration, fromClient bool, bufs []*buf.Buf) {
	if r.neighbours {
		bufs = r.takeBeside(now, fromClient, bufs)
	}
	switch {
	case fromClient:
		r.enter(now, r.gateway, bufs)
	case r.sc.ServerDelay > 0:
		r.pipes[1].put(now, bufs)
	default:
		r.enter(now, r.exit, bufs)
	}
}

// takeBeside puts the packets of neighbours on their lines and returns the rest.
func (r *Run) takeBeside(now time.Duration, fromClient bool, bufs []*buf.Buf) []*buf.Buf {
	d := Down
	if fromClient {
		d = Up
	}
	rest := bufs[:0]
	for _, b := range bufs {
		var p packet
		if err := parse(b.Bytes(), &p); err == nil && r.aside[p.flow] >= 0 {
			r.beside(now, d, r.aside[p.flow], b)
		} else {
			rest = append(rest, b)
		}
	}
	return rest
}

// enter hands packets to a node's TUN; what is longer than its MTU is answered
// as the kernel does.
func (r *Run) enter(now time.Duration, n *node, bufs []*buf.Buf) {
	mtu := n.sess.InnerMTU()
	for _, b := range bufs {
		if b.Len() <= mtu {
			n.packets = append(n.packets, b)
			continue
		}
		var p packet
		if parse(b.Bytes(), &p) == nil && p.proto == protoTCP {
			if c := n.host.conns[p.flow]; c != nil {
				c.mtuChanged(now, mtu)
			}
		}
		b.Release()
	}
}

func (r *Run) mtu(client bool) int {
	if client {
		return min(1500, r.gateway.sess.InnerMTU())
	}
	return min(1500, r.exit.sess.InnerMTU())
}

// settle implements network: both sessions do what is due.
func (r *Run) settle(now time.Duration) bool {
	moved := false
	for _, n := range [2]*node{r.gateway, r.exit} {
		if n.due || len(n.packets) > 0 || len(n.dgrams) > 0 || n.sess.Deadline() <= now {
			moved = true
			r.pump(now, n)
		}
	}
	return moved
}

// pump is one turn of a node's engine, in the order of the real one.
func (r *Run) pump(now time.Duration, n *node) {
	n.due = false
	if len(n.dgrams) > 0 {
		n.sess.PushDatagrams(now, n.dgrams)
		clear(n.dgrams)
		n.dgrams = n.dgrams[:0]
	}
	if len(n.packets) > 0 {
		n.pushed += uint64(len(n.packets))
		n.sess.PushPackets(now, n.packets)
		clear(n.packets)
		n.packets = n.packets[:0]
	}
	for tries := 0; n.sess.Deadline() <= now; tries++ {
		if tries == maxAdvance {
			r.w.fail(fmt.Errorf("sim: %s: the deadline is %v after Advance(%v), again and again", n.name, n.sess.Deadline(), now))
			break
		}
		n.sess.Advance(now)
		r.drain(now, n)
	}
	r.serveStreams(now, n)
	r.drain(now, n)
	for r.serveStreams(now, n) { // reading makes windows to be told, sending makes room to be filled
		r.drain(now, n)
	}
	for e, ok := n.sess.Event(); ok; e, ok = n.sess.Event() {
		r.News = append(r.News, News{now, n == r.exit, e})
	}
	r.w.set(n.timer, n.sess.Deadline())
}

// maxAdvance is how often Advance and the pulls behind it may leave a deadline
// that is due at once. One turn may rightly cause another (a probe that is due
// and then sent), a chain of them not.
const maxAdvance = 4

// drain pulls datagrams and packets until there are none.
func (r *Run) drain(now time.Duration, n *node) {
	for k := n.sess.PullDatagrams(now, r.outs[:]); k > 0; k = n.sess.PullDatagrams(now, r.outs[:]) {
		for _, o := range r.outs[:k] {
			r.launch(now, n.dir, o)
		}
	}
	for k := n.sess.PullPackets(now, r.pkts[:]); k > 0; k = n.sess.PullPackets(now, r.pkts[:]) {
		n.pulled += uint64(k)
		r.hash.word(uint64(now)<<8 | uint64(n.dir))
		if n == r.exit && r.sc.ServerDelay > 0 {
			r.pipes[0].put(now, r.pkts[:k])
		} else {
			n.host.receive(now, r.pkts[:k])
		}
	}
}

// ErrInvariant wraps what the run's own checks find.
var ErrInvariant = errors.New("sim: an invariant is broken")
