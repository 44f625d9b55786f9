package endpoints

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
)

// flushTime is how long a socket that is being closed may take to send what is queued: the goodbyes.
const flushTime = 200 * time.Millisecond

// sockets are the UDP sockets of a node, each with a reader and a writer goroutine. A socket is known by its index, the
// Socket of a tunnel.Endpoint. Indexes of closed sockets are used again.
type sockets struct {
	clock clock
	drops *counters
	demux *demux
	put   func(e *engine, arrivals []tunnel.Arrival) int // patient or brisk

	readers sync.WaitGroup
	mu      sync.Mutex // held by open and close
	slots   atomic.Pointer[[]*socket]
}

// socket is one of them.
type socket struct {
	udp.Socket
	index  int
	writer *writer
	closed chan struct{} // closed when Close has been called; the reader's reason to end
}

func newSockets(c clock, drops *counters, d *demux, put func(*engine, []tunnel.Arrival) int) *sockets {
	s := &sockets{clock: c, drops: drops, demux: d, put: put}
	s.slots.Store(new([]*socket))
	return s
}

// open takes sock, starts its goroutines, and returns its index. They are joined by close.
func (t *sockets) open(sock udp.Socket) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := slices.Clone(*t.slots.Load())
	i := slices.Index(slots, nil)
	if i < 0 {
		i = len(slots)
		slots = append(slots, nil)
	}
	s := &socket{Socket: sock, index: i, writer: newWriter(sock, t.clock, t.drops), closed: make(chan struct{})}
	slots[i] = s
	t.slots.Store(&slots)
	go s.writer.run()                  // joined by close, through done
	t.readers.Go(func() { t.read(s) }) // joined by closeAll
	return i
}

// close sends what is queued, within flushTime, closes the socket, and joins its writer.
func (t *sockets) close(i int) {
	t.mu.Lock()
	slots := slices.Clone(*t.slots.Load())
	s := slots[i]
	slots[i] = nil
	t.slots.Store(&slots)
	t.mu.Unlock()
	t.end(s)
}

func (t *sockets) end(s *socket) {
	s.writer.stop()
	flush := time.NewTimer(flushTime)
	defer flush.Stop()
	select {
	case <-s.writer.done:
	case <-flush.C:
	}
	close(s.closed)
	s.Close()
	<-s.writer.done
}

// all lists the sockets that are open.
func (t *sockets) all() []*socket {
	return slices.DeleteFunc(slices.Clone(*t.slots.Load()), func(s *socket) bool { return s == nil })
}

// closeAll closes every socket and joins all goroutines. The engines have to be told before to stop waiting.
func (t *sockets) closeAll() {
	t.mu.Lock()
	slots := *t.slots.Load()
	t.slots.Store(new([]*socket))
	t.mu.Unlock()
	for _, s := range slots {
		if s != nil {
			t.end(s)
		}
	}
	t.readers.Wait()
}

// blocked returns 0 when e may pull datagrams, else the time until which it should wait to be woken. A session does
// not say for which path it would send next, so one full writer holds up all paths.
func (t *sockets) blocked(now time.Duration, e *engine) time.Duration {
	for _, s := range *t.slots.Load() {
		if s != nil {
			if until := s.writer.blocked(now, e); until != 0 {
				return until
			}
		}
	}
	return 0
}

// gather sorts outs by path, without changing the order within one: what leaves by turns becomes a run per path, which one segmented
// send takes. rest is memory for as many.
func gather(outs, rest []tunnel.Out) {
	for len(outs) > 0 {
		path, n := outs[0].Path, 0
		rest = rest[:0]
		for _, o := range outs {
			if o.Path == path {
				outs[n] = o
				n++
			} else {
				rest = append(rest, o)
			}
		}
		copy(outs[n:], rest)
		outs = outs[n:]
	}
}

// send takes the datagrams of outs and gives each to the writer of its socket, a run at a time.
func (t *sockets) send(now time.Duration, e *engine, outs []tunnel.Out) {
	gather(outs, e.rest[:0])
	slots := *t.slots.Load()
	for len(outs) > 0 {
		i, n := outs[0].To.Socket, 1
		for n < len(outs) && outs[n].To.Socket == i {
			n++
		}
		if i >= 0 && i < len(slots) && slots[i] != nil {
			slots[i].writer.put(now, e, outs[:n])
		} else {
			t.drops.add(dropSocketGone, n)
			for k := range outs[:n] {
				outs[k].Buf.Release()
			}
		}
		outs = outs[n:]
	}
}

// read moves what arrives at s to the engines until s is closed.
func (t *sockets) read(s *socket) {
	r := newReader(t)
	defer r.release()
	for {
		err := r.fill(s)
		r.dispatch()
		if err == nil {
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// The kernel's errors here pass (a message of ICMP, memory). If this one does not, wait rather than spin.
		t.drops.add(dropReadFailed, 1)
		pause := time.NewTimer(readPause)
		select {
		case <-pause.C:
		case <-s.closed:
			pause.Stop()
			return
		}
	}
}
