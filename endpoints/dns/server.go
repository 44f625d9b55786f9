package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxQueries bounds the queries over UDP under way; more get no answer, and are asked again.
	maxQueries = 1024
	// maxConns bounds the TCP connections, connTime how long one may be idle (RFC 7766 §6.2.3: seconds).
	maxConns = 64
	connTime = 10 * time.Second
	// acceptPause is the rest after a failed accept or read: a lack of memory or descriptors does not pass at once.
	acceptPause = 50 * time.Millisecond
)

// Server reads queries and sends answers.
type Server struct {
	Resolver *Resolver
	// Allowed tells who may ask; nil: everybody who can reach the sockets.
	Allowed func(client netip.Addr) bool
}

// Serve answers on both until ctx ends. Either may be nil. They are closed, and all goroutines have ended, when it returns.
func (s *Server) Serve(ctx context.Context, p net.PacketConn, l net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	if p != nil {
		wg.Go(func() { s.packets(ctx, p) })
	}
	if l != nil {
		wg.Go(func() { s.connections(ctx, l) })
	}
	<-ctx.Done()
	if p != nil {
		p.Close()
	}
	if l != nil {
		l.Close()
	}
	wg.Wait()
}

func (s *Server) allowed(a net.Addr) bool {
	if s.Allowed == nil {
		return true
	}
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && s.Allowed(ap.Addr().Unmap().WithZone(""))
}

func pause(ctx context.Context) {
	t := time.NewTimer(acceptPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *Server) packets(ctx context.Context, p net.PacketConn) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxQueries)
	buf := make([]byte, 4096) // a query is short; what is longer is not one
	for {
		n, from, err := p.ReadFrom(buf)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			pause(ctx)
			continue
		case !s.allowed(from):
			continue
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil || q.Response { // no answer to an answer: two servers would talk forever
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			a := s.Resolver.Answer(ctx, q)
			a.Truncate(room(q))
			if out, err := a.Pack(); err == nil {
				_, _ = p.WriteTo(out, from)
			}
		})
	}
}

// room is the greatest answer that a client takes over UDP.
func room(q *dns.Msg) int {
	if o := q.IsEdns0(); o != nil {
		return int(min(max(o.UDPSize(), dns.MinMsgSize), maxUDP))
	}
	return dns.MinMsgSize
}

func (s *Server) connections(ctx context.Context, l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxConns)
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				nc.Close()
			}
			return
		case err != nil:
			pause(ctx)
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			defer nc.Close()
			defer context.AfterFunc(ctx, func() { nc.Close() })()
			if s.allowed(nc.RemoteAddr()) {
				s.connection(ctx, nc)
			}
		})
	}
}

// connection answers the queries of one connection, one after the other.
func (s *Server) connection(ctx context.Context, nc net.Conn) {
	c := &dns.Conn{Conn: nc}
	for {
		nc.SetDeadline(time.Now().Add(connTime))
		q, err := c.ReadMsg()
		if err != nil || q.Response {
			return
		}
		a := s.Resolver.Answer(ctx, q)
		nc.SetDeadline(time.Now().Add(connTime))
		if c.WriteMsg(a) != nil {
			return
		}
	}
}
