package endpoints

import (
	"slices"
	"time"

	"github.com/bondd/bondd/tunnel"
)

const (
	// streamGrace is how long streams wait for a session that has no path, and new connections for a session: an uplink
	// that is changed over, a modem that starts again. An exit keeps a silent session as long (lingerTime).
	streamGrace = 60 * time.Second
	// partingTime is how long the end of a broken connection is kept from the peer at most while what it had brought is under way. Only a peer
	// that does not read, or paths that are out, take so long.
	partingTime = 10 * time.Second
	// maxPendingFlows bounds the flows that wait for a session.
	maxPendingFlows = 1024
	// streamRounds bounds how often a turn goes back from sending to the streams that have room again.
	streamRounds = 4
)

// flowTable is what an engine knows of its flows. The engine's goroutine owns it.
type flowTable struct {
	streams map[tunnel.StreamID]*flow
	pending flowQueue     // that wait for a session
	parting flowQueue     // whose connection broke, while what it had brought is under way
	graceAt time.Duration // until when the session is waited for; 0: it is well
}

// flowQueue has flows with a time for each, the earliest first.
type flowQueue []timedFlow

type timedFlow struct {
	flow *flow
	at   time.Duration
}

func (q flowQueue) deadline() time.Duration {
	if len(q) == 0 {
		return never
	}
	return q[0].at
}

// due takes the first flow whose time has come; nil if there is none.
func (q *flowQueue) due(now time.Duration) *flow {
	if now < q.deadline() || len(*q) == 0 {
		return nil
	}
	f := (*q)[0].flow
	*q = append((*q)[:0], (*q)[1:]...)
	return f
}

// deadline is when the table wants to be looked at.
func (t *flowTable) deadline() time.Duration {
	d := min(t.pending.deadline(), t.parting.deadline())
	if len(t.streams) > 0 && t.graceAt != 0 {
		d = min(d, t.graceAt)
	}
	return d
}

// serveFlows handles what flows have told since the last turn.
func (e *engine) serveFlows(now time.Duration) {
	for i, f := range e.taken.flows {
		e.taken.flows[i] = nil
		f.news.Store(false)
		switch f.state {
		case flowNew:
			e.openFlow(now, f)
		case flowOpen:
			e.serveFlow(now, f)
		}
	}
	e.taken.flows = e.taken.flows[:0]
	for f := e.table.parting.due(now); f != nil; f = e.table.parting.due(now) {
		e.leave(now, f)
	}
	for f := e.table.pending.due(now); f != nil; f = e.table.pending.due(now) {
		e.lose(f, tunnel.ResetSession)
	}
}

// openFlow opens the stream of a new flow, or lets it wait for a session.
func (e *engine) openFlow(now time.Duration, f *flow) {
	f.mu.Lock()
	over := f.over
	f.mu.Unlock()
	switch {
	case over:
		f.state = flowOver
		f.kill(tunnel.ResetAborted, false)
		return
	case e.s == nil:
		e.postpone(now, f)
		return
	}
	id, err := e.s.OpenStream(now, f.target)
	if err != nil {
		e.lose(f, tunnel.ResetLimit)
		return
	}
	e.join(f, id)
	e.serveFlow(now, f)
}

// postpone lets a flow wait for a session.
func (e *engine) postpone(now time.Duration, f *flow) {
	switch {
	case slices.ContainsFunc(e.table.pending, func(p timedFlow) bool { return p.flow == f }):
	case len(e.table.pending) >= maxPendingFlows:
		e.lose(f, tunnel.ResetLimit)
	default:
		e.table.pending = append(e.table.pending, timedFlow{f, now + streamGrace})
	}
}

// join notes that a flow has a stream of the session.
func (e *engine) join(f *flow, id tunnel.StreamID) {
	f.id, f.state = id, flowOpen
	if e.table.streams == nil {
		e.table.streams = make(map[tunnel.StreamID]*flow)
	}
	e.table.streams[id] = f
}

// serveFlow carries both ways what can be carried.
func (e *engine) serveFlow(now time.Duration, f *flow) {
	if e.s == nil {
		return // the session is gone for good; a new one, or the grace period, ends the flow
	}
	f.mu.Lock()
	local, answer := f.local, f.answer
	f.answer = nil
	f.mu.Unlock()
	switch {
	case local:
		e.part(now, f)
		return
	case answer != nil:
		e.dialled(now, f, answer)
	}
	if f.state == flowOpen {
		e.feed(now, f)
		e.pump(now, f)
	}
}

// feed gives the session what the connection has brought, if the session has room. It tells whether anything happened.
func (e *engine) feed(now time.Duration, f *flow) (did bool) {
	blocks, ended := f.peek()
	n := 0
	for n < len(blocks) && e.s.StreamRoom(f.id) > 0 {
		e.write(now, f, blocks[n])
		n++
	}
	left := n < len(blocks)
	if n > 0 {
		f.took(n)
		did = true
	}
	if left {
		return did // StreamWritable follows
	}
	if ended && !f.endSaid {
		f.endSaid = true
		e.s.StreamEnd(now, f.id)
		did = true
	}
	return did
}

func (e *engine) write(now time.Duration, f *flow, block []byte) {
	_ = e.s.StreamWrite(now, f.id, block) // if it fails the stream is ending, and the event that says so is under way
}

// pump gives the connection what the session has for it, as far as it takes it. It tells whether anything happened.
func (e *engine) pump(now time.Duration, f *flow) (did bool) {
	for f.state == flowOpen && f.wants() {
		n, eof := e.s.StreamRead(now, f.id, e.pulled[:])
		if n == 0 && !eof {
			break
		}
		did = true
		if f.target != nil {
			e.connected(f)
		}
		f.put(e.pulled[:n], eof)
		clear(e.pulled[:n])
		if n < len(e.pulled) {
			break
		}
	}
	return did
}

// connected notes that the target has been reached.
func (e *engine) connected(f *flow) {
	if f.connect() {
		f.set.opened.Add(1)
	}
}

// streamEvents handles what the session has to tell of its streams. It tells whether there is something to be sent.
func (e *engine) streamEvents(now time.Duration) (did bool) {
	for {
		ev, ok := e.s.StreamEvent()
		if !ok {
			return did
		}
		if ev.Kind == tunnel.StreamOpened {
			e.owner.streamOpened(e, now, ev.ID, ev.Target)
			did = true
			continue
		}
		f := e.table.streams[ev.ID]
		if f == nil {
			continue
		}
		switch ev.Kind {
		case tunnel.StreamConnected:
			e.connected(f)
		case tunnel.StreamReadable:
			did = e.pump(now, f) || did
		case tunnel.StreamWritable:
			did = e.feed(now, f) || did
		case tunnel.StreamReset:
			e.lose(f, ev.Code)
		case tunnel.StreamDone:
			e.forget(f)
		}
	}
}

// forget ends what a flow has to do with the session. Its connection may still have something to write.
func (e *engine) forget(f *flow) {
	f.state = flowOver
	delete(e.table.streams, f.id)
}

// lose ends a flow whose stream there is not, or not any more.
func (e *engine) lose(f *flow, code uint64) {
	if f.state == flowOpen {
		e.forget(f)
	}
	f.state = flowOver
	f.mu.Lock()
	missed := !f.connected && !f.over
	f.mu.Unlock()
	if missed {
		f.set.refuse(code)
		if f.failed != nil {
			f.failed(code)
		}
	}
	f.kill(code, true)
}

// part ends the stream of a flow whose connection broke, as soon as what it had brought has arrived.
func (e *engine) part(now time.Duration, f *flow) {
	blocks, _ := f.peek()
	for _, b := range blocks {
		e.write(now, f, b)
	}
	f.took(len(blocks))
	if e.s.StreamAbort(now, f.id, f.code) {
		e.forget(f)
		return
	}
	e.table.parting = append(e.table.parting, timedFlow{f, now + partingTime})
}

// leave resets the stream of a flow whose connection broke.
func (e *engine) leave(now time.Duration, f *flow) {
	if f.state != flowOpen {
		return // the session was quicker
	}
	if e.s != nil {
		e.s.StreamReset(now, f.id, f.code)
	}
	e.forget(f)
}

// loseAll ends every flow that had a stream in the session, which is no more.
func (e *engine) loseAll() {
	for _, f := range e.table.streams {
		e.lose(f, tunnel.ResetSession)
	}
	e.table.parting = e.table.parting[:0]
}

// losePending ends the flows that wait for a session.
func (e *engine) losePending() {
	for _, p := range e.table.pending {
		e.lose(p.flow, tunnel.ResetSession)
	}
	e.table.pending = nil
}

// loseWaiting ends the flows that have not reached their target. Runs on the engine's goroutine.
func (e *engine) loseWaiting(now time.Duration) {
	e.losePending()
	for _, f := range e.table.streams {
		f.mu.Lock()
		waits := !f.connected
		f.mu.Unlock()
		if waits {
			if e.s != nil {
				e.s.StreamReset(now, f.id, tunnel.ResetSession)
			}
			e.lose(f, tunnel.ResetSession)
		}
	}
}

// openPending opens the streams of the flows that have waited for this session.
func (e *engine) openPending(now time.Duration) {
	waited := e.table.pending
	e.table.pending = nil
	for _, p := range waited {
		e.openFlow(now, p.flow)
	}
}

// watchGrace gives up a session that has been without a path for too long, and the streams of one that is gone when there
// is no successor. lost says that no path is up.
func (e *engine) watchGrace(now time.Duration, lost bool) {
	switch at := e.table.graceAt; {
	case !lost:
		e.table.graceAt = 0
	case at == 0:
		e.table.graceAt = now + streamGrace
	case now >= at:
		e.drop(now, closeGone, "no path for too long")
		e.table.graceAt = now + streamGrace
	}
}
