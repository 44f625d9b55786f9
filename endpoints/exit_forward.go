package endpoints

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/tunnel/control"
)

// forwardShare is the part of the streams of a gateway's session that connections from outside may take: strangers leave the LAN its own.
const forwardShare = 4

// defaultStreams are those of a session without a limit of its own, as tunnel has it.
const defaultStreams = 4096

// exitForwards are the ports of an exit whose connections go to gateways as streams. The goroutine of serve owns it, after the start.
type exitForwards struct {
	open map[uint16]*forwardPort
	wg   sync.WaitGroup // accept loops
	live map[control.PublicKey]*atomic.Int64
}

// forwardPort is one of them.
type forwardPort struct {
	net.Listener
	to control.PublicKey
}

func (x *exit) openForwards(context.Context) error {
	x.forwards.open, x.forwards.live = map[uint16]*forwardPort{}, map[control.PublicKey]*atomic.Int64{}
	for _, text := range x.setForwards(x.cfg) {
		x.log.Warn("a port is not forwarded", "reason", text)
	}
	return nil
}

func (x *exit) closeForwards(context.Context) error {
	for _, p := range x.forwards.open {
		p.Close()
	}
	x.forwards.wg.Wait()
	return nil
}

// setForwards listens on the ports of a configuration, and no more on others, and says of which ports a program of this machine is no longer
// reached. It returns what cannot be forwarded. Connections go on.
func (x *exit) setForwards(cfg *config.Config) (troubles []string) {
	want := map[uint16]control.PublicKey{}
	for _, g := range cfg.Gateways {
		x.warnShadowed(g)
		for _, f := range g.Forwards {
			for _, r := range f.Ports {
				for port := int(r.First); f.AsStream && port <= int(r.Last); port++ {
					want[uint16(port)] = g.Key
				}
			}
		}
	}
	s := &x.forwards
	for port, p := range s.open {
		if want[port] != p.to {
			p.Close()
			delete(s.open, port)
		}
	}
	for port, key := range want {
		if s.open[port] != nil {
			continue
		}
		l, err := x.host.listenTCP(context.Background(), netip.AddrPortFrom(netip.IPv6Unspecified(), port))
		if err != nil {
			troubles = append(troubles, fmt.Sprintf("TCP port %d: %v; is a program of this machine listening there?", port, err))
			continue
		}
		p := &forwardPort{Listener: l, to: key}
		s.open[port] = p
		live := s.live[key]
		if live == nil {
			live = new(atomic.Int64)
			s.live[key] = live
		}
		s.wg.Go(func() { x.acceptForward(p, port, live) }) // joined by closeForwards
	}
	return troubles
}

// acceptForward gives a stream to every connection that comes, until the listener is closed. One whose gateway is not there is reset.
func (x *exit) acceptForward(p *forwardPort, port uint16, live *atomic.Int64) {
	for {
		c, err := p.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files
			time.Sleep(acceptPause)
			continue
		}
		conn, ok := c.(dial.Conn)
		a, g := x.currentOf(p.to), x.gatewayOf(p.to)
		if !ok || a == nil || g == nil || live.Load() >= int64(cmp.Or(x.config().Stream.Of(g).MaxStreams, defaultStreams)/forwardShare) {
			abort(c)
			continue
		}
		f := newFlow(a.engine, &x.flows, appendPort(nil, port))
		f.gone = func() { live.Add(-1) }
		if !x.flows.add(f) {
			abort(c)
			continue
		}
		live.Add(1)
		f.tell() // the opening leaves at once, whether the client says something first or not
		f.start(conn)
	}
}

// currentOf is the proven session of a gateway; nil if there is none.
func (x *exit) currentOf(key control.PublicKey) *association {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.sessions {
		if a.gateway.Key == key && a.current && !a.over {
			return a
		}
	}
	return nil
}

// warnShadowed says of which programs of this machine the ports go to a gateway instead: a remote login that is forwarded is a machine
// that nobody gets into any more.
func (x *exit) warnShadowed(g config.Gateway) {
	for _, f := range g.Forwards {
		if f.AsStream {
			continue // the port is listened on here, or that fails and is told
		}
		for _, at := range x.host.listening(f.UDP) {
			if f.Has(at.Port()) && !at.Addr().IsLoopback() {
				proto := "tcp"
				if f.UDP {
					proto = "udp"
				}
				x.log.Warn("a program of this machine listens on a port that is forwarded, and is not reached from outside meanwhile",
					"protocol", proto, "at", at, "gateway", g.Name)
			}
		}
	}
}
