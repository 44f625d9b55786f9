package endpoints

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
)

// syncPause is when a plan that could not be put in place is tried again.
const syncPause = 5 * time.Second

// gateway is the node at home. It owns the uplinks and what this machine has of the bond; what belongs to an exit is a wayOut.
//
// The goroutine of serve owns everything below; the engines, the hellos and the monitor talk to it by channels.
type gateway struct {
	node
	ways   []*wayOut              // in the order of the configuration; constant
	chosen atomic.Pointer[wayOut] // by which everything leaves; set by serve
	wake   chan struct{}          // an engine has told something
	greets chan helloOutcome      // rounds that have ended

	failover failover // of those that take over from each other

	uses    uses
	snap    uplink.Snapshot   // of the uplinks that are not off
	sources map[string]source // open sockets by interface name
	synced  bool              // the last plan is in place
	walled  bool              // so is the nftables table

	dog       watchdog
	streams   gatewayStreams
	endpoints sharedEndpoints
	names     names
	forwards  atomic.Pointer[forwardTo]
	orders    chan pathOrder // of "bondd path"
	statusMu  sync.Mutex
	status    gatewayStatus // guarded by statusMu
}

// source is the socket of an uplink.
type source struct {
	uplink uplink.Uplink
	socket int
}

func newGateway(cfg *config.Config, log *slog.Logger, h *host) *gateway {
	g := &gateway{sources: make(map[string]source), uses: newUses(), walled: true, orders: make(chan pathOrder)}
	g.node.init(cfg, log, h, patientArrivals)
	g.wake, g.greets = make(chan struct{}, 1), make(chan helloOutcome)
	for _, x := range cfg.Exits() {
		g.ways = append(g.ways, newWayOut(g, x))
	}
	g.openFailover()
	g.chosen.Store(g.ways[0])
	return g
}

func (g *gateway) run(ctx context.Context) error {
	return g.live(ctx, []phase{
		g.openNetwork(),
		g.openFirewall(gatewayFirewall(g.cfg, func(int) bool { return false })),
		g.openTUN(),
		g.openExitTUNs(),
		g.openWatch(watchOptions(g.cfg)),
		{name: "exit address", start: g.firstResolve},
		g.openRoutes(g.plan),
		{name: "port forwards", start: func(context.Context) error { return g.makeForwardTo(g.cfg.Forwards) }},
		{"engine", g.startEngines, g.stopEngines},
		{"streams", g.openStreams, g.closeStreams},
		{"DNS", g.openNames, g.names.end},
		g.openControl(g.report, g.takeOrders),
		g.openWeb(g.report),
	}, g.serve, g.well)
}

func (g *gateway) plan(s uplink.Snapshot) uplink.Plan {
	p := uplink.MakePlan(g.inUse(s), uplink.Want{Role: uplink.Gateway, TUN: g.dev.Name(), TUNAddrs: g.chosen.Load().inner, Exits: g.exitTUNs()})
	if len(g.chosen.Load().inner) == 0 {
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
	for _, w := range g.ways {
		w.remotes = w.remotes.lookup(bounded, g.clock.now(), g.host, g.inUse(g.first).Uplinks)
	}
	return ctx.Err()
}

func (g *gateway) startEngines(context.Context) error {
	for _, w := range g.ways {
		w.engine = newEngine(w.name, g.clock, g.log, g.deviceOf(w), g.sockets, &g.drops, w)
		go w.engine.run() // joined by stopEngines, through done
	}
	g.demux.setRest(g.chosen.Load().engine)
	g.startReader(patientPackets)
	for _, w := range g.ways {
		if w.tun() != nil {
			g.readExitTUN(w)
		}
	}
	return nil
}

func (g *gateway) stopEngines(context.Context) error {
	for _, w := range g.ways {
		w.engine.stop(closeShutdown, "the gateway ends")
	}
	for _, w := range g.ways {
		<-w.engine.done
	}
	g.sockets.closeAll()
	return nil
}

// serve keeps uplinks, paths and session right until ctx ends.
func (g *gateway) serve(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	snapshots := make(chan uplink.Snapshot)
	wg.Go(func() { g.watch(ctx, snapshots) }) // joined by this call
	g.dog.open(g, &wg)
	defer g.dog.close(g)
	g.changed(ctx, g.first)
	for _, w := range g.ways {
		w.hello.init(&wg)
	}
	g.publishRules()
	g.ways[0].rouse()
	g.chooseExit(ctx)
	hello := time.NewTimer(0)
	defer hello.Stop()
	tick := time.NewTicker(healthTick)
	defer tick.Stop()
	retry := time.NewTimer(syncPause)
	defer retry.Stop()
	for {
		g.setHelloTimer(hello)
		select {
		case <-ctx.Done():
			return
		case s := <-snapshots:
			g.changed(ctx, s)
		case <-g.wake:
			for _, w := range g.ways {
				w.hear(ctx)
			}
			g.chooseExit(ctx)
		case o := <-g.greets:
			o.way.helloEnded(ctx, o)
		case <-hello.C:
			g.startHellos(ctx)
		case <-tick.C:
			g.tick(ctx)
			g.chooseExit(ctx)
		case a := <-g.dog.answers:
			g.answered(a)
		case o := <-g.orders:
			o.done <- g.obey(ctx, o)
		case <-retry.C:
			if !g.synced || g.drains() {
				g.changed(ctx, g.uses.seen)
			}
			if !g.walled {
				g.setFirewall()
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
	for _, w := range g.ways {
		want := g.wanted(w)
		w.engine.in.post(func(now time.Duration) { w.engine.paths.suspect(now, w.engine, want) })
	}
	err := g.sync(ctx, g.plan(s))
	if err != nil && ctx.Err() == nil {
		g.log.Warn("addresses and routes are not all in place; trying again", "error", err)
	}
	g.synced = err == nil && complete
	for _, w := range g.ways {
		want := g.wanted(w)
		w.engine.call(ctx, func(now time.Duration) { w.engine.paths.set(now, w.engine, want) })
	}
	for _, socket := range stale {
		g.sockets.close(socket)
	}
	g.setStatus(func(st *gatewayStatus) { st.uplinks = g.uplinkStatus() })
	for _, w := range g.ways {
		w.carriers.see(s, nil)
		w.setStatus(func(st *wayStatus) { st.remotes = w.remotes.list })
		if w.awake && w.hello.failed && !w.hello.running {
			w.hello.soon() // perhaps an uplink came: do not wait out the pause
		}
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

// setMTU makes the MTU of the TUN device what the paths of the way out allow.
func (g *gateway) setMTU(ctx context.Context, mtu int) {
	if g.cfg.TUN.MTU == 0 && g.changeMTU(g.dev, mtu) {
		if err := g.sync(ctx, g.plan(g.snap)); err != nil {
			g.synced = false
		}
	}
}
