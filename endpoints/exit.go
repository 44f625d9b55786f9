package endpoints

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/uplink"
)

// exit is the node that stands in the internet. Every session has an engine of its own; all share the TUN device and the
// sockets.
type exit struct {
	node

	listeners  []net.Listener
	helloWG    sync.WaitGroup // accept loops and hellos
	engineWG   sync.WaitGroup
	stopHello  context.CancelFunc
	guard      guard
	streams    exitStreams
	carriers   exitCarriers
	paths      endpointManager // nil: the kernel's MPTCP is left as it is; constant after openPaths
	names      names
	forwards   exitForwards
	answersDNS bool          // constant after openNames
	wake       chan struct{} // the MTU may have to change

	mu       sync.Mutex
	sessions []*association // the oldest first; guarded by mu
	births   uint64         // guarded by mu
	ending   bool           // guarded by mu
}

func newExit(cfg *config.Config, log *slog.Logger, h *host) *exit {
	x := &exit{wake: make(chan struct{}, 1)}
	x.node.init(cfg, log, h, briskArrivals)
	return x
}

func (x *exit) run(ctx context.Context) error {
	return x.live(ctx, []phase{
		x.openNetwork(),
		x.openFirewall(exitFirewall(x.cfg)),
		x.openTUN(),
		x.openWatch(uplink.WatchOptions{TUN: x.cfg.TUN.Name}),
		x.openRoutes(x.plan),
		x.openBench(),
		{"UDP sockets", x.openSockets, x.closeSockets},
		{name: "dialers", start: x.newDialers},
		{"MPTCP", x.openPaths, x.closePaths},
		{name: "TUN reader", start: func(context.Context) error { x.startReader(briskPackets); return nil }},
		{"DNS", x.openNames, x.names.end},
		{name: "sessions", stop: x.stopSessions},
		{"hello", x.startHello, x.endHello},
		{"port forwards", x.openForwards, x.closeForwards},
		x.openControl(x.report),
		x.openWeb(x.report),
	}, x.serve, x.well)
}

func (x *exit) plan(s uplink.Snapshot) uplink.Plan {
	return uplink.MakePlan(s, uplink.Want{Role: uplink.Exit, TUN: x.dev.Name(), TUNAddrs: x.cfg.Inner.Exit()})
}

func (x *exit) openSockets(ctx context.Context) error {
	for _, at := range x.cfg.Listen {
		sock, err := x.host.listenUDP(ctx, udp.Options{Local: at})
		if err != nil {
			x.sockets.closeAll()
			return err
		}
		x.sockets.open(sock) // joined by closeSockets
	}
	return nil
}

func (x *exit) closeSockets(context.Context) error {
	x.sockets.closeAll()
	return nil
}

// serve keeps addresses and MTU right until ctx ends.
func (x *exit) serve(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	snapshots := make(chan uplink.Snapshot)
	wg.Go(func() { x.watch(ctx, snapshots) }) // joined by this call
	snap := x.first
	synced := true
	place := func() {
		err := x.sync(ctx, x.plan(snap))
		if synced = err == nil; !synced && ctx.Err() == nil {
			x.log.Warn("addresses are not all in place; trying again", "error", err)
		}
	}
	retry := time.NewTicker(syncPause)
	defer retry.Stop()
	x.log.Info("exit ready", "listen", x.cfg.Listen, "gateways", len(x.cfg.Gateways))
	for {
		select {
		case <-ctx.Done():
			return
		case snap = <-snapshots:
			x.seeIPv6(snap)
			place()
		case <-x.wake:
			if x.setMTU() {
				place()
			}
		case <-retry.C:
			if !synced {
				place()
			}
		case r := <-x.reloads.due:
			r.done <- x.apply(r)
		case b := <-x.beats:
			close(b)
		}
	}
}

// setMTU gives the TUN device the least MTU that any session wants. True: the plan has to be put in place anew. The device is one for
// all, so a gateway with a small path makes the packets of the others smaller too.
func (x *exit) setMTU() bool {
	if x.cfg.TUN.MTU != 0 {
		return false
	}
	want := 0
	x.mu.Lock()
	for _, a := range x.sessions {
		if a.current && (want == 0 || a.mtu < want) {
			want = a.mtu
		}
	}
	x.mu.Unlock()
	if want == 0 {
		return false // nobody is there; leave it
	}
	return x.changeMTU(x.dev, want)
}

func (x *exit) knock() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// stopSessions ends all sessions with a goodbye and joins their engines.
func (x *exit) stopSessions(context.Context) error {
	x.mu.Lock()
	x.ending = true
	all := slices.Clone(x.sessions)
	x.mu.Unlock()
	for _, a := range all {
		a.engine.stop(closeShutdown, "the exit ends")
	}
	x.engineWG.Wait()
	x.flows.end()
	return nil
}
