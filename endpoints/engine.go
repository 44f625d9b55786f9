package endpoints

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

const (
	// maxTurn bounds what one turn takes of each kind of input, and what it sends, so that one reading of the clock is
	// never older than a fraction of a millisecond of work.
	maxTurn = 256
	// maxTurnBytes bounds it for packets, of which a super-packet is many.
	maxTurnBytes = maxTurn * 1500
	// batch is how much crosses a room boundary at once.
	batch = 132 // three runs of 44 full datagrams, which is what goes into one segmented send of 64 KB
	// idleTurn is the time between turns when nothing happens: liveness is a matter of time passing.
	idleTurn = 500 * time.Millisecond
	// minSleep keeps a session whose deadline stays in the past from taking the whole processor.
	minSleep = 100 * time.Microsecond
)

// owner is told by an engine what became of its session. The methods are called on the engine's goroutine and must
// not block or call back.
type owner interface {
	// pathUp: a path of the present session has been proven.
	pathUp(e *engine)
	// mtuChanged: the TUN device should have this MTU now, in bytes.
	mtuChanged(e *engine, mtu int)
	// pathChanged: a path by an uplink of this end has failed, or answers again. The uplink is "" for a path of the peer's making.
	pathChanged(uplink string, up bool)
	// lost: no path is alive any more. Told once each time it happens.
	lost(e *engine, reason string)
	// peerClosed: the peer has ended the session, and the engine has none now.
	peerClosed(e *engine)
	// streamOpened: the peer has opened a stream to target, which is valid for the call only. Here the session may be called.
	streamOpened(e *engine, now time.Duration, id tunnel.StreamID, target []byte)
}

// engine is the goroutine that owns a session: it alone calls it, and reads the clock once per turn. One turn takes what has
// come in, gives it to the session, and carries away what the session has ready.
//
// On a gateway the engine of a way out lives as long as the node and its session is swapped; on an exit every session has its own.
type engine struct {
	// Constant after newEngine.
	name    string // of the peer, for the log
	clock   clock
	log     *slog.Logger
	dev     tun.Device
	sockets *sockets
	drops   *counters
	owner   owner
	done    chan struct{} // closed when run has returned

	in    inbox
	alive atomic.Bool  // whether the session was alive at the end of the last turn
	held  atomic.Int64 // bytes that its streams held then

	// Owned by the goroutine of run.
	s       session // nil while there is none
	gen     uint32  // counts sessions, so that late news of an old one is not taken for the present one's
	told    bool    // lost was told and is still so
	proven  bool    // a path of s has come up once
	paths   paths
	table   flowTable
	quit    bool
	taken   intake
	packetI int // first packet in taken that was not pushed
	arriveI int // first datagram in taken that was not pushed
	outs    [batch]tunnel.Out
	rest    [batch]tunnel.Out // scratch of gather
	pulled  [batch]*buf.Buf
	writes  [batch]tun.Packet
	alarm   alarm
}

func newEngine(name string, c clock, log *slog.Logger, dev tun.Device, socks *sockets, drops *counters, o owner) *engine {
	e := &engine{name: name, clock: c, log: log, dev: dev, sockets: socks, drops: drops, owner: o, done: make(chan struct{})}
	e.in.init()
	return e
}

// run turns until stop. Whoever started it joins it by waiting for done.
func (e *engine) run() {
	defer close(e.done)
	for !e.quit {
		e.in.take(&e.taken)
		next := e.turn(e.clock.now())
		if e.quit || e.backlog() {
			continue
		}
		e.alarm.sleep(e.clock, next, e.in.wake)
	}
	e.in.close()
	releaseAll(e.taken.packets[e.packetI:])
	for _, a := range e.taken.arrivals[e.arriveI:] {
		a.Buf.Release()
	}
}

// backlog tells whether a turn has left input behind.
func (e *engine) backlog() bool { return len(e.taken.packets) > 0 || len(e.taken.arrivals) > 0 }

// turn does what can be done now and returns when the next turn is due without further input.
func (e *engine) turn(now time.Duration) time.Duration {
	for i, f := range e.taken.commands {
		f(now)
		e.taken.commands[i] = nil
	}
	e.taken.commands = e.taken.commands[:0]
	if e.s == nil {
		e.discard()
		return e.idle(now)
	}
	e.fail(now)
	e.pushArrivals(now)
	e.pushPackets(now)
	e.serveFlows(now)
	if now >= e.s.Deadline() {
		e.s.Advance(now)
	}
	e.events(now) // before the packets: an exit learns by them where answers go
	if e.s == nil {
		return e.idle(now)
	}
	e.deliver(now)
	patience := e.exchange(now)
	e.events(now)
	if e.s == nil {
		return e.idle(now)
	}
	e.watch(now)
	if e.s == nil {
		return e.idle(now)
	}
	next := min(max(e.s.Deadline(), now+minSleep), now+idleTurn, e.table.deadline())
	if patience != 0 {
		// What is ready cannot leave, so the session's deadline may have passed for good: the writer wakes us. Its timers still run.
		next = min(patience, max(next, now+time.Millisecond))
	}
	return next
}

// idle is the end of a turn without a session.
func (e *engine) idle(now time.Duration) time.Duration {
	e.serveFlows(now)
	e.watchGrace(now, true)
	return e.table.deadline()
}

// exchange serves the streams and sends, in turns: reading makes windows to be told, sending makes room to be filled.
func (e *engine) exchange(now time.Duration) (patience time.Duration) {
	e.streamEvents(now)
	for range streamRounds {
		patience = e.send(now)
		if !e.streamEvents(now) {
			return patience
		}
	}
	e.in.knock()
	return patience
}

// discard drops the input of an engine without a session.
func (e *engine) discard() {
	e.drops.add(dropNoSession, len(e.taken.packets)-e.packetI)
	releaseAll(e.taken.packets[e.packetI:])
	e.drops.add(dropUnknownIndex, len(e.taken.arrivals)-e.arriveI)
	for _, a := range e.taken.arrivals[e.arriveI:] {
		a.Buf.Release()
	}
	e.donePackets(len(e.taken.packets))
	e.doneArrivals(len(e.taken.arrivals))
}

func (e *engine) pushArrivals(now time.Duration) {
	end := min(len(e.taken.arrivals), e.arriveI+maxTurn)
	for i := e.arriveI; i < end; i += batch {
		e.s.PushDatagrams(now, e.taken.arrivals[i:min(i+batch, end)])
	}
	e.doneArrivals(end)
}

func (e *engine) pushPackets(now time.Duration) {
	end := e.packetI
	for bytes := 0; end < min(len(e.taken.packets), e.packetI+maxTurn) && bytes < maxTurnBytes; end++ {
		bytes += e.taken.packets[end].Len()
	}
	for i := e.packetI; i < end; i += batch {
		e.s.PushPackets(now, e.taken.packets[i:min(i+batch, end)])
	}
	e.donePackets(end)
}

// donePackets notes that the packets before end are no longer ours.
func (e *engine) donePackets(end int) {
	clear(e.taken.packets[e.packetI:end])
	e.packetI = end
	if end == len(e.taken.packets) {
		e.taken.packets, e.packetI = e.taken.packets[:0], 0
	}
}

func (e *engine) doneArrivals(end int) {
	clear(e.taken.arrivals[e.arriveI:end])
	e.arriveI = end
	if end == len(e.taken.arrivals) {
		e.taken.arrivals, e.arriveI = e.taken.arrivals[:0], 0
	}
}

// deliver writes the packets the session has released to the TUN device.
func (e *engine) deliver(now time.Duration) {
	for {
		n := e.s.PullPackets(now, e.pulled[:])
		if n == 0 {
			return
		}
		for i, b := range e.pulled[:n] {
			e.writes[i] = tun.Packet{Data: b.Bytes(), CsumStart: b.CsumStart, CsumOffset: b.CsumOffset}
		}
		// The device counts what the kernel refuses; the one error left is that it is closed, and then the node is ending.
		e.dev.Write(e.writes[:n])
		releaseAll(e.pulled[:n])
		clear(e.pulled[:n])
		clear(e.writes[:n])
	}
}

// send moves ready datagrams to the writers of their sockets until there are none, the turn is full, or a writer is. In the last case
// it returns until when to be patient with it, else 0.
func (e *engine) send(now time.Duration) (patience time.Duration) {
	for sent := 0; ; {
		if patience = e.sockets.blocked(now, e); patience != 0 {
			return patience
		}
		if sent >= maxTurn {
			e.in.knock()
			return 0
		}
		n := e.s.PullDatagrams(now, e.outs[:])
		if n == 0 {
			return 0
		}
		sent += n
		e.sockets.send(now, e, e.outs[:n])
		clear(e.outs[:n])
		clear(e.rest[:n])
	}
}

// call runs f on the engine's goroutine and waits for it. It is false when the engine has ended or ctx has.
func (e *engine) call(ctx context.Context, f func(now time.Duration)) bool {
	ran := make(chan struct{})
	if !e.in.post(func(now time.Duration) { f(now); close(ran) }) {
		return false
	}
	select {
	case <-ran:
		return true
	case <-e.done:
	case <-ctx.Done():
	}
	return false
}

// stop ends the engine: the session, if there is one, says goodbye on all its paths. It does not wait; done is closed
// when the goodbye is with the writers.
func (e *engine) stop(code uint64, reason string) {
	e.in.post(func(now time.Duration) {
		e.drop(now, code, reason)
		e.losePending()
		e.quit = true
	})
}
