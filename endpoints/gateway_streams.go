package endpoints

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/proxy"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/control"
)

// interceptor is what is used of an intercept.Interceptor, which says what each method does. Accept gives the parts of its Connection.
type interceptor interface {
	Accept() (conn dial.Conn, exit uint8, target netip.AddrPort, err error)
	Refused(target netip.AddrPort) error
	Unreachable(target netip.AddrPort) error
	SetIPv6(on bool) error
	Restore() error
	Update(c intercept.Config) error
	Close() error
}

// refusal is a target that could not be reached, to be remembered by the kernel.
type refusal struct {
	target netip.AddrPort
	code   uint64
}

// maxRefusals is how many refusals may wait for the kernel; what comes on top is not remembered.
const maxRefusals = 64

// gatewayStreams is how connections of the LAN come into streams. The goroutine of serve owns it, except where it says otherwise.
type gatewayStreams struct {
	taker interceptor // nil while nothing is intercepted
	takes sync.WaitGroup
	ipv6  bool // is taken too

	servers map[control.PublicKey]*proxy.Server // of proxies, by the exit they have for themselves; zero key: none
	proxies map[proxyPlace]context.CancelFunc   // that are served
	clients sync.WaitGroup                      // of all proxies, with their listeners
	root    context.Context                     // under which proxies are served
	stop    context.CancelFunc                  // of root

	capabilities []string // of the exit, as it stated them last

	mu    sync.Mutex
	state string // of the interception, for the status; guarded by mu
}

func (s *gatewayStreams) setState(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *gatewayStreams) status() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// interceptConfig is what the configuration asks of the interception.
func interceptConfig(cfg *config.Config, tun string) intercept.Config {
	c := intercept.Config{TUN: tun, Own: true}
	for _, n := range numbersOf(cfg) {
		c.Exits = append(c.Exits, intercept.Exit{Number: uint8(n), TUN: exitTUN(cfg, n), Takes4: true, Takes6: true})
	}
	for _, b := range cfg.Bypass {
		entry := intercept.Bypass{Prefixes: b.Prefixes}
		if b.Via == config.ViaDirect {
			entry.Service = intercept.Direct
		}
		for _, p := range b.Ports {
			entry.Ports = append(entry.Ports, intercept.PortRange(p))
		}
		c.Bypass = append(c.Bypass, entry)
	}
	return c
}

// openStreams starts the SOCKS5 and HTTP CONNECT servers of the configuration. The interception waits for the exit; that of a crashed
// predecessor would send connections to where nobody listens.
func (g *gateway) openStreams(ctx context.Context) error {
	s := &g.streams
	s.root, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.openCarriers()
	s.setState("waiting for the exit")
	if g.config().Stream.InterceptOff {
		s.setState("off by configuration")
	}
	if err := g.host.unintercept(interceptConfig(g.cfg, g.dev.Name())); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		g.log.Warn("an interception of before may be left", "error", err)
	}
	s.servers, s.proxies = make(map[control.PublicKey]*proxy.Server), make(map[proxyPlace]context.CancelFunc)
	err := g.setProxies(g.config())
	if err != nil {
		s.stop()
		s.clients.Wait()
		err = errors.Join(err, g.closeCarriers())
	}
	return err
}

// closeStreams resets all connections and ends what brings new ones. Connections come first: once the interception has ended, a
// reset no longer finds its way to the client.
func (g *gateway) closeStreams(context.Context) error {
	s := &g.streams
	s.stop()
	err := g.closeCarriers()
	g.flows.end()
	s.clients.Wait()
	return errors.Join(err, g.stopTaking())
}

// gatewayDialer is what the proxies connect with.
type gatewayDialer struct {
	g *gateway
	*dial.Dialer
}

// DialTarget connects by whichever exit everything leaves by.
func (d *gatewayDialer) DialTarget(ctx context.Context, t dial.Target) (dial.Conn, error) {
	return d.g.chosen.Load().dial(ctx, t)
}

// exitDialer is what the proxies of an exit connect with.
type exitDialer struct {
	w         *wayOut
	datagrams *dial.Dialer
}

// DialTarget connects by the exit of the proxy, and by no other.
func (d exitDialer) DialTarget(ctx context.Context, t dial.Target) (dial.Conn, error) {
	return d.w.dial(ctx, t)
}

// dial connects by the exit: by a carrier, or by a stream of the bond.
func (w *wayOut) dial(ctx context.Context, t dial.Target) (dial.Conn, error) {
	if c, err := w.carriers.dialCarried(ctx, t); c != nil || err != nil {
		return c, err
	}
	return dialStream(ctx, w.engine, &w.g.flows, t)
}

// Associate opens a socket whose datagrams go into the exit's own TUN device.
func (d exitDialer) Associate(ctx context.Context) (dial.PacketConn, error) {
	return d.datagrams.Associate(ctx)
}

// followExit makes the interception and the DNS server what the exit of a new session can serve.
func (g *gateway) followExit(a control.Answer) {
	g.followExitDNS(a.Peer, slices.Contains(a.Capabilities, capDNS))
	g.followExitStreams(a.Capabilities)
}

func (g *gateway) followExitStreams(capabilities []string) {
	s := &g.streams
	s.capabilities = capabilities
	switch {
	case g.config().Stream.InterceptOff:
		s.setState("off by configuration")
		return
	case !slices.Contains(capabilities, capStreams):
		if s.taker != nil {
			g.log.Warn("the exit carries no streams (any more); connections go as packets")
			if err := g.stopTaking(); err != nil {
				g.log.Warn("the interception is not all undone", "error", err)
			}
		}
		s.setState("the exit carries no streams")
		return
	}
	ipv6 := slices.Contains(capabilities, capIPv6)
	if s.taker == nil {
		s.ipv6 = false
		taker, err := g.host.intercept(g.interceptConfig())
		if err != nil {
			if state := err.Error(); s.status() != state {
				g.log.Warn("connections are not intercepted and go as packets", "error", err)
				s.setState(state)
			}
			return
		}
		s.taker = taker
		refusals, ended := make(chan refusal, maxRefusals), make(chan struct{})
		s.takes.Go(func() { // joined by stopTaking
			defer close(ended)
			g.take(taker, refusals)
		})
		s.takes.Go(func() { g.remember(taker, refusals, ended) }) // joined by stopTaking
		g.log.Info("connections are carried as streams", "ipv6", ipv6)
	}
	s.setState("on")
	s.ipv6 = ipv6
	if err := s.taker.SetIPv6(ipv6); err != nil && !errors.Is(err, errors.ErrUnsupported) { // that is a machine without IPv6
		g.log.Warn("IPv6 connections go as packets", "error", err)
	}
}

// stopTaking ends the interception. Connections that were taken go on.
func (g *gateway) stopTaking() error {
	s := &g.streams
	if s.taker == nil {
		return nil
	}
	err := s.taker.Close()
	s.takes.Wait()
	s.taker = nil
	return err
}

// take gives a stream to every connection that comes, until the interception ends.
func (g *gateway) take(taker interceptor, refusals chan<- refusal) {
	for {
		c, exit, target, err := taker.Accept()
		if err != nil {
			return // closed; there is no other reason
		}
		b, err := appendTarget(nil, dial.TargetOf(target))
		failed := func(code uint64) {
			if code == tunnel.ResetRefused || code == tunnel.ResetUnreachable {
				select {
				case refusals <- refusal{target, code}:
				default:
				}
			}
		}
		w := g.wayFor(exit)
		if err == nil && w.carriers.take(c, b, failed) {
			continue
		}
		f := newFlow(w.engine, &g.flows, b)
		if err != nil || !g.flows.add(f) {
			abort(c)
			continue
		}
		f.failed = failed
		f.tell() // the opening leaves at once, whether the client says something first or not
		f.start(c)
	}
}

// remember tells the kernel about targets that cannot be reached, until ended is closed.
func (g *gateway) remember(taker interceptor, refusals <-chan refusal, ended <-chan struct{}) {
	for {
		select {
		case r := <-refusals:
			tell := taker.Refused
			if r.code == tunnel.ResetUnreachable {
				tell = taker.Unreachable
			}
			if err := tell(r.target); err != nil {
				g.log.Debug("a refusal is not remembered", "target", r.target, "error", err)
			}
		case <-ended:
			return
		}
	}
}

// checkTaking puts the interception back if somebody else has removed it.
func (g *gateway) checkTaking() {
	s := &g.streams
	if s.taker == nil || !errors.Is(s.taker.SetIPv6(s.ipv6), intercept.ErrRemoved) {
		return
	}
	g.log.Warn("the interception was removed by somebody else; putting it back")
	err := s.taker.Restore()
	if err == nil {
		err = s.taker.SetIPv6(s.ipv6)
	}
	if err != nil {
		g.log.Warn("connections are not intercepted and go as packets", "error", err)
	}
}
