package endpoints

import (
	"context"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/uplink"
)

// partTime is how long the session of an exit that is not needed any more is kept for the streams it has.
const partTime = 10 * time.Minute

// gatedDevice is the TUN device as the engine of one of several exits has it. Packets from the others are not for this host's addresses of
// now, and whoever runs another exit has no business in the LAN's flows.
type gatedDevice struct {
	tun.Device
	w *wayOut
}

// Write is that of the exit's own device if it has one. Else it is that of the device while everything leaves by this exit; and otherwise the
// packets are dropped, and counted. An exit in use with a device of its own answers by that one: the kernel tells flows by their addresses.
func (d *gatedDevice) Write(ps []tun.Packet) (int, error) {
	if own := d.w.tun(); own != nil {
		return own.Write(ps)
	}
	if !d.w.isChosen() {
		d.w.g.drops.add(dropOtherExit, len(ps))
		return len(ps), nil
	}
	return d.Device.Write(ps)
}

// successors are the ways out that take over from each other.
func (g *gateway) successors() []*wayOut {
	return slices.DeleteFunc(slices.Clone(g.ways), func(w *wayOut) bool { return w.apart })
}

// openFailover begins with the first exit.
func (g *gateway) openFailover() {
	var after []time.Duration
	for _, w := range g.successors() {
		after = append(after, w.after)
	}
	g.failover = newFailover(after)
}

// chooseExit looks whether another exit has to take over, and gives a session to those that need one.
func (g *gateway) chooseExit(ctx context.Context) {
	defer g.needCarriers()
	if len(g.ways) == 1 {
		return
	}
	list := g.successors()
	up := make([]bool, len(list))
	for i, w := range list {
		up[i] = w.up
	}
	linked := slices.ContainsFunc(g.snap.Uplinks, func(u uplink.Uplink) bool { return u.Usable4() || u.Usable6() })
	if g.failover.see(g.clock.now(), linked, up) {
		g.choose(ctx, list[g.failover.current])
	}
	g.followReach(ctx)
	for _, w := range g.ways {
		if i := slices.Index(list, w); w.proxied || w.ruled || i >= 0 && i <= g.failover.reach {
			w.rouse()
		} else if w.awake {
			w.part(ctx)
		}
	}
}

// choose makes everything leave by another exit. Connections by streams of the old one stay there while it has a session; those that have not
// reached their target end, if it is out of reach, so that their clients try again, by the new one.
func (g *gateway) choose(ctx context.Context, w *wayOut) {
	old := g.chosen.Load()
	g.log.Warn("another exit takes over", "exit", w.name, "from", old.name)
	g.chosen.Store(w)
	g.demux.setRest(w.engine)
	g.route(ctx)
	if w.mtu != 0 {
		g.setMTU(ctx, w.mtu)
	}
	g.followExit(w.answer)
	if !old.up {
		old.engine.in.post(old.engine.loseWaiting)
	}
}

// rouse makes a way out have a session, if it was without.
func (w *wayOut) rouse() {
	w.partAt = time.Time{}
	if !w.awake {
		w.awake = true
		w.hello.pause = helloPauseFirst
		w.hello.soon()
		w.setState("connecting", "")
	}
}

// part ends the session of a way out that is not needed any more, once its streams have ended or have had their time.
func (w *wayOut) part(ctx context.Context) {
	if w.partAt.IsZero() {
		w.partAt = time.Now()
	}
	streams := 0
	w.engine.call(ctx, func(time.Duration) { streams = len(w.engine.table.streams) })
	streams += w.carriers.streams()
	if streams > 0 && time.Since(w.partAt) < partTime {
		return
	}
	w.awake, w.up, w.peer = false, false, 0
	if w.tun() != nil {
		w.reach.out = true // at once: nobody waits for it to come back
		w.g.route(ctx)
	}
	w.hello.next, w.hello.failed, w.hello.said = time.Time{}, false, ""
	w.engine.call(ctx, func(now time.Duration) {
		w.engine.drop(now, closeUnused, "another exit is in use")
		w.engine.losePending()
	})
	if w.index != 0 {
		w.g.demux.removeSession(w.index)
		w.index = 0
	}
	w.setStatus(func(st *wayStatus) { st.state, st.reason, st.hello, st.helloErr = "standby", "", nil, nil })
}

// deviceOf is where the packets go that a way out receives.
func (g *gateway) deviceOf(w *wayOut) tun.Device {
	if len(g.ways) == 1 {
		return g.dev
	}
	return &gatedDevice{g.dev, w}
}
