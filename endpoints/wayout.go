package endpoints

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/tunnel/control"
)

// wayOut is an exit as a gateway has it: an engine for its whole life, which gets a new session whenever the old one is lost, and the hello
// that makes it. The goroutine of serve owns it, except where it says otherwise.
type wayOut struct {
	// Constant once the engines run.
	g       *gateway
	name    string
	key     control.PublicKey
	engine  *engine
	apart   bool                       // it never takes over for another
	proxied bool                       // it has proxies of its own, so it has a session all the time
	own     atomic.Pointer[tun.Device] // its own TUN device; nil: none. Set once, by serve or before it
	after   time.Duration              // how long it may be out of reach before another takes over

	news     news // of the engine
	remotes  remotes
	inner    []netip.Prefix // given by the exit; empty before the first hello
	answer   control.Answer // of the last hello
	index    uint32         // session index of the present session; 0: there is none
	peer     uint32         // the exit's index of the same; 0 when there is nothing to come back to
	mtu      int            // of the inner packets, as the paths allow; 0: not known
	up       bool           // a path of the present session answers
	awake    bool           // it is to have a session
	partAt   time.Time      // since when it is not; zero: it is
	hello    helloState
	ruled    bool // a rule names it, so it has a session all the time
	reach    exitReach
	carriers gatewayCarriers
	status   wayStatus // guarded by g.statusMu
}

// wayStatus is what serve publishes of a way out for report.
type wayStatus struct {
	remotes  []netip.AddrPort
	state    string
	reason   string
	hello    *greeting // of the present session
	since    time.Time
	rounds   int
	helloErr error
}

func newWayOut(g *gateway, x config.Exit) *wayOut {
	w := &wayOut{g: g, name: x.Title(), key: x.Key, apart: x.Apart, proxied: len(x.SOCKS)+len(x.HTTP) > 0, after: x.FailoverAfter, remotes: newRemotes(remotesOf(x))}
	w.news.wake = g.wake
	w.reach.after = w.after
	return w
}

// remotesOf are the addresses by which an exit is reached.
func remotesOf(x config.Exit) []config.Address { return slices.Concat(x.Addresses, x.Relays) }

// isChosen tells whether everything leaves by this way.
func (w *wayOut) isChosen() bool { return w.g.chosen.Load() == w }

func (w *wayOut) setStatus(f func(st *wayStatus)) {
	w.g.statusMu.Lock()
	defer w.g.statusMu.Unlock()
	f(&w.status)
}

func (w *wayOut) setState(state, reason string) {
	w.setStatus(func(st *wayStatus) { st.state, st.reason = state, reason })
}

// hear takes what the engine has told since the last time.
func (w *wayOut) hear(ctx context.Context) {
	n := w.news.take()
	if n.mtu != 0 {
		if w.mtu = n.mtu; w.isChosen() {
			w.g.setMTU(ctx, n.mtu)
		}
		w.setOwnMTU(ctx)
	}
	if n.up && w.awake {
		w.up = true
		w.hello.proven()
		w.setState("up", "")
	}
	if n.gone {
		w.peer = 0
	}
	if n.lost != "" {
		w.up = false
		w.g.log.Warn("the bond is down", "exit", w.name, "reason", n.lost)
		w.setState("down", n.lost)
		w.hello.lost()
	}
}

// setOwnMTU makes the MTU of the exit's own device what its paths allow.
func (w *wayOut) setOwnMTU(ctx context.Context) {
	if dev := w.tun(); dev != nil && w.mtu != 0 && w.g.cfg.TUN.MTU == 0 && w.g.changeMTU(dev, w.mtu) {
		w.g.route(ctx)
	}
}

// route puts the routes and inner addresses of the way out in place.
func (g *gateway) route(ctx context.Context) {
	if err := g.sync(ctx, g.plan(g.snap)); err != nil {
		g.synced = false
		g.log.Warn("addresses and routes are not all in place; trying again", "error", err)
	}
}

// news is what an engine has told and serve has not yet heard.
type news struct {
	wake chan struct{}
	mu   sync.Mutex
	told told
}

type told struct {
	up   bool
	lost string
	gone bool // the session has ended
	mtu  int
}

func (n *news) tell(f func(t *told)) {
	n.mu.Lock()
	f(&n.told)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) take() told {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.told
	n.told = told{}
	return t
}

// A way out is the owner of its engine.

func (w *wayOut) pathUp(*engine) { w.news.tell(func(t *told) { t.up, t.lost = true, "" }) }

func (w *wayOut) pathChanged(uplink string, up bool) {
	w.carriers.pathChanged(uplink, up)
}

func (w *wayOut) mtuChanged(_ *engine, mtu int) { w.news.tell(func(t *told) { t.mtu = mtu }) }

func (w *wayOut) peerClosed(*engine) {
	w.news.tell(func(t *told) { t.up, t.lost, t.gone = false, "closed by the exit", true })
}

func (w *wayOut) lost(_ *engine, reason string) {
	w.news.tell(func(t *told) { t.up, t.lost = false, reason })
}
