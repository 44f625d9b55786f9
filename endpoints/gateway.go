package endpoints

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel/control"
)

// syncPause is when a plan that could not be put in place is tried again.
const syncPause = 5 * time.Second

// gateway is the node at home. It keeps one engine for its whole life and gives it a new session whenever the old one is lost.
//
// The goroutine of serve owns everything below; the engine, the hello and the monitor talk to it by channels.
type gateway struct {
	node
	engine *engine
	news   news

	uses    uses
	snap    uplink.Snapshot   // of the uplinks that are not off
	sources map[string]source // open sockets by interface name
	remotes remotes
	inner   []netip.Prefix // given by the exit; empty before the first hello
	synced  bool           // the last plan is in place
	index   uint32         // session index of the present session; 0 before the first
	peer    uint32         // the exit's index of the same; 0 when there is nothing to come back to

	hello    helloState
	dog      watchdog
	streams  gatewayStreams
	carriers gatewayCarriers
	names    names
	forwards atomic.Pointer[forwardTo]
	orders   chan pathOrder // of "bondd path"
	statusMu sync.Mutex
	status   gatewayStatus // guarded by statusMu
}

// source is the socket of an uplink.
type source struct {
	uplink uplink.Uplink
	socket int
}

func newGateway(cfg *config.Config, log *slog.Logger, h *host) *gateway {
	g := &gateway{sources: make(map[string]source), uses: newUses(), orders: make(chan pathOrder)}
	g.node.init(cfg, log, h, patientArrivals)
	g.news.wake = make(chan struct{}, 1)
	return g
}

func (g *gateway) run(ctx context.Context) error {
	return g.live(ctx, []phase{
		g.openNetwork(),
		g.openFirewall(gatewayFirewall(g.cfg)),
		g.openTUN(),
		g.openWatch(watchOptions(g.cfg)),
		{name: "exit address", start: g.firstResolve},
		g.openRoutes(g.plan),
		{name: "port forwards", start: func(context.Context) error { return g.makeForwardTo(g.cfg.Forwards) }},
		{"engine", g.startEngine, g.stopEngine},
		{"streams", g.openStreams, g.closeStreams},
		{"DNS", g.openNames, g.names.end},
		g.openControl(g.report, g.takeOrders),
		g.openWeb(g.report),
	}, g.serve, g.well)
}

func (g *gateway) plan(s uplink.Snapshot) uplink.Plan {
	p := uplink.MakePlan(g.inUse(s), uplink.Want{Role: uplink.Gateway, TUN: g.dev.Name(), TUNAddrs: g.inner})
	if len(g.inner) == 0 {
		p.Notes = nil // before the first hello nothing is said about what will be missing
	}
	if g.host.multipath != nil && g.cfg.Stream.Mode != config.CarryBond {
		p.Items = append(p.Items, mptcpSysctls()...)
	}
	return p
}

// firstResolve looks up the exit while names can still be resolved without the bond. It is no error if that fails.
func (g *gateway) firstResolve(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	g.remotes = newRemotes(slices.Concat(g.cfg.Exit.Addresses, g.cfg.Exit.Relays)).lookup(bounded, g.clock.now(), g.host, g.inUse(g.first).Uplinks)
	return ctx.Err()
}

func (g *gateway) startEngine(context.Context) error {
	g.engine = newEngine("exit", g.clock, g.log, g.dev, g.sockets, &g.drops, g)
	g.demux.setRest(g.engine)
	go g.engine.run() // joined by stopEngine, through done
	g.startReader(patientPackets)
	return nil
}

func (g *gateway) stopEngine(context.Context) error {
	g.engine.stop(closeShutdown, "the gateway ends")
	<-g.engine.done
	g.sockets.closeAll()
	return nil
}

// serve keeps uplinks, paths and session right until ctx ends.
func (g *gateway) serve(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	snapshots := make(chan uplink.Snapshot)
	wg.Go(func() { g.watch(ctx, snapshots) }) // joined by this call
	g.hello.init(&wg)
	g.dog.open(g, &wg)
	defer g.dog.close(g)
	g.changed(ctx, g.first)
	defer g.hello.timer.Stop()
	g.startHello(ctx)
	tick := time.NewTicker(healthTick)
	defer tick.Stop()
	retry := time.NewTimer(syncPause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-snapshots:
			g.changed(ctx, s)
		case <-g.news.wake:
			g.hear(ctx)
		case o := <-g.hello.done:
			g.helloEnded(ctx, o)
		case <-g.hello.timer.C:
			g.startHello(ctx)
		case <-tick.C:
			g.tick(ctx)
		case a := <-g.dog.answers:
			g.answered(a)
		case o := <-g.orders:
			o.done <- g.obey(ctx, o)
		case <-retry.C:
			if !g.synced || g.drains() {
				g.changed(ctx, g.uses.seen)
			}
			g.checkTaking()
			retry.Reset(syncPause)
		case r := <-g.reloads.due:
			r.done <- g.apply(ctx, r)
		case b := <-g.beats:
			close(b)
		}
	}
}

// changed brings sockets, routes and paths in line with a new snapshot. What is lost is told to the session first, for
// routes take a moment; what is new is used only once its routes are there.
func (g *gateway) changed(ctx context.Context, seen uplink.Snapshot) {
	s := g.see(seen)
	g.logUplinks(s)
	g.snap = s
	stale, complete := g.openSources(ctx)
	want := g.wanted()
	g.engine.in.post(func(now time.Duration) { g.engine.paths.suspect(now, g.engine, want) })
	err := g.sync(ctx, g.plan(s))
	if err != nil && ctx.Err() == nil {
		g.log.Warn("addresses and routes are not all in place; trying again", "error", err)
	}
	g.synced = err == nil && complete
	g.engine.call(ctx, func(now time.Duration) { g.engine.paths.set(now, g.engine, want) })
	for _, socket := range stale {
		g.sockets.close(socket)
	}
	g.setStatus(func(st *gatewayStatus) { st.uplinks, st.remotes = g.uplinkStatus(), g.remotes.list })
	g.carriers.see(s, g.remotes.list, nil)
	if g.hello.failed && !g.hello.running {
		g.hello.soon() // perhaps an uplink came: do not wait out the pause
	}
}

// logUplinks logs what came, went, or changed between usable and not.
func (g *gateway) logUplinks(s uplink.Snapshot) {
	can := func(u uplink.Uplink) bool { return u.Usable4() || u.Usable6() }
	for _, u := range s.Uplinks {
		old, had := g.snap.Find(u.Name)
		if can(u) && !(had && can(old)) {
			g.log.Info("uplink usable", "uplink", u.Name, "addresses", u.Addrs)
		}
	}
	for _, old := range g.snap.Uplinks {
		u, has := s.Find(old.Name)
		if can(old) && !(has && can(u)) {
			g.log.Info("uplink lost", "uplink", old.Name)
		}
	}
}

// hear takes what the engine has told since the last time.
func (g *gateway) hear(ctx context.Context) {
	n := g.news.take()
	if n.mtu != 0 && g.cfg.TUN.MTU == 0 {
		g.setMTU(ctx, n.mtu)
	}
	if n.up {
		g.hello.proven()
		g.setState("up", "")
	}
	if n.gone {
		g.peer = 0
	}
	if n.lost != "" {
		g.log.Warn("the bond is down", "reason", n.lost)
		g.setState("down", n.lost)
		g.hello.lost()
	}
}

// setMTU changes the MTU of the TUN device.
func (g *gateway) setMTU(ctx context.Context, mtu int) {
	if g.changeMTU(mtu) {
		if err := g.sync(ctx, g.plan(g.snap)); err != nil {
			g.synced = false
		}
	}
}

// offer is what this gateway says in a hello. present is the exit's index of the session it has, or 0.
func (g *gateway) offer(present uint32) control.Offer {
	return control.Offer{
		Software:       software(),
		Index:          g.newIndex(),
		AESAccelerated: control.AESAccelerated(),
		Capabilities:   []string{capStreams},
		Present:        present,
	}
}
