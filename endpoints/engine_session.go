package endpoints

import (
	"time"

	"github.com/bondd/bondd/tunnel"
)

// swap makes s the session, in place of the present one, which says goodbye. Runs on the engine's goroutine.
func (e *engine) swap(now time.Duration, s session) {
	e.drop(now, closeReplaced, "replaced by a newer session")
	e.s = s
	e.gen++
	e.told, e.proven = false, false
	e.alive.Store(true)
	e.table.graceAt = 0
	e.paths.restart(now, e)
	e.owner.mtuChanged(e, s.InnerMTU())
	e.openPending(now)
}

// drop closes the session, sends its goodbye and forgets it. Its streams do not outlive it.
func (e *engine) drop(now time.Duration, code uint64, reason string) {
	if e.s != nil {
		e.s.Close(now, code, reason)
		e.send(now)
		e.s = nil
		e.alive.Store(false)
	}
	e.loseAll()
}

// fail passes on what the sockets have reported since the last turn.
func (e *engine) fail(now time.Duration) {
	f := &e.taken.failed
	if !f.any || f.gen != e.gen {
		return
	}
	for id := range 256 {
		if f.has(tunnel.PathID(id)) {
			e.s.PathFailed(now, tunnel.PathID(id))
		}
	}
}

// events handles what the session has to tell.
func (e *engine) events(now time.Duration) {
	for e.s != nil {
		ev, ok := e.s.Event()
		if !ok {
			return
		}
		switch ev.Kind {
		case tunnel.PathUp:
			e.proven = true
			e.log.Info("path up", "peer", e.name, "path", ev.Name)
			e.owner.pathUp(e)
			e.owner.pathChanged(e.paths.uplink(ev.Path), true)
		case tunnel.PathDown:
			e.log.Info("path down", "peer", e.name, "path", ev.Name, "reason", ev.Reason)
			e.owner.pathChanged(e.paths.uplink(ev.Path), false)
		case tunnel.PathMoved:
			e.log.Info("path moved", "peer", e.name, "path", ev.Name, "reason", ev.Reason)
		case tunnel.MTUChanged:
			e.owner.mtuChanged(e, e.s.InnerMTU())
		case tunnel.PeerClosed:
			e.log.Info("session closed by the peer", "peer", e.name, "reason", ev.Reason)
			e.s = nil
			e.alive.Store(false)
			e.owner.peerClosed(e)
		}
	}
}

// watch looks whether the session is alive and tells the owner when it ceases to be.
func (e *engine) watch(now time.Duration) {
	alive := e.s.Alive(now)
	e.alive.Store(alive)
	e.held.Store(int64(e.s.StreamHeld()))
	e.watchGrace(now, !alive)
	switch {
	case alive:
		e.told = false
	case !e.told:
		e.told = true
		reason := "no path answers"
		if !e.proven {
			reason = "the hello succeeded, but no datagram came through; is UDP open on the exit's port?"
		}
		e.owner.lost(e, reason)
	}
}
