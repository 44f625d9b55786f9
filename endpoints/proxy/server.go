package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Protocol is what a listener speaks.
type Protocol uint8

const (
	SOCKS5 Protocol = iota
	HTTPConnect
)

func (p Protocol) String() string {
	if p == HTTPConnect {
		return "HTTP CONNECT"
	}
	return "SOCKS5"
}

// Defaults of Config.
const (
	// DefaultHandshake is far more than a handshake on a LAN takes.
	DefaultHandshake = 10 * time.Second
	// DefaultMaxConns is far above what a home has open at once.
	DefaultMaxConns = 4096
)

const (
	// acceptPause is the rest after a failed accept, which is a lack of file
	// descriptors or memory: it does not pass at once.
	acceptPause = 50 * time.Millisecond
	// lastWords is how long a client that was refused has to take the answer.
	lastWords = time.Second
)

// Config is what a Server needs; Dialer is, the rest may be zero.
type Config struct {
	Dialer    Dialer
	Handshake time.Duration // for the handshake, without the dial; 0: DefaultHandshake
	MaxConns  int           // connections at once, over all listeners; 0: DefaultMaxConns
	Relayer   Relayer
}

// Server serves any number of listeners.
type Server struct {
	cfg  Config
	open atomic.Int64

	accepted, turnedAway, malformed atomic.Uint64
}

// NewServer checks the configuration.
func NewServer(c Config) (*Server, error) {
	if c.Dialer == nil || c.Handshake < 0 || c.MaxConns < 0 {
		return nil, errors.New("proxy: there is no Dialer, or a limit is negative")
	}
	if c.Handshake == 0 {
		c.Handshake = DefaultHandshake
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns
	}
	return &Server{cfg: c}, nil
}

// Stats are counters since NewServer.
type Stats struct {
	Open       int    // connections now
	Accepted   uint64 // connections that were served
	TurnedAway uint64 // closed at once because of MaxConns
	Malformed  uint64 // closed because the handshake was none, or came too late
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	return Stats{int(s.open.Load()), s.accepted.Load(), s.turnedAway.Load(), s.malformed.Load()}
}

// Serve takes the listener and serves it until ctx ends, with nil, or until it
// is closed or fails, with the error. All connections are closed and
// all goroutines have ended when it returns. The listener's connections need CloseWrite, as
// those of TCP have it.
func (s *Server) Serve(ctx context.Context, l net.Listener, p Protocol) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		var ne net.Error
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed) || !errors.As(err, &ne):
			return fmt.Errorf("proxy: accept on %s: %w", l.Addr(), err)
		default:
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		c, ok := nc.(Conn)
		if !ok {
			nc.Close()
			return fmt.Errorf("proxy: connections of type %T on %s cannot be closed for writing alone", nc, l.Addr())
		}
		if s.open.Add(1) > int64(s.cfg.MaxConns) {
			s.open.Add(-1)
			s.turnedAway.Add(1)
			Abort(c)
			continue
		}
		s.accepted.Add(1)
		conns.Go(func() {
			defer s.open.Add(-1)
			s.serve(ctx, c, p)
		})
	}
}

// serve is one connection from its first byte to its end.
func (s *Server) serve(ctx context.Context, c Conn, p Protocol) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // unblocks all that is done with it
	c.SetDeadline(time.Now().Add(s.cfg.Handshake))
	if p == HTTPConnect {
		s.http(ctx, c)
	} else {
		s.socks(ctx, c)
	}
}

// dial connects to the target for a client of which data was read ahead. The
// stream that is returned takes the client's place.
func (s *Server) dial(ctx context.Context, c Conn, data []byte, t Target) (client, target Conn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.SetDeadline(time.Time{})
	w := newWatch(c, data, cancel)
	target, err = s.cfg.Dialer.DialTarget(ctx, t)
	client = w.stop()
	c.SetWriteDeadline(time.Now().Add(s.cfg.Handshake)) // for the answer
	return client, target, err
}

// relay answers the client and joins it with the target.
func (s *Server) relay(client, target Conn, answer []byte) {
	if _, err := client.Write(answer); err != nil {
		Abort(target)
		return
	}
	client.SetDeadline(time.Time{})
	s.cfg.Relayer.Relay(client, target)
}

// refuse gives the client its answer and ends. A close with bytes unread would be
// a reset, which may overtake the answer: so what comes is read for a while.
func refuse(c Conn, answer []byte) {
	c.SetDeadline(time.Now().Add(lastWords))
	if _, err := c.Write(answer); err != nil {
		return
	}
	if c.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(c, maxEarly))
	}
}
