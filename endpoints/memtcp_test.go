package endpoints

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// memBuffer is what a memConn holds for its reader, as the buffers of the kernel do.
const memBuffer = 64 << 10

// memHalf is one direction of a connection in memory.
type memHalf struct {
	mu     sync.Mutex
	change sync.Cond
	data   []byte
	eof    bool // the writer has ended it
	gone   bool // the reader has closed
	reset  bool
	read   memDeadline
	write  memDeadline
	moved  int // bytes read so far
}

type memDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *memDeadline) set(h *memHalf, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, h.change.Broadcast)
	}
	h.change.Broadcast()
}

func (d *memDeadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// memConn is a TCP connection in memory that works in bubbles: bounded buffers, ends of each direction, resets.
type memConn struct {
	in, out       *memHalf
	local, remote netip.AddrPort
	linger        bool // Close resets
	mu            sync.Mutex
	closed        bool
}

func memPair(client, server netip.AddrPort) (a, b *memConn) {
	x, y := new(memHalf), new(memHalf)
	x.change.L, y.change.L = &x.mu, &y.mu
	return &memConn{in: x, out: y, local: client, remote: server}, &memConn{in: y, out: x, local: server, remote: client}
}

func (c *memConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *memConn) Read(p []byte) (int, error) {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case c.isClosed():
			return 0, net.ErrClosed
		case h.read.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0: // also before a reset, as the kernel does it
			n := copy(p, h.data)
			h.data = h.data[n:]
			h.moved += n
			h.change.Broadcast()
			return n, nil
		case h.reset:
			return 0, syscall.ECONNRESET
		case h.eof:
			return 0, io.EOF
		}
		h.change.Wait()
	}
}

func (c *memConn) Write(p []byte) (n int, err error) {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(p) > 0 {
		switch {
		case c.isClosed():
			return n, net.ErrClosed
		case h.reset:
			return n, syscall.ECONNRESET
		case h.eof:
			return n, syscall.EPIPE
		case h.gone: // data for a socket that is closed are answered with a reset
			h.reset = true
			continue
		case h.write.passed():
			return n, os.ErrDeadlineExceeded
		case len(h.data) < memBuffer:
			k := min(len(p), memBuffer-len(h.data))
			h.data = append(h.data, p[:k]...)
			p, n = p[k:], n+k
			h.change.Broadcast()
			continue
		}
		h.change.Wait()
	}
	return n, nil
}

func (h *memHalf) mark(f func()) {
	h.mu.Lock()
	f()
	h.change.Broadcast()
	h.mu.Unlock()
}

func (c *memConn) CloseWrite() error {
	c.out.mark(func() { c.out.eof = true })
	return nil
}

func (c *memConn) SetLinger(s int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = s == 0
	return nil
}

func (c *memConn) Close() error {
	c.mu.Lock()
	again, abort := c.closed, c.linger
	c.closed = true
	c.mu.Unlock()
	if again {
		return net.ErrClosed
	}
	// A socket that is closed with data unread resets too.
	c.in.mark(func() { c.in.gone = true; abort = abort || len(c.in.data) > 0 })
	c.out.mark(func() { c.out.eof = true; c.out.reset = c.out.reset || abort })
	if abort {
		c.in.mark(func() { c.in.reset = true })
	}
	return nil
}

func (c *memConn) abort() { c.SetLinger(0); c.Close() }

func (c *memConn) LocalAddr() net.Addr                { return net.TCPAddrFromAddrPort(c.local) }
func (c *memConn) RemoteAddr() net.Addr               { return net.TCPAddrFromAddrPort(c.remote) }
func (c *memConn) SetReadDeadline(t time.Time) error  { c.in.read.set(c.in, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.out.write.set(c.out, t); return nil }
func (c *memConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// read returns how many bytes of what c wrote its peer has taken.
func (c *memConn) delivered() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.moved
}
