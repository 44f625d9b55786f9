package endpoints

import (
	"sync"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// Bounds of an inbox, in items. Each is several turns of the engine (maxTurn), so that bursts are taken, and
// short enough that what waits is still worth carrying: 2048 datagrams of 1500 bytes are 25 ms at 1 Gbit/s, 4 MB of memory.
const (
	inboxPackets  = 2048
	inboxArrivals = 2048
	// inboxBytes bounds packets too, since a super-packet is one item: 2048 packets of 1500 bytes.
	inboxBytes = inboxPackets * 1500
)

// inbox is how everything reaches an engine: packets, datagrams, flows, commands and failures, put in by any goroutine and taken
// out by the engine's. What is put in becomes the engine's.
type inbox struct {
	wake chan struct{} // holds one token while something new is here

	mu       sync.Mutex
	room     sync.Cond // signalled when the engine has taken; for those who wait
	waiting  int       // goroutines in room.Wait
	packets  []*buf.Buf
	bytes    int // of packets
	arrivals []tunnel.Arrival
	commands []func(now time.Duration)
	flows    []*flow     // that have something to tell; each at most once, see flow.tell
	failed   pathSetBits // paths whose socket reported that there is no way out
	closed   bool
}

// pathSetBits is a set of path ids of one session generation.
type pathSetBits struct {
	gen  uint32
	any  bool
	bits [4]uint64
}

func (p *pathSetBits) add(gen uint32, id tunnel.PathID) {
	if p.gen != gen {
		*p = pathSetBits{gen: gen}
	}
	p.any = true
	p.bits[id>>6] |= 1 << (id & 63)
}

func (p *pathSetBits) has(id tunnel.PathID) bool { return p.bits[id>>6]&(1<<(id&63)) != 0 }

func (q *inbox) init() {
	q.wake = make(chan struct{}, 1)
	q.room.L = &q.mu
}

// knock wakes the engine without giving it anything.
func (q *inbox) knock() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// putPackets takes packets from the front of bs as far as there is room and returns how many it took. The rest
// remains the caller's.
func (q *inbox) putPackets(bs []*buf.Buf) int {
	q.mu.Lock()
	n := 0
	if !q.closed {
		for n < len(bs) && !fullPackets(q) {
			q.packets = append(q.packets, bs[n])
			q.bytes += bs[n].Len()
			n++
		}
	}
	q.mu.Unlock()
	if n > 0 {
		q.knock()
	}
	return n
}

// putArrivals is putPackets for datagrams.
func (q *inbox) putArrivals(as []tunnel.Arrival) int {
	q.mu.Lock()
	n := 0
	if !q.closed {
		n = min(len(as), inboxArrivals-len(q.arrivals))
		q.arrivals = append(q.arrivals, as[:n]...)
	}
	q.mu.Unlock()
	if n > 0 {
		q.knock()
	}
	return n
}

// The ways of a reader with a full inbox. A gateway's readers are patient: all they have is for the one engine, and the kernel's
// queues hold more than ours. An exit's are brisk: others wait behind.

func patientPackets(e *engine, bs []*buf.Buf) int {
	n := e.in.putPackets(bs)
	for n < len(bs) && e.in.waitRoom(fullPackets) {
		n += e.in.putPackets(bs[n:])
	}
	return n
}

func patientArrivals(e *engine, as []tunnel.Arrival) int {
	n := e.in.putArrivals(as)
	for n < len(as) && e.in.waitRoom(fullArrivals) {
		n += e.in.putArrivals(as[n:])
	}
	return n
}

func briskPackets(e *engine, bs []*buf.Buf) int { return e.in.putPackets(bs) }

func briskArrivals(e *engine, as []tunnel.Arrival) int { return e.in.putArrivals(as) }

// waitRoom waits while full says so and reports whether the inbox is open. The back-pressure goes to the kernel's queues.
func (q *inbox) waitRoom(full func(*inbox) bool) (open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && full(q) {
		q.waiting++
		q.room.Wait()
		q.waiting--
	}
	return !q.closed
}

func fullPackets(q *inbox) bool { return len(q.packets) >= inboxPackets || q.bytes >= inboxBytes }

func fullArrivals(q *inbox) bool { return len(q.arrivals) >= inboxArrivals }

// post hands f to the engine, which calls it between two turns of its session. It is false when the engine has ended.
func (q *inbox) post(f func(now time.Duration)) bool {
	q.mu.Lock()
	ok := !q.closed
	if ok {
		q.commands = append(q.commands, f)
	}
	q.mu.Unlock()
	if ok {
		q.knock()
	}
	return ok
}

// putFlow notes that a flow has something to tell. It is false when the engine has ended.
func (q *inbox) putFlow(f *flow) bool {
	q.mu.Lock()
	ok := !q.closed
	if ok {
		q.flows = append(q.flows, f)
	}
	q.mu.Unlock()
	if ok {
		q.knock()
	}
	return ok
}

// pathFailed notes that a datagram of session generation gen had no way out on a path.
func (q *inbox) pathFailed(gen uint32, id tunnel.PathID) {
	q.mu.Lock()
	q.failed.add(gen, id)
	q.mu.Unlock()
	q.knock()
}

// intake is what an engine has taken from its inbox and not yet used. The slices are swapped with the inbox's, so that
// nothing is allocated.
type intake struct {
	packets  []*buf.Buf
	arrivals []tunnel.Arrival
	commands []func(now time.Duration)
	flows    []*flow
	failed   pathSetBits
}

// take moves what is in the inbox to in. Packets and datagrams are left where they are while in still has some.
func (q *inbox) take(in *intake) {
	q.mu.Lock()
	if len(in.packets) == 0 {
		in.packets, q.packets = q.packets, in.packets[:0]
		q.bytes = 0
	}
	if len(in.arrivals) == 0 {
		in.arrivals, q.arrivals = q.arrivals, in.arrivals[:0]
	}
	in.commands, q.commands = q.commands, in.commands[:0]
	in.flows, q.flows = q.flows, in.flows[:0]
	in.failed = q.failed
	q.failed.any = false
	q.failed.bits = [4]uint64{}
	if q.waiting > 0 {
		q.room.Broadcast()
	}
	q.mu.Unlock()
}

// close refuses everything from now on and releases what was not taken. Commands that were not taken are never called.
func (q *inbox) close() {
	q.mu.Lock()
	q.closed = true
	packets, arrivals := q.packets, q.arrivals
	q.packets, q.arrivals, q.commands, q.flows = nil, nil, nil, nil
	q.room.Broadcast()
	q.mu.Unlock()
	releaseAll(packets)
	for _, a := range arrivals {
		a.Buf.Release()
	}
}

func releaseAll(bs []*buf.Buf) {
	for _, b := range bs {
		b.Release()
	}
}
