//go:build !race

// The race detector makes sync.Pool forget at random, so counts mean nothing with it.

package endpoints

import (
	"testing"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// The hot path allocates nothing once it is warm: a turn of the engine with packets and datagrams in and out, and what
// its writer does.
func TestTurnDoesNotAllocate(t *testing.T) {
	r := newRigIdle(t)
	sock := newSlowSocket()
	r.e.swap(0, r.s)
	w := newWriter(sock, r.e.clock, &r.drops)
	r.socks.slots.Store(&[]*socket{{Socket: sock, writer: w}})

	packets, ready, released := make([]*buf.Buf, 64), make([]tunnel.Out, 64), make([]*buf.Buf, 64)
	arrivals := make([]tunnel.Arrival, 64)
	r.dev.Close() // takes packets without keeping them
	turn := func() {
		for i := range packets {
			packets[i], released[i] = buf.Get(), buf.Get()
			ready[i] = tunnel.Out{Buf: buf.Get()}
			arrivals[i] = tunnel.Arrival{Buf: buf.Get()}
		}
		r.e.in.putPackets(packets)
		r.e.in.putArrivals(arrivals)
		r.s.ready, r.s.released = ready, released
		r.e.in.take(&r.e.taken)
		r.e.turn(r.e.clock.now())
		sock.tokens <- struct{}{}
		w.taken, w.queue = w.queue, w.taken[:0]
		w.write(w.taken, sock.WriteBatch)
		clear(w.taken)
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(200, turn); n > 1 { // the pool may be emptied by the collector meanwhile
		t.Errorf("%v allocations in a turn of 64 packets and 64 datagrams each way", n)
	}
	if sock.count() == 0 || r.s.packets == 0 || r.s.arrivals == 0 {
		t.Error("nothing was moved")
	}
}
