package endpoints

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/control"
)

// servedTime is how long a session has to last for its loss to be a new trouble rather than the old one.
const servedTime = 10 * time.Second

// maxOwnStreams bounds the streams that a gateway opens at a time. It is above what an exit allows by default: how many there may be is
// the exit's to say.
const maxOwnStreams = 16384

// helloOutcome is what a round of hellos came to.
type helloOutcome struct {
	won     *greeting
	remotes remotes // as they were looked up for it
	err     error
}

// helloState is where the gateway stands with its hello. The goroutine of serve owns it.
type helloState struct {
	wg      *sync.WaitGroup
	done    chan helloOutcome
	timer   *time.Timer // runs while a round is to come
	pause   time.Duration
	running bool      // a round is under way
	failed  bool      // the last round failed
	served  bool      // a path of the present session has been proven
	lostAt  time.Time // when the present session was lost last
	since   time.Time // when the present session was made
	said    string    // the last failure that was logged, so that it is logged once
	way     *attempt  // that succeeded last
}

func (h *helloState) init(wg *sync.WaitGroup) {
	h.wg, h.done, h.pause = wg, make(chan helloOutcome), helloPauseFirst
	h.timer = time.NewTimer(time.Hour)
	h.timer.Stop()
}

// soon makes the next round start at once.
func (h *helloState) soon() { h.timer.Reset(0) }

// later makes the next round start after a pause that grows.
func (h *helloState) later() {
	h.timer.Reset(h.pause)
	h.pause = min(2*h.pause, helloPauseLast)
}

// proven notes that a path of the session has come up.
func (h *helloState) proven() { h.said, h.served = "", true }

// lost notes that the session needs a successor. The next round starts at once if it served for a while. If not, it waits: UDP may be
// filtered where TCP is not, or two gateways with the same key may be taking the session from each other.
func (h *helloState) lost() {
	h.lostAt = time.Now()
	long := h.served && time.Since(h.since) >= servedTime
	switch {
	case h.running:
	case long:
		h.pause = helloPauseFirst
		h.soon()
	default:
		h.later()
	}
}

// present is the exit's index of the present session while there is hope for it: streams survive with it. Only the exit knows whether it
// has the session still, so it is asked; when it has, silence is a matter of the paths, which a new session could not help either.
func (g *gateway) present() uint32 {
	if h := &g.hello; !h.served || time.Since(h.lostAt) >= streamGrace {
		return 0
	}
	return g.peer
}

// startHello starts a round unless one is under way or the session is alive.
func (g *gateway) startHello(ctx context.Context) {
	h := &g.hello
	if h.running || g.engine.alive.Load() {
		return
	}
	h.running = true
	present := g.present()
	offer := func() control.Offer { return g.offer(present) }
	greet := &greeter{dial: g.host.dialTCP, own: g.cfg.PrivateKey, exit: g.cfg.Exit.Key, offer: offer}
	snap, rs, way := g.snap, g.remotes, h.way
	ranked := map[string]int{}
	for i, u := range g.ranked() {
		ranked[u.Name] = i
	}
	h.wg.Go(func() { // joined by serve
		rs = rs.lookup(ctx, g.clock.now(), g.host, snap.Uplinks)
		o := helloOutcome{remotes: rs}
		if len(rs.list) == 0 {
			o.err = rs.err
		} else {
			as := attempts(snap, rs.list)
			slices.SortStableFunc(as, func(a, b attempt) int { return cmp.Compare(ranked[a.from.Name], ranked[b.from.Name]) })
			prefer(as, way)
			o.won, o.err = greet.round(ctx, as)
		}
		select {
		case h.done <- o:
		case <-ctx.Done():
		}
	})
}

// helloEnded makes the session of a hello that succeeded, or sets the time for the next one.
func (g *gateway) helloEnded(ctx context.Context, o helloOutcome) {
	h := &g.hello
	h.running, h.failed = false, false
	if !slices.Equal(o.remotes.list, g.remotes.list) {
		g.log.Info("exit found", "addresses", o.remotes.list)
		g.remotes = o.remotes
		g.changed(ctx, g.uses.seen)
	}
	g.remotes = o.remotes
	if o.err == nil && g.engine.alive.Load() {
		return // the old session has come back; the exit forgets the new one
	}
	if o.err == nil && o.won.Answer.Present {
		g.setStatus(func(st *gatewayStatus) { st.rounds++; st.helloErr = nil })
		if g.peer == o.won.Offer.Present {
			h.later() // the session's own probes bring it back; look again whether they have
		} else {
			h.soon() // it ended meanwhile
		}
		return
	}
	if o.err == nil {
		o.err = g.adopt(ctx, o.won)
	}
	g.setStatus(func(st *gatewayStatus) { st.rounds++; st.helloErr = o.err })
	if o.err == nil {
		return
	}
	h.failed = true
	if text := oneLine(o.err); text != h.said && ctx.Err() == nil {
		h.said = text
		g.log.Warn("no hello with the exit; trying on", "error", text)
	}
	h.later()
}

// oneLine puts joined errors on one line.
func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

// adopt makes a session of a greeting and gives it to the engine.
func (g *gateway) adopt(ctx context.Context, won *greeting) error {
	a := won.Answer
	s, err := g.host.newSession(g.clock.now(), g.sessionConfig(won), newRand())
	if err != nil {
		return err
	}
	g.hello.way, g.hello.served, g.hello.since = &won.attempt, false, time.Now()
	g.log.Info("hello", "exit", won.to, "uplink", won.from.Name, "software", a.Software, "suite", won.Suite, "addresses", a.Addresses)
	if !slices.Equal(g.inner, a.Addresses) {
		g.inner = a.Addresses
		if err := g.sync(ctx, g.plan(g.snap)); err != nil {
			g.synced = false
			g.log.Warn("addresses and routes are not all in place; trying again", "error", err)
		}
	}
	old := g.index
	g.index, g.peer = won.Offer.Index, a.Index
	g.demux.addSession(g.index, g.engine) // fails only if the random index was given twice; then the session stays silent and is replaced
	g.setStatus(func(st *gatewayStatus) { st.hello, st.since, st.state, st.reason = won, time.Now(), "connecting", "" })
	g.engine.call(ctx, func(now time.Duration) { g.engine.swap(now, s) })
	if old != 0 {
		g.demux.removeSession(old)
	}
	g.followExit(a.Capabilities)
	g.followExitDNS(a.Peer, slices.Contains(a.Capabilities, capDNS))
	return nil
}

// sessionConfig is that of the session that follows a greeting.
func (g *gateway) sessionConfig(won *greeting) tunnel.Config {
	return tunnel.Config{
		Initiator:  true,
		LocalIndex: won.Offer.Index,
		PeerIndex:  won.Answer.Index,
		Suite:      won.Suite,
		SendSecret: won.SendSecret,
		RecvSecret: won.RecvSecret,
		Limits:     tunnel.Limits{Streams: maxOwnStreams},
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

// The gateway is the owner of its engine.

func (g *gateway) pathUp(*engine) { g.news.tell(func(t *told) { t.up, t.lost = true, "" }) }

func (g *gateway) pathChanged(uplink string, up bool) { g.carriers.pathChanged(uplink, up) }

func (g *gateway) mtuChanged(_ *engine, mtu int) { g.news.tell(func(t *told) { t.mtu = mtu }) }

func (g *gateway) peerClosed(*engine) {
	g.news.tell(func(t *told) { t.up, t.lost, t.gone = false, "closed by the exit", true })
}

func (g *gateway) lost(_ *engine, reason string) {
	g.news.tell(func(t *told) { t.up, t.lost = false, reason })
}
