package endpoints

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// streamConn is a stream as a connection, for those who want to read and write it themselves. It is the flow's other side in place of a
// connection and its goroutines. Its methods may be called from several goroutines.
type streamConn struct {
	flow        *flow
	read, write deadline
	ended       bool // CloseWrite was called; guarded by flow.mu
	finished    bool // Read has returned the end; guarded by flow.mu
	closed      bool // guarded by flow.mu
}

var _ dial.Conn = (*streamConn)(nil)

// deadline is when waiting ends. It is guarded by flow.mu.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set changes the deadline and wakes who waits, now and then. Called with the mutex of cond held.
func (d *deadline) set(at time.Time, cond *sync.Cond) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, cond.Broadcast)
	}
	cond.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && time.Until(d.at) <= 0 }

// dialStream opens a stream to target and waits until the far end has reached it. Errors are *dial.Error.
func dialStream(ctx context.Context, e *engine, set *flowSet, target dial.Target) (dial.Conn, error) {
	b, err := appendTarget(nil, target)
	if err != nil {
		return nil, &dial.Error{Code: dial.NoSuchName, Target: target.String(), Reason: err.Error()}
	}
	f := newFlow(e, set, b)
	if !set.add(f) {
		return nil, &dial.Error{Code: dial.Busy, Target: target.String(), Reason: "the gateway is ending"}
	}
	c := &streamConn{flow: f}
	f.tell()
	defer context.AfterFunc(ctx, func() { f.fail(tunnel.ResetClosed) })()
	f.mu.Lock()
	for !f.connected && !f.over {
		f.more.Wait()
	}
	over, code := f.over, f.code
	f.mu.Unlock()
	switch {
	case !over:
		return c, nil
	case ctx.Err() != nil:
		c.Close()
		return nil, &dial.Error{Code: dial.CodeOf(ctx.Err()), Target: target.String(), Err: ctx.Err()}
	}
	c.Close()
	return nil, &dial.Error{Code: dialCode(code), Target: target.String(), Reason: resetReason(code)}
}

// errBroken is what a streamConn says when its stream was reset.
var errBroken = errors.New("the stream was reset")

func (c *streamConn) broken() error {
	if c.closed {
		return net.ErrClosed
	}
	return fmt.Errorf("%w: %s", errBroken, resetReason(c.flow.code))
}

func (c *streamConn) Read(p []byte) (int, error) {
	f := c.flow
	f.mu.Lock()
	for len(f.chain) == 0 && !f.eof && !f.over && !c.read.passed() {
		f.more.Wait()
	}
	n := 0
	var free []*buf.Buf
	for n < len(p) && len(f.chain) > 0 {
		b := f.chain[0]
		k := copy(p[n:], b.Bytes())
		n += k
		if b.TrimFront(k); b.Len() > 0 {
			break
		}
		free = append(free, b)
		f.chain = f.chain[1:]
	}
	if len(f.chain) == 0 {
		f.chain = nil
	}
	var err error
	switch {
	case n > 0 || len(p) == 0:
	case f.over:
		err = c.broken()
	case f.eof:
		c.finished, err = true, io.EOF
	default:
		err = os.ErrDeadlineExceeded
	}
	f.mu.Unlock()
	releaseAll(free)
	f.written(n)
	return n, err
}

func (c *streamConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		block := bytes.Clone(p[n:min(len(p), n+maxBlock)])
		if err = c.give(block); err == nil {
			n += len(block)
		}
	}
	return n, err
}

// give hands a block to the engine once it has taken the one before.
func (c *streamConn) give(block []byte) error {
	f := c.flow
	f.mu.Lock()
	for len(f.blocks) > 0 && !f.over && !c.ended && !c.write.passed() {
		f.room.Wait()
	}
	var err error
	switch {
	case f.over:
		err = c.broken()
	case c.ended:
		err = net.ErrClosed
	case c.write.passed():
		err = os.ErrDeadlineExceeded
	default:
		f.putBlocks(block)
	}
	f.mu.Unlock()
	if err == nil {
		f.tell()
	}
	return err
}

// CloseWrite says that nothing more will be written.
func (c *streamConn) CloseWrite() error {
	f := c.flow
	f.mu.Lock()
	var err error
	if f.over {
		err = c.broken()
	}
	c.ended, f.ended = true, true
	f.room.Broadcast()
	f.mu.Unlock()
	f.tell()
	return err
}

// Close ends the stream. It is a reset unless both directions have ended.
func (c *streamConn) Close() error { return c.close(tunnel.ResetClosed) }

// Reset ends the stream so that the other end sees a reset.
func (c *streamConn) Reset() error { return c.close(tunnel.ResetAborted) }

func (c *streamConn) close(code uint64) error {
	f := c.flow
	f.mu.Lock()
	whole := c.ended && c.finished
	c.closed = true
	c.read.set(time.Time{}, &f.more)
	c.write.set(time.Time{}, &f.room)
	f.dropChain()
	f.mu.Unlock()
	if !whole || code == tunnel.ResetAborted {
		f.fail(code)
	}
	f.set.remove(f)
	return nil
}

// LocalAddr and RemoteAddr have no meaning for a stream.
func (c *streamConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
func (c *streamConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }

func (c *streamConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *streamConn) SetReadDeadline(t time.Time) error {
	c.flow.mu.Lock()
	defer c.flow.mu.Unlock()
	c.read.set(t, &c.flow.more)
	return nil
}

func (c *streamConn) SetWriteDeadline(t time.Time) error {
	c.flow.mu.Lock()
	defer c.flow.mu.Unlock()
	c.write.set(t, &c.flow.room)
	return nil
}
