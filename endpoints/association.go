package endpoints

import (
	"crypto/subtle"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/control"
)

const (
	// proveTime is how long a new session may take to prove a path. Hellos that lost a race at the gateway end so.
	proveTime = 10 * time.Second
	// lingerTime is how long a session without any path is kept. A gateway whose uplinks are all out for so long comes back to it, and
	// finds its streams.
	lingerTime = streamGrace
	// maxPending bounds the sessions of one gateway that are not proven.
	maxPending = 16
)

// association is a session at the exit, with what the exit knows of it.
//
//	hello ──► pending ── first path proven ──► current ── a newer one is proven ──► ended
//	             └── proveTime ──► ended            └── closed by the peer, or lingerTime without a path ──► ended
//
// Only a proven session takes the gateway's inner addresses from its predecessor: a gateway races several hellos, and takes one of
// those that succeed.
type association struct {
	// Constant.
	x       *exit
	engine  *engine
	gateway *config.Gateway
	result  *control.Result
	remote  netip.AddrPort // where the hello came from
	index   uint32
	birth   uint64 // counts the associations of the exit
	since   time.Time

	// Guarded by x.mu.
	current bool
	over    bool // its engine has been told to stop
	mtu     int
	expiry  *time.Timer
}

// admit makes a session of a hello that succeeded and starts its engine.
func (x *exit) admit(r *control.Result, remote netip.AddrPort) error {
	g := x.gatewayOf(r.PeerKey)
	if g == nil || !slices.Equal(g.Addresses, r.Answer.Addresses) {
		return errors.New("the configuration has changed during the hello")
	}
	s, err := x.host.newSession(x.clock.now(), tunnel.Config{
		LocalIndex: r.Answer.Index,
		PeerIndex:  r.Offer.Index,
		Suite:      r.Suite,
		SendSecret: r.SendSecret,
		RecvSecret: r.RecvSecret,
		Sources:    g.Addresses,
		Policy:     policyIn(r.Offer.Capabilities),
		Limits:     x.streamLimits(g.Key),
	}, newRand())
	if err != nil {
		return err
	}
	a := &association{x: x, gateway: g, result: r, remote: remote, index: r.Answer.Index, since: time.Now()}
	e := newEngine(g.Name, x.clock, x.log, x.dev, x.sockets, &x.drops, a)
	a.engine = e

	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ending || !x.demux.addSession(a.index, e) {
		return nil // the gateway will notice that nothing answers
	}
	x.births++
	a.birth = x.births
	x.bound(g)
	x.sessions = append(x.sessions, a)
	a.expiry = time.AfterFunc(proveTime, func() { x.expire(a) })
	e.in.post(func(now time.Duration) { e.swap(now, s) })
	x.engineWG.Go(func() { // joined by stopSessions
		e.run()
		x.ended(a)
	})
	return nil
}

// bound ends the oldest pending session of a gateway that has too many. Called with x.mu held.
func (x *exit) bound(g *config.Gateway) {
	var oldest *association
	n := 0
	for _, a := range x.sessions {
		if a.gateway.Key == g.Key && !a.current && !a.over {
			if n++; oldest == nil {
				oldest = a
			}
		}
	}
	if n >= maxPending {
		oldest.end(closeGone, "too many sessions")
	}
}

// end makes the engine stop. Called with x.mu held.
func (a *association) end(code uint64, reason string) {
	a.over = true
	a.engine.stop(code, reason)
}

// gatewayOf finds a gateway by its key; nil for a stranger.
func (x *exit) gatewayOf(key control.PublicKey) *config.Gateway {
	list := x.config().Gateways
	for i := range list {
		if g := &list[i]; subtle.ConstantTimeCompare(g.Key[:], key[:]) == 1 {
			return g
		}
	}
	return nil
}

// has tells whether a gateway has the session with that index here, proven and not ended.
func (x *exit) has(g *config.Gateway, index uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc(x.sessions, func(a *association) bool {
		return a.gateway.Key == g.Key && a.index == index && a.current && !a.over
	})
}

// pathUp makes a session the current one of its gateway and ends its predecessors. It runs on the engine's goroutine.
func (a *association) pathUp(*engine) {
	x := a.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if a.current || a.over {
		return
	}
	a.current = true
	a.expiry.Stop()
	x.demux.setInner(a.gateway.Addresses, a.engine)
	x.log.Info("gateway connected", "gateway", a.gateway.Name, "from", a.remote, "software", a.result.Offer.Software,
		"suite", a.result.Suite, "addresses", a.gateway.Addresses)
	for _, o := range x.sessions {
		if o.gateway.Key == a.gateway.Key && o.birth < a.birth {
			o.end(closeReplaced, "replaced by a newer session of the same gateway")
		}
	}
	x.knock()
}

func (a *association) pathChanged(string, bool) {}

func (a *association) mtuChanged(_ *engine, mtu int) {
	a.x.mu.Lock()
	a.mtu = mtu
	a.x.mu.Unlock()
	a.x.knock()
}

// lost gives a session without paths its time to come back.
func (a *association) lost(*engine, string) {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if a.current {
		a.expiry.Reset(lingerTime)
	}
}

func (a *association) peerClosed(e *engine) { e.stop(closeGone, "") }

// expire ends a session that is neither proven in time nor back in time. It runs in the goroutine of a timer.
func (x *exit) expire(a *association) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !a.current || !a.engine.alive.Load() {
		a.end(closeGone, "nothing was heard for too long")
	}
}

// ended forgets a session whose engine has returned.
func (x *exit) ended(a *association) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a.expiry.Stop()
	x.demux.removeSession(a.index)
	x.sessions = slices.DeleteFunc(x.sessions, func(o *association) bool { return o == a })
	if !a.current {
		return
	}
	x.demux.releaseInner(a.gateway.Addresses, a.engine)
	if !slices.ContainsFunc(x.sessions, func(o *association) bool { return o.current && o.gateway.Key == a.gateway.Key }) {
		x.log.Info("gateway gone", "gateway", a.gateway.Name)
	}
	x.knock()
}
