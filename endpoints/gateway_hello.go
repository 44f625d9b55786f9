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
	way     *wayOut
	won     *greeting
	remotes remotes // as they were looked up for it
	err     error
}

// helloState is where the gateway stands with its hello to an exit. The goroutine of serve owns it.
type helloState struct {
	wg      *sync.WaitGroup
	next    time.Time // when the next round is to start; zero: not at all
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
	h.wg, h.pause = wg, helloPauseFirst
}

// soon makes the next round start at once.
func (h *helloState) soon() { h.next = time.Now() }

// later makes the next round start after a pause that grows.
func (h *helloState) later() {
	h.next = time.Now().Add(h.pause)
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
func (w *wayOut) present() uint32 {
	if h := &w.hello; !h.served || time.Since(h.lostAt) >= streamGrace {
		return 0
	}
	return w.peer
}

// setHelloTimer makes the timer run until the next round of any way out.
func (g *gateway) setHelloTimer(t *time.Timer) {
	t.Stop()
	var next time.Time
	for _, w := range g.ways {
		if at := w.hello.next; !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if !next.IsZero() {
		t.Reset(time.Until(next))
	}
}

// startHellos starts the rounds that are due.
func (g *gateway) startHellos(ctx context.Context) {
	for _, w := range g.ways {
		if at := w.hello.next; !at.IsZero() && time.Until(at) <= 0 {
			w.hello.next = time.Time{}
			w.startHello(ctx)
		}
	}
}

// startHello starts a round unless one is under way or the session is alive.
func (w *wayOut) startHello(ctx context.Context) {
	g, h := w.g, &w.hello
	if h.running || !w.awake || w.engine.alive.Load() {
		return
	}
	h.running = true
	present := w.present()
	greet := w.greeter(present)
	snap, rs, way := g.snap, w.remotes, h.way
	ranked := map[string]int{}
	for i, u := range g.ranked() {
		ranked[u.Name] = i
	}
	h.wg.Go(func() { // joined by serve
		rs = rs.lookup(ctx, g.clock.now(), g.host, snap.Uplinks)
		o := helloOutcome{way: w, remotes: rs}
		if len(rs.list) == 0 {
			o.err = rs.err
		} else {
			as := attempts(snap, rs.list)
			slices.SortStableFunc(as, func(a, b attempt) int { return cmp.Compare(ranked[a.from.Name], ranked[b.from.Name]) })
			prefer(as, way)
			o.won, o.err = greet.round(ctx, as)
		}
		select {
		case g.greets <- o:
		case <-ctx.Done():
		}
	})
}

// greeter is who says hello to the exit. present is the exit's index of the session it may have still, or 0.
func (w *wayOut) greeter(present uint32) *greeter {
	offer := func() control.Offer {
		return control.Offer{
			Software:       software(),
			Index:          w.g.newIndex(),
			AESAccelerated: control.AESAccelerated(),
			Capabilities:   gatewayCapabilities(w.g.cfg),
			Present:        present,
		}
	}
	return &greeter{dial: w.g.host.dialTCP, own: w.g.cfg.PrivateKey, exit: w.key, offer: offer}
}

// helloEnded makes the session of a hello that succeeded, or sets the time for the next one.
func (w *wayOut) helloEnded(ctx context.Context, o helloOutcome) {
	g, h := w.g, &w.hello
	h.running, h.failed = false, false
	if !slices.Equal(o.remotes.list, w.remotes.list) {
		g.log.Info("exit found", "exit", w.name, "addresses", o.remotes.list)
		w.remotes = o.remotes
		g.changed(ctx, g.uses.seen)
	}
	w.remotes = o.remotes
	if !w.awake {
		return // it is not needed any more; the exit forgets the session
	}
	if o.err == nil && w.engine.alive.Load() {
		return // the old session has come back; the exit forgets the new one
	}
	if o.err == nil && o.won.Answer.Present {
		w.setStatus(func(st *wayStatus) { st.rounds++; st.helloErr = nil })
		if w.peer == o.won.Offer.Present {
			h.later() // the session's own probes bring it back; look again whether they have
		} else {
			h.soon() // it ended meanwhile
		}
		return
	}
	if o.err == nil {
		o.err = w.adopt(ctx, o.won)
	}
	w.setStatus(func(st *wayStatus) { st.rounds++; st.helloErr = o.err })
	if o.err == nil {
		return
	}
	h.failed = true
	if text := oneLine(o.err); text != h.said && ctx.Err() == nil {
		h.said = text
		g.log.Warn("no hello with the exit; trying on", "exit", w.name, "error", text)
	}
	h.later()
}

// oneLine puts joined errors on one line.
func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

// adopt makes a session of a greeting and gives it to the engine.
func (w *wayOut) adopt(ctx context.Context, won *greeting) error {
	g, a := w.g, won.Answer
	s, err := g.host.newSession(g.clock.now(), sessionConfig(won), newRand())
	if err != nil {
		return err
	}
	w.up = false
	w.hello.way, w.hello.served, w.hello.since = &won.attempt, false, time.Now()
	g.log.Info("hello", "exit", w.name, "at", won.to, "uplink", won.from.Name, "software", a.Software, "suite", won.Suite, "addresses", a.Addresses)
	moved := !slices.Equal(w.inner, a.Addresses)
	w.inner, w.answer = a.Addresses, a
	if moved && (w.isChosen() || w.tun() != nil) {
		g.route(ctx)
	}
	old := w.index
	w.index, w.peer = won.Offer.Index, a.Index
	g.demux.addSession(w.index, w.engine) // fails only if the random index was given twice; then the session stays silent and is replaced
	w.setStatus(func(st *wayStatus) { st.hello, st.since, st.state, st.reason = won, time.Now(), "connecting", "" })
	w.engine.call(ctx, func(now time.Duration) { w.engine.swap(now, s) })
	if old != 0 {
		g.demux.removeSession(old)
	}
	w.carriers.see(g.snap, append([]string{}, a.Capabilities...))
	if w.isChosen() {
		g.followExit(a)
	}
	if w.tun() != nil {
		if err := g.updateTaking(); err != nil {
			g.log.Warn("connections for an exit go as packets", "exit", w.name, "error", err)
		}
	}
	return nil
}

// sessionConfig is that of the session that follows a greeting.
func sessionConfig(won *greeting) tunnel.Config {
	return tunnel.Config{
		Initiator:  true,
		LocalIndex: won.Offer.Index,
		PeerIndex:  won.Answer.Index,
		Suite:      won.Suite,
		SendSecret: won.SendSecret,
		RecvSecret: won.RecvSecret,
		Policy:     policyIn(won.Offer.Capabilities),
		Limits:     tunnel.Limits{Streams: maxOwnStreams},
	}
}
