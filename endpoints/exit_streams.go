package endpoints

import (
	"cmp"
	"context"
	"net"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/control"
)

// Capabilities that an exit states in its hello.
const (
	capStreams = "streams" // it carries TCP connections as streams
	capIPv6    = "ipv6"    // and reaches IPv6 destinations
	capBench   = "bench "  // and serves measurements at the address and port that follow
)

// targetDialer is what is used of a dial.Dialer.
type targetDialer interface {
	DialTarget(ctx context.Context, t dial.Target) (dial.Conn, error)
}

// exitStreams is what an exit needs to carry connections.
type exitStreams struct {
	dialers atomic.Pointer[dialers]
	ipv6    atomic.Bool  // this machine reaches IPv6 destinations
	bench   *benchTarget // nil unless measurements are served; constant after openBench
}

// dialers are those of each gateway, and are not changed once they are made.
type dialers map[control.PublicKey]targetDialer

// newDialers makes the dialer of each gateway, with its policy and its limits.
func (x *exit) newDialers(context.Context) error {
	x.seeIPv6(x.first)
	made, err := x.makeDialers(x.config(), nil)
	x.streams.dialers.Store(&made)
	return err
}

// dialerOf is the dialer of a gateway; nil if it may open no streams.
func (s *exitStreams) dialerOf(key control.PublicKey) targetDialer {
	if m := s.dialers.Load(); m != nil {
		return (*m)[key]
	}
	return nil
}

// makeDialers makes the dialers for a configuration. Those of gateways for which nothing is different from old are kept, and with them the count of
// their connections.
func (x *exit) makeDialers(cfg, old *config.Config) (dialers, error) {
	made := make(dialers)
	if cfg.Stream.Off {
		return made, nil
	}
	for _, g := range cfg.Gateways {
		options := dialOptions(cfg.Stream.Of(&g))
		if had := x.streams.dialerOf(g.Key); old != nil && had != nil {
			for _, o := range old.Gateways {
				if o.Key == g.Key && reflect.DeepEqual(dialOptions(old.Stream.Of(&o)), options) {
					made[g.Key] = had
				}
			}
		}
		if made[g.Key] == nil {
			d, err := x.host.newDialer(options)
			if err != nil {
				return made, err
			}
			if at := benchAddr(x.cfg); at.IsValid() {
				d = benchDialer{d, at, &x.streams}
			}
			made[g.Key] = d
		}
	}
	return made, nil
}

// dialOptions are what the configuration allows a gateway. Connections of its session and of its carriers are dialled by the same dialer, so
// max_streams holds for both together.
func dialOptions(s config.Stream) dial.Options {
	o := dial.Options{Allow: s.Allow, Deny: s.Deny, MaxOpen: cmp.Or(s.MaxStreams, defaultStreams), Rate: float64(s.MaxRate)}
	if o.Rate > 0 {
		o.Burst = max(1, o.Rate*dial.DefaultBurst/dial.DefaultRate)
	}
	return o
}

// streamLimits are those of one session of a gateway, whose carriers have the rest of its memory.
func (x *exit) streamLimits(g *config.Gateway) tunnel.Limits {
	return tunnel.Limits{Streams: x.config().Stream.Of(g).MaxStreams, StreamBytes: x.sessionMemory(g.Key, x.carriers.taken(g.Key))}
}

// seeIPv6 notes whether this machine has IPv6 to the world.
func (x *exit) seeIPv6(s uplink.Snapshot) {
	has := false
	for _, u := range s.Uplinks {
		has = has || u.Up && u.Default6 && u.Source6.IsGlobalUnicast() && !u.Source6.IsPrivate()
	}
	x.streams.ipv6.Store(has)
}

// capabilities are what this exit can do for a gateway.
func (x *exit) capabilities() []string {
	var list []string
	if x.answersDNS {
		list = append(list, capDNS)
	}
	if x.config().Stream.Off {
		return list
	}
	list = append(list, capStreams)
	if x.streams.ipv6.Load() {
		list = append(list, capIPv6)
	}
	if at := benchAddr(x.cfg); at.IsValid() {
		list = append(list, capBench+at.String())
	}
	list = append(list, x.host.carrierCapabilities()...)
	if len(x.config().Stream.Announce) > 0 && x.paths != nil {
		list = append(list, capAnnounces)
	}
	return list
}

// streamOpened connects to the target of a stream. It runs on the engine's goroutine; the dial has one of its own, bounded by the
// streams that a session may have and by the limits of the dialer.
func (a *association) streamOpened(e *engine, now time.Duration, id tunnel.StreamID, target []byte) {
	t, err := parseTarget(target)
	d := a.x.streams.dialerOf(a.gateway.Key)
	if err != nil {
		d = nil
	}
	e.dialFor(now, id, &a.x.flows, d, t)
}

// dialFor gives a stream of the peer's a flow of the set, and has its target dialled; without a dialer it is forbidden.
func (e *engine) dialFor(now time.Duration, id tunnel.StreamID, flows *flowSet, d targetDialer, t dial.Target) {
	if d == nil {
		flows.refuse(tunnel.ResetForbidden)
		e.s.StreamReset(now, id, tunnel.ResetForbidden)
		return
	}
	f := newFlow(e, flows, nil)
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	if !flows.add(f) || !flows.run(func() { f.answered(d.DialTarget(ctx, t)) }) {
		cancel()
		flows.remove(f)
		e.s.StreamReset(now, id, tunnel.ResetSession)
		return
	}
	e.join(f, id)
}

// dialAnswer is what a dial came to.
type dialAnswer struct {
	conn dial.Conn // nil after an error
	err  error
}

// answered gives the engine what the dial of a flow came to.
func (f *flow) answered(c dial.Conn, err error) {
	f.mu.Lock()
	over := f.over
	if over {
		f.undial(c)
	} else {
		f.answer = &dialAnswer{c, err}
	}
	f.mu.Unlock()
	f.cancel()
	if !over {
		f.tell()
	}
}

// undial ends a flow that never had a connection. c, if there is one, came too late. Called with mu held.
func (f *flow) undial(c net.Conn) {
	if c != nil {
		abort(c)
	}
	f.dropChain()
	f.set.remove(f)
}

// dialled starts a flow whose target was reached, and tells the peer, or that it was not.
func (e *engine) dialled(now time.Duration, f *flow, a *dialAnswer) {
	if a.err != nil {
		code := resetCodes[dial.CodeOf(a.err)]
		e.s.StreamReset(now, f.id, code)
		e.lose(f, code)
		f.mu.Lock()
		f.undial(nil)
		f.mu.Unlock()
		return
	}
	f.connect()
	f.set.opened.Add(1)
	e.s.StreamAccept(now, f.id)
	f.start(a.conn)
}
