package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel/buf"
)

// network is what lies between the two hosts.
type network interface {
	// take takes packets that a host has sent at this instant.
	take(now time.Duration, fromClient bool, bufs []*buf.Buf)
	// settle does what is due now, and reports whether there was anything.
	settle(now time.Duration) bool
	// mtu is the largest packet a host may send.
	mtu(client bool) int
}

// world is two hosts, a network and virtual time.
type world struct {
	clock
	client, server *host
	net            network
	err            error
	// check runs after every step.
	check func(now time.Duration) error
}

func newWorld(rng *rand.Rand) *world {
	w := &world{}
	w.client = &host{name: "client", client: true, clock: &w.clock, rng: rng}
	w.server = &host{name: "server", clock: &w.clock, rng: rng}
	w.client.mtu = func() int { return w.net.mtu(true) }
	w.server.mtu = func() int { return w.net.mtu(false) }
	w.clock.after = w.settle
	return w
}

func (w *world) hosts() [2]*host { return [2]*host{w.client, w.server} }

// flow reserves a flow number on both hosts.
func (w *world) flow() int {
	for _, h := range w.hosts() {
		h.conns = append(h.conns, nil)
		h.udps = append(h.udps, nil)
		h.seen = append(h.seen, window{})
	}
	return len(w.client.conns) - 1
}

// maxTurns bounds the exchanges between hosts and network at one instant. With
// no delay between a host and its session there are a few, as an ACK lets data
// go.
const maxTurns = 10_000

// settle moves everything that can move at this instant.
func (w *world) settle(now time.Duration) {
	for turn := 0; w.err == nil; turn++ {
		if turn == maxTurns {
			w.fail(fmt.Errorf("sim: live-lock at %v: hosts and network never come to rest", now))
		}
		moved := false
		for _, h := range w.hosts() {
			if len(h.out) > 0 {
				moved = true
				out := h.out
				h.out = h.spare[:0]
				w.net.take(now, h.client, out)
				h.spare = out
			}
		}
		if !w.net.settle(now) && !moved {
			break
		}
	}
	for _, h := range w.hosts() {
		w.fail(h.err)
	}
	if w.check != nil && w.err == nil {
		w.fail(w.check(now))
	}
}

func (w *world) fail(err error) {
	if w.err == nil && err != nil {
		w.err = err
	}
}

// run goes on until the given instant, or the first error.
func (w *world) run(until time.Duration) error {
	for w.err == nil && w.now < until {
		// In slices, so that an error is noticed.
		w.fail(w.advance(min(until, w.now+100*time.Millisecond)))
	}
	return w.err
}

// wire is a network of one link in each direction, without a bond.
type wire struct {
	w     *world
	links [2]*link.Link[*buf.Buf] // towards the server, towards the client
	timer [2]actor
	batch []*buf.Buf
}

func newWire(w *world, up, down link.Config, rng *rand.Rand) *wire {
	n := &wire{w: w}
	for i, cfg := range [2]link.Config{up, down} {
		n.links[i] = link.New[*buf.Buf](cfg, rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())))
		to := w.hosts()[1-i]
		n.timer[i] = w.add("link", func(now time.Duration) {
			n.batch = n.batch[:0]
			for b, ok := n.links[i].Receive(now); ok; b, ok = n.links[i].Receive(now) {
				n.batch = append(n.batch, b)
			}
			to.receive(now, n.batch)
			w.set(n.timer[i], n.links[i].Next())
		})
	}
	w.net = n
	return n
}

func (n *wire) take(now time.Duration, fromClient bool, bufs []*buf.Buf) {
	i := 1
	if fromClient {
		i = 0
	}
	for _, b := range bufs {
		if !n.links[i].Send(now, b.Len(), b).Accepted() {
			b.Release()
		}
	}
	n.w.set(n.timer[i], n.links[i].Next())
}

func (n *wire) settle(time.Duration) bool { return false }

func (n *wire) mtu(bool) int { return 1500 }
