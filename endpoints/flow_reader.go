package endpoints

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/bondd/bondd/endpoints/proxy"
	"github.com/bondd/bondd/tunnel"
)

// abort closes a connection so that its other end sees a reset.
func abort(c net.Conn) { proxy.Abort(c) }

// beneath is the connection that others wrap, so that it can be read and written as the kernel likes best.
func beneath(c net.Conn) net.Conn {
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = w.NetConn()
	}
}

// readLoop carries what the connection brings to the engine, until it ends. It is one of the flow's goroutines.
func (f *flow) readLoop() {
	defer f.loopEnded()
	r := newBlockReader(beneath(f.conn))
	for {
		blocks, err := r.read(f.set.mayRead())
		if len(blocks) > 0 && !f.give(blocks) {
			return
		}
		clear(blocks) // who waits to read holds no memory
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			f.end()
			f.watch(r)
			return
		default:
			f.fail(tunnel.ResetAborted)
			return
		}
	}
}

// give hands blocks to the engine once it has taken those before. False: the flow is over.
func (f *flow) give(blocks [][]byte) bool {
	f.mu.Lock()
	for len(f.blocks) > 0 && !f.over {
		f.room.Wait()
	}
	ok := !f.over
	if ok {
		f.putBlocks(blocks...)
	}
	f.mu.Unlock()
	if ok {
		f.tell()
	}
	return ok
}

// mayRead is how many blocks one connection may read now.
func (s *flowSet) mayRead() int {
	if s.unread.Load() > flowsUnread {
		return 1
	}
	return maxBlocks
}

// end says that nothing follows the last block.
func (f *flow) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.tell()
}

// watch notices when a connection breaks whose client has ended its direction: nobody reads it any more, and nobody may have anything to write
// for long. It returns when the other direction is over as well.
func (f *flow) watch(r blockReader) {
	w, ok := r.(breakWatcher)
	f.mu.Lock()
	ok = ok && !f.wrote && !f.over
	f.watching = ok
	f.mu.Unlock()
	if ok && w.watch() != nil {
		f.fail(tunnel.ResetAborted)
	}
}

// breakWatcher is a blockReader that can wait, behind the end, for its connection to break. It returns nil when a read deadline has passed.
type breakWatcher interface{ watch() error }

// blockReader reads a connection. It returns at most so many blocks, none of them empty. They belong to the caller, the slice they are in only until
// the next call.
type blockReader interface {
	read(most int) ([][]byte, error)
}

// blocks are memory to read into. One that comes back full goes to the session, stays there until the peer has it, and comes back by reuse; a small
// read is copied, so that what waits costs what it holds.
var blocks = sync.Pool{New: func() any { return new([maxBlock]byte) }}

// keep makes a block of the first n bytes of b, which came from blocks. full says that others precede it, each full: then what waits costs at most
// twice what it holds as it is.
func keep(b *[maxBlock]byte, n int, full bool) []byte {
	if n > maxBlock/2 || full {
		return b[:n]
	}
	small := bytes.Clone(b[:n])
	blocks.Put(b)
	return small
}

// reuse takes a block that the session has no more use for.
func reuse(block []byte) {
	if cap(block) == maxBlock {
		blocks.Put((*[maxBlock]byte)(block[:maxBlock]))
	}
}

// plainReader reads what is not a socket of the kernel: memory has to be there before something comes, so it follows what came last.
type plainReader struct {
	conn net.Conn
	size int
	one  [1][]byte
}

// minRead is the least that a plainReader reads at once.
const minRead = 4 << 10

func (r *plainReader) read(int) ([][]byte, error) {
	b := make([]byte, max(r.size, minRead))
	n, err := r.conn.Read(b)
	switch {
	case n == len(b):
		r.size = min(2*len(b), maxBlock)
	case n < len(b)/4:
		r.size = len(b) / 2
	}
	if n == 0 {
		return nil, err
	}
	r.one[0] = b[:n:n]
	return r.one[:], err
}
