package endpoints

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"slices"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel"
)

// openSources opens a socket for every uplink that is usable and has none, or whose device was made anew. It returns
// the sockets that are of no more use, to be closed when the paths have left them, and whether all could be opened.
func (g *gateway) openSources(ctx context.Context) (stale []int, complete bool) {
	complete = true
	for _, name := range slices.Sorted(maps.Keys(g.sources)) {
		src := g.sources[name]
		u, ok := g.snap.Find(name)
		if !ok || u.Ifindex != src.uplink.Ifindex || u.Mark() != src.uplink.Mark() {
			stale = append(stale, src.socket)
			delete(g.sources, name)
		}
	}
	for _, u := range g.snap.Uplinks {
		if _, open := g.sources[u.Name]; open || (!u.Usable4() && !u.Usable6()) {
			continue
		}
		sock, err := g.host.listenUDP(ctx, udp.Options{Device: u.Interface(), Mark: u.Mark()})
		if err != nil {
			complete = false
			if !errors.Is(err, fs.ErrNotExist) {
				g.log.Warn("uplink not used", "uplink", u.Name, "error", err)
			}
			continue
		}
		g.sources[u.Name] = source{u, g.sockets.open(sock)}
	}
	return stale, complete
}

// wanted lists the paths there should be to an exit: every uplink that has a socket, times every remote.
func (g *gateway) wanted(w *wayOut) []wantedPath {
	var want []wantedPath
	for _, u := range g.snap.Uplinks {
		src, ok := g.sources[u.Name]
		if !ok {
			continue
		}
		terms := g.terms(u)
		group := g.group(&terms, u)
		for _, r := range w.remotes.list {
			name := w.pathName(terms.Name, r)
			mode := terms.Mode
			if m, ok := g.uses.asked[name]; ok {
				mode = m
			}
			if mode == config.ModeOff {
				continue
			}
			want = append(want, wantedPath{
				uplink: u.Name,
				remote: r,
				usable: usable(u, r.Addr()),
				spec: tunnel.PathSpec{
					Name:        name,
					To:          tunnel.Endpoint{Socket: src.socket, Local: sourceOf(u, r.Addr()), Remote: r},
					Group:       group,
					MTU:         u.MTU,
					Backup:      mode == config.ModeBackup,
					Full:        mode == config.ModeBackup && terms.When == config.BackupFull,
					Drain:       mode == config.ModeDrain,
					Metered:     terms.Metered,
					MaxRate:     float64(terms.MaxUp) / 8,
					PeerMaxRate: float64(terms.MaxDown) / 8,
				},
			})
		}
	}
	return want
}

// pathName is the uplink's name, and the remote where there are several.
func (w *wayOut) pathName(name string, r netip.AddrPort) string {
	if len(w.remotes.list) == 1 {
		return name
	}
	return name + ">" + r.String()
}

// usable tells whether datagrams to a remote can leave by an uplink now.
func usable(u uplink.Uplink, remote netip.Addr) bool {
	if remote.Is4() {
		return u.Usable4()
	}
	return u.Usable6()
}
