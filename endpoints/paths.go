package endpoints

import (
	"net/netip"
	"time"

	"github.com/bondd/bondd/tunnel"
)

// wantedPath is a path that the gateway should have: an uplink and a remote.
type wantedPath struct {
	uplink string // interface name; with remote it identifies the path
	remote netip.AddrPort
	usable bool // datagrams can leave that way now
	spec   tunnel.PathSpec
}

func (w *wantedPath) is(other *wantedPath) bool {
	return w.uplink == other.uplink && w.remote == other.remote
}

// keptPath is a wanted path that the session has.
type keptPath struct {
	wantedPath
	id tunnel.PathID
}

// paths keeps a session's paths as they are wanted. The engine's goroutine owns it.
type paths struct {
	want []wantedPath
	kept []keptPath
}

// restart adds every path to a session that has none yet.
func (p *paths) restart(now time.Duration, e *engine) {
	p.kept = p.kept[:0]
	p.set(now, e, p.want)
}

// suspect tells the session which of its paths cannot be used any more. It comes before set, which has to wait for
// the routes.
func (p *paths) suspect(now time.Duration, e *engine, want []wantedPath) {
	if e.s == nil {
		return
	}
	for i := range p.kept {
		k := &p.kept[i]
		if w := find(want, &k.wantedPath); k.usable && (w == nil || !w.usable) {
			k.usable = false
			e.s.PathFailed(now, k.id)
		}
	}
}

// set makes the session's paths what is wanted: paths that are no longer wanted go, new ones come, and those whose
// local address, socket or MTU changed, or whose uplink is back, are moved, which proves them again. A path that is wanted but
// not usable stays, so that it is quick to return, but is not added.
func (p *paths) set(now time.Duration, e *engine, want []wantedPath) {
	p.suspect(now, e, want)
	p.want = want
	if e.s == nil {
		return
	}
	kept := p.kept[:0]
	for _, k := range p.kept {
		if w := find(want, &k.wantedPath); w == nil || w.spec.Name != k.spec.Name || w.spec.Group != k.spec.Group {
			e.s.RemovePath(now, k.id)
		} else {
			kept = append(kept, k)
		}
	}
	p.kept = kept
	for i := range want {
		w := &want[i]
		if !w.usable {
			continue
		}
		k := p.find(w)
		if k == nil {
			p.add(now, e, w)
			continue
		}
		if !k.usable || k.spec.To != w.spec.To || k.spec.MTU != w.spec.MTU {
			e.s.MovePath(now, k.id, w.spec.To, w.spec.MTU)
		}
		if !sameTerms(&w.spec, &k.spec) {
			e.s.SetTerms(now, k.id, w.spec)
		}
		k.wantedPath = *w
	}
}

func (p *paths) add(now time.Duration, e *engine, w *wantedPath) {
	id, err := e.s.AddPath(now, w.spec)
	if err != nil {
		e.log.Warn("path not added", "peer", e.name, "path", w.spec.Name, "error", err)
		return
	}
	p.kept = append(p.kept, keptPath{*w, id})
}

// uplink is the interface of a path that this end has made, or "".
func (p *paths) uplink(id tunnel.PathID) string {
	for i := range p.kept {
		if p.kept[i].id == id {
			return p.kept[i].uplink
		}
	}
	return ""
}

func (p *paths) find(w *wantedPath) *keptPath {
	for i := range p.kept {
		if p.kept[i].is(w) {
			return &p.kept[i]
		}
	}
	return nil
}

func find(want []wantedPath, w *wantedPath) *wantedPath {
	for i := range want {
		if want[i].is(w) {
			return &want[i]
		}
	}
	return nil
}

// sameTerms tells whether two paths are used alike.
func sameTerms(a, b *tunnel.PathSpec) bool {
	return a.Backup == b.Backup && a.Full == b.Full && a.Drain == b.Drain && a.Metered == b.Metered &&
		a.MaxRate == b.MaxRate && a.PeerMaxRate == b.PeerMaxRate
}
