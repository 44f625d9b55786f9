package endpoints

import (
	"net"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// writeLoop carries what the session brings to the connection, until the stream ends. It is one of the flow's goroutines.
func (f *flow) writeLoop() {
	defer f.loopEnded()
	w := newChainWriter(beneath(f.conn))
	var taken []*buf.Buf
	for {
		taken = f.takeChain(taken)
		if len(taken) == 0 {
			break
		}
		n, err := w.write(taken)
		releaseAll(taken)
		clear(taken)
		f.written(n)
		if err != nil {
			f.fail(tunnel.ResetAborted)
			return
		}
	}
	f.mu.Lock()
	over := f.over
	f.mu.Unlock()
	if over {
		return
	}
	if f.conn.CloseWrite() != nil {
		f.fail(tunnel.ResetAborted)
		return
	}
	f.mu.Lock()
	f.wrote = true
	if f.watching {
		f.conn.SetReadDeadline(longAgo)
	}
	f.mu.Unlock()
}

// takeChain waits for what has arrived and returns it, in place of old, which is empty again. Nothing means that the
// stream has ended, or that the flow is over.
func (f *flow) takeChain(old []*buf.Buf) []*buf.Buf {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chain) == 0 && !f.eof && !f.over {
		f.more.Wait()
	}
	taken := f.chain
	f.chain = old[:0]
	return taken
}

// chainWriter writes buffers with one call of the kernel for many. It writes the whole chain and returns its length in bytes, also after an error.
type chainWriter interface {
	write(chain []*buf.Buf) (n int, err error)
}

// plainWriter is for what is not a socket of the kernel.
type plainWriter struct {
	conn net.Conn
	all  net.Buffers
	left net.Buffers // a part of all; a field, so that no call allocates it
}

// write implements chainWriter.
func (w *plainWriter) write(chain []*buf.Buf) (n int, err error) {
	w.all = w.all[:0]
	for _, b := range chain {
		w.all = append(w.all, b.Bytes())
		n += b.Len()
	}
	w.left = w.all
	_, err = w.left.WriteTo(w.conn)
	clear(w.all)
	return n, err
}
