package endpoints

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/carrier"
	"github.com/bondd/bondd/tunnel/control"
)

const (
	// poolWarm is how many carriers wait for connections: what a page opens at once, mostly. poolMax bounds them all.
	poolWarm = 4
	poolMax  = 64
	// carryTick is how often the choice is looked at, viewEvery how often the exit is asked for its view.
	carryTick = time.Second
	viewEvery = 5 * time.Second
	// viewTime bounds a question to the exit, carrierTime the making of a carrier: TCP and TLS are two round trips, and a lost SYN costs a second.
	viewTime    = 3 * time.Second
	carrierTime = 6 * time.Second
	// lastResortAfter is how long the bond has to be without a path before connections go by carriers for that reason.
	lastResortAfter = 2 * time.Second
	// failAfter is how long a suspect path is given, at least, before its uplink is taken from the kernel: one that has lost a probe or is
	// late, as on a busy machine, has answered by then, or the kernel's own subflows have moved something.
	failAfter = 60 * time.Millisecond
	// failLooks is how often it is looked at again: what is in queues arrives for a while, and the other uplinks may be without a path for a moment.
	failLooks = 16
	// wellAfter is how long a path that had failed has to answer before the kernel may use its uplink again.
	wellAfter = time.Second
)

// gatewayCarriers decides what carries TCP connections to one exit, and keeps carriers and MPTCP endpoints for it. The goroutine of run owns it,
// except where it says otherwise.
type gatewayCarriers struct {
	g       *gateway
	way     *wayOut       // whose exit they go to; constant
	needed  atomic.Bool   // connections go to that exit
	pool    *carrier.Pool // nil: there are no carriers; constant after open
	support mptcp.Support
	manager endpointManager // nil: none, or not before it is needed
	denied  string          // why there is no manager
	ctx     context.Context // of all that runs here
	cancel  context.CancelFunc
	wg      sync.WaitGroup // run, and the checks it starts
	begun   time.Time

	use    atomic.Bool // new connections go by carriers
	share  atomic.Bool // also several on one
	last   atomic.Bool // the bond is of no use: carriers are waited for
	plain  atomic.Bool // and may be plain TCP
	opened atomic.Uint64

	paths    chan pathNews
	checks   chan checkResult
	views    chan *carrierView // nil: there was no answer
	uplinks  map[string]*carryUplink
	seen     map[*carrier.Conn]map[string]*subflowSight // by uplink
	choice   scheduler.Carriage
	raised   bool               // connections may have all their subflows
	meshed   bool               // also to addresses that the exit announces
	hold     scheduler.Holdback // of a gateway whose connections go by the kernel whatever the paths are like
	set      []string           // names of the uplinks that the choice is about
	deadFrom time.Time
	viewAt   time.Time
	asking   bool
	moved    int64
	watching bool

	mu     sync.Mutex
	world  carryWorld
	wake   chan struct{}
	ways   []carryWay // to the exit, the best one first
	status CarrierStatus
}

// carryWorld is what the goroutine of serve tells.
type carryWorld struct {
	snap         uplink.Snapshot
	remotes      []netip.AddrPort
	terms        map[string]terms // of each uplink in snap, by its name
	capabilities []string
}

// carryWay is an uplink by which carriers may be made.
type carryWay struct {
	uplink uplink.Uplink
	remote netip.AddrPort
	key    control.PublicKey // of the exit
	barred bool              // it is for the last resort only
}

// pathNews is a change of a path of the bond.
type pathNews struct {
	uplink string // interface
	up     bool
	late   bool // it failed failAfter ago, for the down-th time
	down   int
	looks  int // how often it was looked at since
}

// openCarriers starts what belongs to carriers, unless the configuration or the machine is without.
func (g *gateway) openCarriers() {
	if g.host.multipath != nil {
		g.endpoints.open = g.host.multipath.endpoints
	}
	for _, w := range g.ways {
		w.carriers.open(w)
	}
}

func (c *gatewayCarriers) open(w *wayOut) {
	g := w.g
	c.g, c.way = g, w
	c.status = CarrierStatus{Mode: string(g.cfg.Stream.Mode), InUse: "bond"}
	switch {
	case g.cfg.Stream.Mode == config.CarryBond:
		c.status.Why = "by configuration"
		return
	case g.host.multipath == nil:
		c.status.Why = g.host.mptcpSupport().Missing
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx, c.cancel = ctx, cancel
	c.begun = time.Now()
	c.wake = make(chan struct{}, 1)
	c.paths = make(chan pathNews, 64)
	c.checks, c.views = make(chan checkResult), make(chan *carrierView)
	c.uplinks = make(map[string]*carryUplink)
	c.pool = carrier.NewPool(carrier.PoolConfig{Warm: poolWarm, Max: poolMax, Dial: c.dial,
		Failed: func(err error) { g.log.Debug("no carrier", "error", err) }})
	c.wg.Go(func() { c.pool.Run(ctx) }) // joined by closeCarriers
	c.wg.Go(func() { c.run(ctx) })      // joined by closeCarriers
}

// closeCarriers ends all carriers, and their streams with them.
func (g *gateway) closeCarriers() error {
	var errs []error
	for _, w := range g.ways {
		errs = append(errs, w.carriers.close())
	}
	return errors.Join(errs...)
}

func (c *gatewayCarriers) close() error {
	if c.pool == nil {
		return nil
	}
	c.use.Store(false)
	c.cancel()
	c.wg.Wait()
	if c.manager == nil {
		return nil
	}
	return c.manager.Close()
}

// needCarriers says which exits connections go to: the one in use, those with proxies of their own, and those that rules name.
func (g *gateway) needCarriers() {
	for _, w := range g.ways {
		if need := w.awake && (w.isChosen() || w.proxied || w.ruled); w.carriers.needed.Swap(need) != need {
			w.carriers.stir()
		}
	}
}

// see takes what serve has learned. capabilities nil leaves those known.
func (c *gatewayCarriers) see(snap uplink.Snapshot, capabilities []string) {
	if c.pool == nil {
		return
	}
	all := make(map[string]terms, len(snap.Uplinks))
	for _, u := range snap.Uplinks {
		all[u.Name] = c.g.terms(u)
	}
	c.mu.Lock()
	c.world.snap, c.world.remotes, c.world.terms = snap, c.way.remotes.list, all
	if capabilities != nil {
		c.world.capabilities = capabilities
	}
	c.mu.Unlock()
	c.stir()
}

// stir has the situation looked at.
func (c *gatewayCarriers) stir() {
	select {
	case c.wake <- struct{}{}:
	default: // also where there are no carriers
	}
}

// pathChanged is told on the engine's goroutine about a path that has failed or answers again.
func (c *gatewayCarriers) pathChanged(interfaceName string, up bool) {
	if c.pool == nil || interfaceName == "" {
		return
	}
	select {
	case c.paths <- pathNews{uplink: interfaceName, up: up}:
	default: // the next look at the statistics finds it
	}
}

// begin opens a stream by a carrier, if that is where connections go now and one is free. Any goroutine may call it.
func (c *gatewayCarriers) begin(target []byte) *carrier.Stream {
	if c.pool == nil || !c.use.Load() {
		return nil
	}
	s, err := c.pool.Open(target, c.share.Load())
	if err != nil {
		return nil
	}
	c.opened.Add(1)
	return s
}

// take carries a connection, or says that it does not. failed is told if its target was not reached.
func (c *gatewayCarriers) take(conn dial.Conn, target []byte, failed func(code uint64)) bool {
	s := c.begin(target)
	if s == nil && !c.waits() {
		return false
	}
	if !c.g.flows.run(func() {
		if s == nil {
			s = c.await(c.ctx, target)
		}
		if s == nil {
			abort(conn)
			return
		}
		relayCarried(s, conn, failed)
	}) {
		if s != nil {
			s.Close()
		}
		abort(conn)
	}
	return true
}

// waits tells whether it is better to wait for a carrier than to go by the bond.
func (c *gatewayCarriers) waits() bool { return c.pool != nil && c.last.Load() }

// await waits for a carrier; nil if none has come for as long as a stream waits for a session.
func (c *gatewayCarriers) await(ctx context.Context, target []byte) *carrier.Stream {
	ctx, cancel := context.WithTimeout(ctx, streamGrace)
	defer cancel()
	s, err := c.pool.Await(ctx, target, true)
	if err != nil {
		return nil
	}
	c.opened.Add(1)
	return s
}

// dialCarried connects to a target by a carrier, and waits until the exit has reached it. Nil without an error: not by a carrier.
func (c *gatewayCarriers) dialCarried(ctx context.Context, t dial.Target) (dial.Conn, error) {
	b, err := appendTarget(nil, t)
	if err != nil {
		return nil, nil // the stream says the same
	}
	s := c.begin(b)
	if s == nil && c.waits() {
		s = c.await(ctx, b)
	}
	if s == nil {
		return nil, nil
	}
	if err := s.Wait(ctx); err != nil {
		s.Close()
		return nil, carriedError(t, err)
	}
	return s, nil
}

// run looks at the situation every now and then, and acts on what becomes of paths at once.
func (c *gatewayCarriers) run(ctx context.Context) {
	defer c.way.engine.in.post(func(now time.Duration) { c.way.engine.watchPaths(now, false) })
	tick := time.NewTicker(carryTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-c.paths:
			c.pathNews(ctx, n)
			continue
		case r := <-c.checks:
			c.checked(r)
		case v := <-c.views:
			c.viewed(v)
		case <-c.wake:
		case <-tick.C:
		}
		c.look(ctx)
	}
}

// look brings everything in line with the situation.
func (c *gatewayCarriers) look(ctx context.Context) {
	c.mu.Lock()
	w := c.world
	c.mu.Unlock()
	now := time.Now()
	if c.support = c.g.host.mptcpSupport(); c.support.Missing == "" && c.manager == nil && c.denied == "" {
		if m, err := c.g.endpoints.share(); err != nil {
			c.denied = err.Error()
			c.g.log.Warn("the kernel's MPTCP is not used", "error", err)
		} else {
			c.manager = m
		}
	}
	stats := c.stats(ctx)
	ways := c.follow(now, &w, stats)
	sights := c.sights()
	c.seeSubflows(now, sights)
	c.startChecks(ctx, now, &w, ways)
	c.askView(ctx, now)

	takes := c.needed.Load() && slices.Contains(w.capabilities, capCarriers)
	switch {
	case !takes || c.anyUp(): // not the engine's word: a session counts as alive until it has proven not to be
		c.deadFrom = time.Time{}
	case c.deadFrom.IsZero():
		c.deadFrom = now
	}
	lastResort := !c.deadFrom.IsZero() && now.Sub(c.deadFrom) >= lastResortAfter
	in := c.input(&w, ways)
	c.choice.Judge(now.Sub(c.begun), in)
	kernel, why := c.choice.Kernel()
	inUse := "bond"
	possible := in.Missing == "" && slices.ContainsFunc(ways, func(y carryWay) bool { return !y.barred })
	switch forced := c.g.cfg.Stream.Mode == config.CarryMPTCP; {
	case lastResort && !possible:
		inUse, why = "tcp", "no datagrams come through to the exit; each connection by one uplink is the last resort"
	case lastResort:
		inUse, why = "mptcp", "no datagrams come through to the exit"
	case forced && possible:
		inUse, why = "mptcp", "by configuration"
	case forced && in.Missing != "":
		why = in.Missing + "; the bond carries what the configuration wants by MPTCP"
	case forced:
		why = "no uplink lets MPTCP through, or may have it; the bond carries what the configuration wants by it"
	case kernel:
		inUse = "mptcp"
	}
	c.last.Store(lastResort)
	c.plain.Store(lastResort && !possible)
	c.share.Store(lastResort || c.g.cfg.Stream.Mode == config.CarryMPTCP)
	c.mu.Lock()
	c.ways = ways
	c.mu.Unlock()
	if c.g.cfg.Stream.Mode == config.CarryMPTCP {
		c.holdBack(now, sights)
	}
	c.syncEndpoints(possible) // before carriers: what a connection may do with announced addresses is settled when it is made
	c.pool.Switch(lastResort || takes && possible && (len(ways) > 1 || inUse == "mptcp"))
	c.use.Store(inUse != "bond")
	c.watch(inUse == "mptcp")
	c.publish(inUse, why)
}

// anyUp tells whether the bond has a path.
func (c *gatewayCarriers) anyUp() bool {
	for _, u := range c.uplinks {
		if u.up {
			return true
		}
	}
	return false
}

// missing is why there is no kernel MPTCP; empty if there is.
func (c *gatewayCarriers) missing(w *carryWorld) string {
	switch {
	case !c.needed.Load():
		return "the exit is not in use"
	case c.support.Missing != "":
		return "here, " + c.support.Missing
	case c.denied != "":
		return c.denied
	case w.capabilities == nil:
		return "the exit has not been reached yet"
	case !slices.Contains(w.capabilities, capCarriers):
		return "the exit takes no carriers"
	case !slices.Contains(w.capabilities, capMPTCP):
		return "the exit's kernel does not speak MPTCP"
	}
	return ""
}

// input is the situation as the choice sees it. A change of the uplinks begins it anew.
func (c *gatewayCarriers) input(w *carryWorld, ways []carryWay) scheduler.CarryInput {
	in := scheduler.CarryInput{Missing: c.missing(w), BBR: c.support.Congestion == mptcp.BBR && slices.Contains(w.capabilities, capBBR)}
	var set []string
	for _, y := range ways {
		u := c.uplinks[y.uplink.Name]
		if u.terms.Mode == config.ModeBackup {
			continue // the others carry
		}
		set = append(set, y.uplink.Name)
		in.Paths = append(in.Paths, u.path(time.Now()))
	}
	slices.Sort(set)
	if !slices.Equal(set, c.set) {
		c.set = set
		c.choice.Reset()
	}
	return in
}

// watch has the bond look after its paths closely while carriers are busy.
func (c *gatewayCarriers) watch(used bool) {
	var moved int64
	for _, conn := range c.pool.Conns() {
		moved += conn.Moved()
	}
	on := used && moved != c.moved
	c.moved = moved
	if on || on != c.watching {
		c.watching = on
		c.way.engine.in.post(func(now time.Duration) { c.way.engine.watchPaths(now, on) })
	}
}

// watchPaths runs on the engine's goroutine.
func (e *engine) watchPaths(now time.Duration, on bool) {
	if e.s != nil {
		e.s.Watch(now, on)
	}
}

// stats are those of the bond's paths, by uplink and remote. None without a session.
func (c *gatewayCarriers) stats(ctx context.Context) map[wayKey]tunnel.PathStats {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	out := make(chan map[wayKey]tunnel.PathStats, 1)
	e := c.way.engine
	if !e.call(ctx, func(now time.Duration) {
		if e.s == nil {
			out <- nil
			return
		}
		m := make(map[wayKey]tunnel.PathStats)
		for _, p := range e.s.Stats(now).Paths {
			for i := range e.paths.kept {
				if k := &e.paths.kept[i]; k.id == p.ID {
					m[wayKey{k.uplink, k.remote}] = p
				}
			}
		}
		out <- m
	}) {
		return nil
	}
	return <-out
}

// wayKey is an uplink and a remote.
type wayKey struct {
	uplink string
	remote netip.AddrPort
}
