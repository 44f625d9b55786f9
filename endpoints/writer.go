package endpoints

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
)

const (
	// writerLimit bounds, in bytes, what waits for one socket: 256 full datagrams, 4 ms at 1 Gbit/s. It is so short because what waits here can
	// no longer be moved to a better path. Engines look at it before they pull a batch, so it is passed by at most one batch each.
	writerLimit = 256 * 1500
	// writerPatience is how long a full writer may hold up its engines, whose other paths stand still meanwhile. A local link
	// that is merely busy moves within this time; after it the socket counts as stuck and its datagrams are dropped.
	writerPatience = 20 * time.Millisecond
)

// outgoing is a datagram on its way to a socket, with what is needed to report that it found no way out.
type outgoing struct {
	tunnel.Out
	engine *engine
	gen    uint32
}

// promptBatch is the largest batch that an engine sends itself where there are more than two processors: to wake a goroutine costs
// about as much as to send so many. On one or two, nothing is gained by handing over.
const promptBatch = 8

// writer is the bounded queue in front of one socket and the goroutine that empties it. Engines put in, run takes out. While nothing is
// queued, an engine sends small batches itself, without waiting, and queues what the socket does not take.
type writer struct {
	// Constant.
	sock  udp.Socket
	now   udp.Prompt // sock, if it can; else nil
	most  int        // datagrams that an engine sends itself
	clock clock
	drops *counters
	wake  chan struct{} // holds one token while the queue may have something
	done  chan struct{} // closed when run has returned

	// full is set from when the queue reaches its limit until half of it is gone; fullAt is when, in ns.
	full   atomic.Bool
	fullAt atomic.Int64

	mu      sync.Mutex
	queue   []outgoing
	bytes   int       // in queue and in run's hands
	waiting []*engine // to be woken when full is reset
	closed  bool
	busy    bool // somebody sends: run, or an engine

	taken  []outgoing // run's
	direct []outgoing // of whoever is busy, as ds
	ds     [batch]udp.Datagram
}

func newWriter(sock udp.Socket, c clock, drops *counters) *writer {
	w := &writer{sock: sock, most: promptBatch, clock: c, drops: drops, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.now, _ = sock.(udp.Prompt)
	if runtime.GOMAXPROCS(0) <= 2 {
		w.most = batch
	}
	return w
}

// blocked returns 0 when e may send, else the time until which it should wait to be woken.
func (w *writer) blocked(now time.Duration, e *engine) time.Duration {
	if !w.full.Load() {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	patience := time.Duration(w.fullAt.Load()) + writerPatience
	if !w.full.Load() || now >= patience {
		return 0
	}
	for _, have := range w.waiting {
		if have == e {
			return patience
		}
	}
	w.waiting = append(w.waiting, e)
	return patience
}

// put takes the datagrams of outs, all of which are for this socket. When the writer is stuck or closed they are dropped.
func (w *writer) put(now time.Duration, e *engine, outs []tunnel.Out) {
	w.mu.Lock()
	stuck := w.full.Load() && now >= time.Duration(w.fullAt.Load())+writerPatience
	if w.closed || stuck {
		reason := dropWriterFull
		if w.closed {
			reason = dropSocketGone
		}
		w.mu.Unlock()
		w.drops.add(reason, len(outs))
		for i := range outs {
			outs[i].Buf.Release()
		}
		return
	}
	if w.now != nil && !w.busy && len(w.queue) == 0 && len(outs) <= w.most {
		w.busy = true
		w.mu.Unlock()
		w.direct = w.direct[:0]
		for i := range outs {
			w.direct = append(w.direct, outgoing{outs[i], e, e.gen})
		}
		n, _ := w.write(w.direct, w.now.WriteNow)
		clear(w.direct)
		outs = outs[n:]
		w.mu.Lock()
		w.busy = false
		if len(outs) == 0 && len(w.queue) == 0 && !w.closed {
			w.mu.Unlock()
			return
		}
	}
	for i := range outs {
		w.queue = append(w.queue, outgoing{outs[i], e, e.gen})
		w.bytes += outs[i].Buf.Len()
	}
	if w.bytes >= writerLimit && !w.full.Load() {
		w.fullAt.Store(int64(now))
		w.full.Store(true)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// stop makes run return once the queue is empty. A socket that is stuck has to be closed to that end.
func (w *writer) stop() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes until stop. Whoever started it joins it by waiting for done.
func (w *writer) run() {
	defer close(w.done)
	for {
		w.mu.Lock()
		busy := w.busy // an engine is sending; it wakes us if it leaves anything
		if !busy {
			w.taken, w.queue = w.queue, w.taken[:0]
			w.busy = len(w.taken) > 0
		}
		closed := w.closed && !busy
		w.mu.Unlock()
		if len(w.taken) == 0 {
			if closed {
				return
			}
			<-w.wake
			continue
		}
		for rest := w.taken; len(rest) > 0; {
			n := min(len(rest), batch)
			_, bytes := w.write(rest[:n], w.sock.WriteBatch)
			w.written(bytes)
			rest = rest[n:]
		}
		clear(w.taken)
		w.taken = w.taken[:0]
		w.mu.Lock()
		w.busy = false
		w.mu.Unlock()
	}
}

// write sends one batch, at most len(w.ds), and releases what was sent or refused. It returns how many those were and their bytes: fewer than
// all only when send does not wait.
func (w *writer) write(os []outgoing, send func([]udp.Datagram) (int, error)) (done, bytes int) {
	for i := range os {
		o := &os[i]
		w.ds[i] = udp.Datagram{Data: o.Buf.Bytes(), Peer: o.To.Remote, Local: o.To.Local, ECN: o.ECN}
	}
	for done < len(os) {
		n, err := send(w.ds[done:len(os)])
		done += n
		if err == nil {
			if done < len(os) && n == 0 {
				break // no room, and send does not wait
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			w.drops.add(dropSocketGone, len(os)-done)
			done = len(os)
			break
		}
		if done == len(os) {
			break
		}
		w.refused(&os[done], err)
		done++
	}
	for i := range os[:done] {
		bytes += len(w.ds[i].Data)
		os[i].Buf.Release()
	}
	clear(w.ds[:len(os)])
	return done, bytes
}

// refused counts a datagram the socket did not take, and tells its session when the way out is gone.
func (w *writer) refused(o *outgoing, err error) {
	switch {
	case udp.IsMessageTooLong(err):
		w.drops.add(dropMessageTooLong, 1)
	case udp.IsPathDown(err):
		w.drops.add(dropPathDown, 1)
		o.engine.in.pathFailed(o.gen, o.Path)
	default:
		w.drops.add(dropWriteFailed, 1)
	}
}

// written notes that bytes have left and wakes the engines that wait once half the queue is free.
func (w *writer) written(bytes int) {
	w.mu.Lock()
	w.bytes -= bytes
	if w.full.Load() && w.bytes <= writerLimit/2 {
		w.full.Store(false)
		for i, e := range w.waiting {
			e.in.knock()
			w.waiting[i] = nil
		}
		w.waiting = w.waiting[:0]
	}
	w.mu.Unlock()
}
