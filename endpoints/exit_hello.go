package endpoints

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bondd/bondd/tunnel/control"
)

const (
	// answerTime bounds a hello at the exit, from the accepted connection to the answer: two round trips, 1.2 s over a satellite, and
	// two lost segments.
	answerTime = 5 * time.Second
	// maxHellos bounds how many run at once: a handshake costs about a millisecond of processor time and a stranger can hold
	// one for answerTime. maxHellosEach bounds those of one source address, so that one stranger does not take all.
	maxHellos     = 256
	maxHellosEach = 16
	// acceptPause follows an accept that failed, as it does when descriptors are short.
	acceptPause = 100 * time.Millisecond
)

// guard counts the hellos under way.
type guard struct {
	mu  sync.Mutex
	all int
	by  map[netip.Addr]int
}

// enter takes a place for a source, or says that there is none.
func (g *guard) enter(from netip.Addr) bool {
	from = network64(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= maxHellos || g.by[from] >= maxHellosEach {
		return false
	}
	if g.by == nil {
		g.by = make(map[netip.Addr]int)
	}
	g.all++
	g.by[from]++
	return true
}

func (g *guard) leave(from netip.Addr) {
	from = network64(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.by[from]--; g.by[from] == 0 {
		delete(g.by, from)
	}
}

// network64 is the address that stands for a source: with IPv6, everybody has at least a /64 to choose from.
func network64(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is4() || !a.IsValid() {
		return a
	}
	p, _ := a.Prefix(64) // fails for a wrong number of bits only
	return p.Addr()
}

func (x *exit) startHello(ctx context.Context) error {
	ctx, x.stopHello = context.WithCancel(ctx)
	for _, at := range x.cfg.Listen {
		l, err := x.host.listenExit(ctx, at)
		if err != nil {
			return errors.Join(err, x.endHello(ctx))
		}
		x.listeners = append(x.listeners, l)
	}
	for _, l := range x.listeners {
		x.helloWG.Go(func() { x.accept(ctx, l) }) // joined by endHello
	}
	return nil
}

func (x *exit) endHello(context.Context) error {
	x.stopHello()
	for _, l := range x.listeners {
		l.Close()
	}
	x.helloWG.Wait()
	return nil
}

// accept takes connections until the listener is closed.
func (x *exit) accept(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			pause := time.NewTimer(acceptPause)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
			continue
		}
		remote := addrPort(conn.RemoteAddr())
		if !x.guard.enter(remote.Addr()) {
			x.drops.add(dropHelloBusy, 1)
			conn.Close()
			continue
		}
		x.helloWG.Go(func() { // joined by endHello
			defer conn.Close()
			in, err := x.answer(ctx, conn, remote)
			x.guard.leave(remote.Addr())
			if in != nil {
				err = x.carry(ctx, in, conn)
			}
			if err != nil && ctx.Err() == nil {
				x.drops.add(dropHelloFailed, 1)
				x.log.Debug("hello failed", "from", remote, "error", err)
			}
		})
	}
}

// answer is the exit's part in one hello. If the connection is to be a carrier instead, it is returned.
func (x *exit) answer(ctx context.Context, conn net.Conn, remote netip.AddrPort) (*control.Incoming, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	in, err := control.Accept(ctx, conn, x.cfg.PrivateKey)
	if err != nil {
		return nil, err
	}
	if in.IsCarrier() {
		return in, nil
	}
	r, err := in.Hello(ctx,
		func(key control.PublicKey) bool { return x.gatewayOf(key) != nil },
		func(key control.PublicKey, o control.Offer) control.Answer {
			g := x.gatewayOf(key)
			a := control.Answer{Software: software(), Index: x.newIndex(), Addresses: g.Addresses, Capabilities: x.capabilities(), Present: x.has(g, o.Present)}
			for _, p := range x.cfg.Inner.Exit() {
				a.Peer = append(a.Peer, p.Addr())
			}
			return a
		})
	if err != nil || r.Answer.Present {
		return nil, err
	}
	return nil, x.admit(r, remote)
}

// addrPort is the address of a connection's end; zero for one that has none, as a pipe.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
