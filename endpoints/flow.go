package endpoints

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

const (
	// maxBlock bounds, in bytes, what a connection brings at once: what a TSO super-packet holds.
	maxBlock = 64 << 10
	// maxBlocks is how many of them one read takes where so much is waiting: to wake the engine costs as much as to read one.
	maxBlocks = 4
	// flowWaiting bounds, in bytes, what waits for the writer of one connection: 20 ms at 100 Mbit/s, so that the
	// writer has work while the engine does something else. More waits in the session, whose window counts it.
	flowWaiting = 256 << 10
	// flowWaitingTight is the same while the flows of a node together hold more than flowsWaiting: many slow readers.
	flowWaitingTight = 16 << 10
	flowsWaiting     = 64 << 20
	// flowsUnread bounds, in bytes, what the flows of a node together have read and their sessions have no room for. Beyond it each
	// may read one block more.
	flowsUnread = 64 << 20
	// drainTime is how long a connection may take what has arrived before its reset. It is a matter of a LAN.
	drainTime = time.Second
)

// flowState is how far the engine is with a flow.
type flowState uint8

const (
	flowNew  flowState = iota // its stream has to be opened, or its target to be reached
	flowOpen                  // it has a stream in the present session
	flowOver                  // it has none any more
)

// flow is one TCP connection and the stream that carries it.
//
//	connection ─► flow_reader.go ─► blocks ─► engine_flows.go ─► StreamWrite
//	connection ◄─ flow_writer.go ◄─ chain ◄─ engine_flows.go ◄─ StreamRead
//
// The engine's goroutine alone calls the session; the goroutines of the connection alone may block. What they share is
// behind mu, which nobody holds for longer than a few assignments. A flow without a connection is one end of a streamConn.
type flow struct {
	// Constant.
	engine *engine
	set    *flowSet
	target []byte             // of the OPEN frame; nil at the end that accepts
	failed func(code uint64)  // if not nil: told on the engine's goroutine why the target was not reached; must not block
	cancel context.CancelFunc // if not nil: ends the dial
	gone   func()             // if not nil: called once, when nothing is left of the flow; must not block

	// Owned by the engine's goroutine.
	state   flowState
	id      tunnel.StreamID
	endSaid bool

	news  atomic.Bool  // it is in the inbox
	loops atomic.Int32 // goroutines of the connection that have not ended

	mu   sync.Mutex
	room sync.Cond // signalled when blocks is empty again, and at the end
	more sync.Cond // signalled when one of connected, chain, eof has changed, and at the end

	answer    *dialAnswer // of the dial, until the engine has seen it
	conn      dial.Conn   // nil before the target is reached, and for a streamConn
	connected bool        // the far end has reached the target
	blocks    [][]byte    // from the connection, for the session; others are put here when it is empty
	ended     bool        // the connection has ended behind blocks
	chain     []*buf.Buf  // from the session, for the connection
	waiting   int         // bytes of chain, and of what is being written
	full      bool        // the engine waits for less to be waiting
	eof       bool        // the stream has ended behind chain
	over      bool        // nothing is carried any more
	local     bool        // because of this end: the engine has yet to tell the peer
	drain     bool        // but what is in chain may still be written
	code      uint64      // why
	watching  bool        // the reader is behind the end, and waits for the connection to break
	wrote     bool        // the writer is at its end
}

func newFlow(e *engine, set *flowSet, target []byte) *flow {
	f := &flow{engine: e, set: set, target: target}
	f.room.L, f.more.L = &f.mu, &f.mu
	return f
}

// tell puts the flow on the engine's list.
func (f *flow) tell() {
	if !f.news.Swap(true) && !f.engine.in.putFlow(f) {
		f.kill(tunnel.ResetSession, false)
	}
}

// start gives the flow its connection, and the connection its goroutines. If the flow is over, or the node is ending, the
// connection is reset instead.
func (f *flow) start(c dial.Conn) {
	f.mu.Lock()
	over := f.over
	if !over {
		f.conn = c
		f.loops.Store(2)
	}
	f.mu.Unlock()
	if over || !f.set.run(f.readLoop, f.writeLoop) {
		f.kill(tunnel.ResetSession, false)
		abort(c)
		f.set.remove(f)
	}
}

// loopEnded is called at the end of each goroutine of the connection; the last one closes it.
func (f *flow) loopEnded() {
	if f.loops.Add(-1) > 0 {
		return
	}
	f.mu.Lock()
	over := f.over
	f.dropChain()
	f.mu.Unlock()
	if over {
		abort(f.conn)
	} else {
		f.conn.Close()
	}
	f.set.remove(f)
}

// kill ends the flow: the connection sees a reset, after what has arrived for it if drain is set. It does not wait. The
// peer is not told.
func (f *flow) kill(code uint64, drain bool) {
	f.mu.Lock()
	f.stop(code, drain)
	f.dropBlocks(len(f.blocks)) // fail may have left some
	f.mu.Unlock()
}

// fail ends the flow because of its connection; the engine tells the peer. Blocks that wait are still carried.
func (f *flow) fail(code uint64) {
	f.mu.Lock()
	first := !f.over
	if first {
		blocks := f.blocks
		f.blocks = nil
		f.stop(code, false)
		f.blocks, f.local = blocks, true
	}
	f.mu.Unlock()
	if first {
		f.tell()
	}
}

// longAgo is a deadline that has passed whatever the clock says.
var longAgo = time.Unix(1, 0)

// stop is kill with mu held.
func (f *flow) stop(code uint64, drain bool) {
	if f.over {
		return
	}
	f.over, f.code, f.drain = true, code, drain
	f.dropBlocks(len(f.blocks))
	patience := longAgo
	if drain && f.waiting > 0 {
		patience = time.Now().Add(drainTime)
	} else {
		f.dropChain()
	}
	f.room.Broadcast()
	f.more.Broadcast()
	if f.cancel != nil {
		f.cancel()
	}
	if f.answer != nil {
		f.undial(f.answer.conn)
		f.answer = nil
	}
	if f.conn != nil {
		f.conn.SetReadDeadline(longAgo)
		f.conn.SetWriteDeadline(patience)
	}
}

// dropChain releases what waits for the connection. Called with mu held.
func (f *flow) dropChain() {
	n := 0
	for _, b := range f.chain {
		n += b.Len()
		b.Release()
	}
	f.chain = nil
	f.passed(n)
}

// passed notes that n bytes no longer wait. Called with mu held.
func (f *flow) passed(n int) {
	f.waiting -= n
	f.set.waiting.Add(-int64(n))
}

// connect notes that the far end has reached the target, and tells whether that is news.
func (f *flow) connect() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connected {
		return false
	}
	f.connected = true
	f.more.Broadcast()
	return true
}

// peek returns what the engine may carry to the peer, and whether that is all. The blocks stay as they are until took.
func (f *flow) peek() (blocks [][]byte, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blocks, f.ended
}

// took notes that the session has the first n blocks.
func (f *flow) took(n int) {
	f.mu.Lock()
	f.dropBlocks(min(n, len(f.blocks))) // there are none if the flow was killed meanwhile
	if len(f.blocks) == 0 {
		f.room.Signal()
	}
	f.mu.Unlock()
}

// putBlocks takes blocks for the session; there are no others. Called with mu held.
func (f *flow) putBlocks(blocks ...[]byte) {
	f.blocks = append(f.blocks, blocks...)
	f.set.unread.Add(int64(sizeOf(blocks)))
}

// dropBlocks forgets the first n blocks. Called with mu held.
func (f *flow) dropBlocks(n int) {
	f.set.unread.Add(-int64(sizeOf(f.blocks[:n])))
	f.blocks = slices.Delete(f.blocks, 0, n)
}

func sizeOf(blocks [][]byte) (n int) {
	for _, b := range blocks {
		n += len(b)
	}
	return n
}

// wants tells whether the connection can take more. If not, the engine hears of the flow when it can.
func (f *flow) wants() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.eof {
		return false
	}
	f.full = f.waiting >= f.limit()
	return !f.full
}

// limit is how much may wait for the connection.
func (f *flow) limit() int {
	if f.set.waiting.Load() > flowsWaiting {
		return flowWaitingTight
	}
	return flowWaiting
}

// put takes what has arrived for the connection; eof says that nothing comes behind it.
func (f *flow) put(bufs []*buf.Buf, eof bool) {
	f.mu.Lock()
	if f.over {
		f.mu.Unlock()
		releaseAll(bufs)
		return
	}
	n := 0
	for _, b := range bufs {
		n += b.Len()
	}
	f.passed(-n)
	f.chain = append(f.chain, bufs...)
	f.eof = f.eof || eof
	f.more.Broadcast()
	f.mu.Unlock()
}

// written notes that n bytes have left, and tells whether the engine waits for that.
func (f *flow) written(n int) {
	f.mu.Lock()
	f.passed(n)
	wanted := f.full && !f.over && f.waiting <= f.limit()/2
	if wanted {
		f.full = false
	}
	f.mu.Unlock()
	if wanted {
		f.tell()
	}
}
