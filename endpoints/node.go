package endpoints

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/nft"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

// Run is a node: it does what cfg says until ctx ends, and then removes all it has made. Nil when it was ended by ctx;
// else the reason why it could not start or go on. An error that matches fs.ErrPermission or errors.ErrUnsupported
// names a missing right or kernel feature. The configuration has been validated and is not changed afterwards.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return RunProcess(ctx, cfg, log, Process{})
}

func run(ctx context.Context, cfg *config.Config, log *slog.Logger, h *host) error {
	switch cfg.Role {
	case config.RoleGateway:
		return newGateway(cfg, log, h).run(ctx)
	case config.RoleExit:
		return newExit(cfg, log, h).run(ctx)
	case config.RoleRelay:
		return newRelay(cfg, log, h).run(ctx)
	}
	return fmt.Errorf("the configuration has no role; set role = %q, %q or %q", config.RoleGateway, config.RoleExit, config.RoleRelay)
}

// undoTime bounds the removal of what a node has made.
const undoTime = 5 * time.Second

// phase is one step of a node's start, with its exact opposite. A phase whose start fails has undone its own part.
type phase struct {
	name  string
	start func(ctx context.Context) error // nil: nothing to do
	stop  func(ctx context.Context) error // nil: nothing to undo
}

// live goes through the phases, serves until that ends, and undoes the phases that have started, the last one first.
// It returns what Run does. Well tells whether what serves answers. Serve ends when its context does, which is also when fail was called.
func (n *node) live(parent context.Context, phases []phase, serve func(ctx context.Context), well func(ctx context.Context) bool) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	n.fail = cancel
	started := 0
	for _, p := range phases {
		if p.start != nil {
			n.log.Debug("starting", "phase", p.name)
			if err := p.start(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", p.name, err))
				break
			}
		}
		started++
	}
	if ctx.Err() == nil {
		stop := n.attend(ctx, well)
		serve(ctx)
		stop()
	}
	undo, cancelUndo := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancelUndo()
	for _, p := range slices.Backward(phases[:started]) {
		if p.stop == nil {
			continue
		}
		n.log.Debug("stopping", "phase", p.name)
		if err := p.stop(undo); err != nil {
			n.log.Warn("not undone", "phase", p.name, "error", err)
		}
	}
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// errTUNGone ends a node whose TUN device was taken away from outside.
var errTUNGone = errors.New("the TUN device is gone; was it deleted?")

// node is what a gateway and an exit have in common.
type node struct {
	// Constant after the phases have started.
	cfg     *config.Config // that the node was started with; what a reload can change is in config()
	log     *slog.Logger
	host    *host
	clock   clock
	drops   counters
	flows   flowSet
	demux   *demux
	sockets *sockets
	dev     tun.Device
	net     network
	monitor uplink.Monitor
	first   uplink.Snapshot // what the monitor said at the start

	tunWG sync.WaitGroup // the reader of dev
	fail  context.CancelCauseFunc

	control *controlServer
	reloads reloads
	beats   chan chan struct{} // serve closes what it gets

	mu    sync.Mutex
	notes []string // of the last plan, for the status; guarded by mu
}

func (n *node) init(cfg *config.Config, log *slog.Logger, h *host, put func(*engine, []tunnel.Arrival) int) {
	n.cfg, n.log, n.host, n.clock = cfg, log, h, newClock()
	n.reloads.init(cfg)
	n.beats = make(chan chan struct{})
	n.demux = newDemux()
	n.sockets = newSockets(n.clock, &n.drops, n.demux, put)
}

// openNetwork takes the lock on the machine's network. What a crashed predecessor left there is taken over by the first
// sync, so that traffic of the LAN does not find a moment without rules, and what is not wanted is removed by it, or by the end.
func (n *node) openNetwork() phase {
	return phase{"network",
		func(context.Context) (err error) {
			n.net, err = n.host.openNetwork(uplink.Options{TUN: n.cfg.TUN.Name})
			return err
		},
		func(ctx context.Context) error { return n.net.Close(ctx) },
	}
}

// openFirewall puts the table in place, or replaces that of a crashed predecessor. It comes before the routes: a flow that entered the bond
// before it is masqueraded would never be.
func (n *node) openFirewall(c nft.Config) phase {
	return phase{"firewall",
		func(context.Context) error {
			if err := n.host.setFirewall(c); err != nil {
				return errors.Join(err, n.host.delFirewall(c))
			}
			return nil
		},
		func(context.Context) error { return n.host.delFirewall(c) },
	}
}

func (n *node) openTUN() phase {
	return phase{"TUN device",
		func(context.Context) error {
			dev, err := n.host.openTUN(n.cfg.TUN.Name, tun.Options{MTU: n.cfg.TUN.MTU, Offload: true})
			n.dev = dev
			return err
		},
		func(context.Context) error {
			err := n.dev.Close()
			n.tunWG.Wait()
			return err
		},
	}
}

// startReader starts the reader of the TUN device, which openTUN's stop joins.
func (n *node) startReader(put func(*engine, []*buf.Buf) int) {
	r := newTUNReader(n.dev, n.demux, &n.drops, put)
	n.tunWG.Go(func() { // joined by the stop of openTUN
		r.run()
		n.fail(errTUNGone) // of no effect when the node is ending anyway
	})
}

func (n *node) openWatch(o uplink.WatchOptions) phase {
	return phase{"uplinks",
		func(ctx context.Context) error {
			m, err := n.host.watch(o)
			if err != nil {
				return err
			}
			if n.first, err = m.Next(ctx); err != nil {
				return errors.Join(err, m.Close())
			}
			n.monitor = m
			return nil
		},
		func(context.Context) error { return n.monitor.Close() },
	}
}

// openRoutes puts the first plan in place, made by plan from the first snapshot.
func (n *node) openRoutes(plan func(s uplink.Snapshot) uplink.Plan) phase {
	return phase{"addresses and routes",
		func(ctx context.Context) error {
			if err := n.sync(ctx, plan(n.first)); err != nil {
				return errors.Join(err, n.net.Sync(context.WithoutCancel(ctx), uplink.Plan{}))
			}
			return nil
		},
		func(ctx context.Context) error { return n.net.Sync(ctx, uplink.Plan{}) },
	}
}

// sync makes the machine look like the plan and logs what the plan leaves out, once.
func (n *node) sync(ctx context.Context, p uplink.Plan) error {
	n.mu.Lock()
	old := n.notes
	n.notes = p.Notes
	n.mu.Unlock()
	for _, note := range p.Notes {
		if !slices.Contains(old, note) {
			n.log.Info("note: " + note)
		}
	}
	return n.net.Sync(ctx, p)
}

// minIPv6 is the least MTU of a link that has IPv6 (RFC 8200 §5).
const minIPv6 = 1280

// changeMTU sets the MTU of a TUN device. It tells whether the kernel may have to be given the IPv6 addresses again: below
// minIPv6 it forgets them.
func (n *node) changeMTU(dev tun.Device, mtu int) (forgot bool) {
	have, err := dev.MTU()
	if err == nil && have == mtu {
		return false
	}
	if err := dev.SetMTU(mtu); err != nil {
		n.log.Warn("the MTU of the TUN device is not right", "error", err)
		return false
	}
	n.log.Info("MTU of the TUN device", "device", dev.Name(), "mtu", mtu)
	return have < minIPv6 && mtu >= minIPv6
}

// watch passes snapshots on until ctx ends. It runs in a goroutine of the caller.
func (n *node) watch(ctx context.Context, snapshots chan<- uplink.Snapshot) {
	for {
		s, err := n.monitor.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				n.fail(fmt.Errorf("watch uplinks: %w", err))
			}
			return
		}
		select {
		case snapshots <- s:
		case <-ctx.Done():
			return
		}
	}
}

// newIndex returns a random session index that is not in use. It is not secret, but random so that what is left of an
// old session does not hit a new one.
func (n *node) newIndex() uint32 {
	for {
		var b [4]byte
		crand.Read(b[:])
		i := binary.BigEndian.Uint32(b[:]) & wire.MaxIndex
		if i != 0 && n.demux.session(i) == nil {
			return i
		}
	}
}

// newRand seeds the randomness of one session.
func newRand() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:])
	return rand.New(rand.NewChaCha8(seed))
}

// software is how this build names itself to its peers.
func software() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "bondd devel"
	}
	return "bondd " + info.Main.Version
}
