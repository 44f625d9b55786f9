package forward

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
)

// acceptClients takes connections and passes each on.
func (r *Relay) acceptClients() {
	for {
		c, err := r.accept.Accept()
		if err != nil {
			if !r.again(err) {
				return
			}
			continue
		}
		from := remote(c)
		r.mu.Lock()
		ok := r.take(kindTCP, len(r.conns), from)
		to := r.to
		if ok {
			r.conns[c] = struct{}{}
			r.wg.Go(func() { r.connection(c, from, to) }) // joined by Close, which closes c
		}
		r.mu.Unlock()
		if !ok {
			c.Close()
		}
	}
}

// connection passes one connection on until both directions have ended.
func (r *Relay) connection(c net.Conn, from netip.Addr, to netip.AddrPort) {
	defer func() {
		c.Close()
		r.mu.Lock()
		delete(r.conns, c)
		r.leave(kindTCP, from)
		r.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(r.ctx, dialTime)
	defer cancel()
	t, err := r.netw.DialTCP(ctx, to)
	if err != nil {
		r.failed.Add(1)
		return
	}
	defer t.Close()
	stop := context.AfterFunc(r.ctx, func() { t.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { pass(t, c) }) // joined below
	pass(c, t)
	wg.Wait()
}

// pass copies one direction and ends it at the other side. A direction that breaks ends both.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		to.Close()
		from.Close()
	}
}

// remote is the address of a connection's client.
func remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
