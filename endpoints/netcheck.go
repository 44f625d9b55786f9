package endpoints

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
)

// netcheckTime is how long paths are waited for: validation takes a few round trips, each of which may be lost once.
const netcheckTime = 4 * time.Second

// Netcheck is what this machine and its uplinks can do for a bond.
type Netcheck struct {
	Role    string            `json:"role"`
	Running bool              `json:"running"`        // a bondd runs here; datagrams are judged by its paths
	Exit    []netip.AddrPort  `json:"exit,omitempty"` // addresses of the exit
	Machine []NetcheckFeature `json:"machine"`
	Uplinks []NetcheckUplink  `json:"uplinks,omitempty"` // of a gateway
	Error   string            `json:"error,omitempty"`   // why uplinks could not be checked
}

// NetcheckFeature is a right or a feature of the kernel.
type NetcheckFeature struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // bondd does not run without
	Note     string `json:"note,omitempty"`
}

// NetcheckUplink is an uplink of a gateway, towards the exit's first address that it can reach.
type NetcheckUplink struct {
	Name      string         `json:"name"`
	Interface string         `json:"interface"`
	Up        bool           `json:"up"`
	Addresses []netip.Prefix `json:"addresses"`
	Exit      netip.AddrPort `json:"exit,omitzero"`
	Seen      netip.AddrPort `json:"seen_as,omitzero"` // the address the exit sees
	MTU       int            `json:"mtu"`              // of the interface, bytes
	Datagram  int            `json:"datagram_B,omitempty"`
	RTT       float64        `json:"rtt_ms,omitempty"`
	TCP       bool           `json:"tcp"`
	UDP       bool           `json:"udp"`
	MPTCP     string         `json:"mptcp"` // "yes", "stripped", "here off", "exit off" or "unknown"
	Note      string         `json:"note,omitempty"`
}

// Complete tells whether the machine has what bondd needs, and whether every uplink that is up reaches the exit by TCP and by UDP.
func (n *Netcheck) Complete() (machine, uplinks bool) {
	machine = !slices.ContainsFunc(n.Machine, func(f NetcheckFeature) bool { return f.Required && !f.OK })
	uplinks = n.Error == "" && (n.Role != string(config.RoleGateway) || len(n.Uplinks) > 0) &&
		!slices.ContainsFunc(n.Uplinks, func(u NetcheckUplink) bool { return !u.TCP || !u.UDP })
	return machine, uplinks
}

// CheckNetwork looks at this machine and, for a gateway, tries its uplinks. It changes nothing here. Where no bondd runs it makes a session with
// the exit for a moment. It always returns something.
func CheckNetwork(ctx context.Context, cfg *config.Config) *Netcheck {
	h := machine()
	n := &Netcheck{Role: string(cfg.Role), Machine: checkMachine(h)}
	st, err := ReadStatus(ctx, cfg.Control)
	n.Running = err == nil
	if cfg.Role != config.RoleGateway {
		return n
	}
	g := newGateway(cfg, slog.New(slog.DiscardHandler), h)
	if err := g.checkUplinks(ctx, n, st); err != nil {
		n.Error = err.Error()
	}
	return n
}

// checkMachine lists what matters of the kernel, and of our rights.
func checkMachine(h *host) []NetcheckFeature {
	feature := func(name string, required bool, err error, good string) NetcheckFeature {
		f := NetcheckFeature{Name: name, OK: err == nil, Required: required, Note: good}
		if err != nil {
			f.Note = err.Error()
		}
		return f
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	out := []NetcheckFeature{feature("TUN device", true, err, ""), feature("routing", true, uplink.Check(), "")}
	s := h.mptcpSupport()
	err = nil
	if s.Missing != "" {
		err = errors.New(s.Missing)
	}
	out = append(out, feature("MPTCP", false, err, ""))
	err = nil
	if s.Missing == "" && s.Congestion != mptcp.BBR {
		err = fmt.Errorf("there is %v; without BBR the kernel's MPTCP is used over lines that lose nothing only", mptcp.Controls())
	}
	if s.Missing == "" {
		out = append(out, feature("BBR", false, err, ""))
	}
	return out
}

// checkUplinks tries every uplink.
func (g *gateway) checkUplinks(ctx context.Context, n *Netcheck, running *Status) error {
	m, err := g.host.watch(watchOptions(g.cfg))
	if err != nil {
		return err
	}
	defer m.Close()
	if g.snap, err = m.Next(ctx); err != nil {
		return err
	}
	w := g.ways[0]
	if w.remotes = w.remotes.lookup(ctx, 0, g.host, g.snap.Uplinks); len(w.remotes.list) == 0 {
		return w.remotes.err
	}
	n.Exit = w.remotes.list
	if len(g.snap.Uplinks) == 0 {
		return errors.New("there is no uplink: no interface has a default route or is named in the configuration")
	}
	for _, u := range g.snap.Uplinks {
		n.Uplinks = append(n.Uplinks, NetcheckUplink{Name: g.terms(u).Name, Interface: u.Interface(), Up: u.Up, Addresses: u.Addrs, MTU: u.MTU, MPTCP: "unknown"})
	}
	var wg sync.WaitGroup
	for i, u := range g.snap.Uplinks {
		at := slices.IndexFunc(w.remotes.list, func(r netip.AddrPort) bool { return usable(u, r.Addr()) })
		if at < 0 {
			n.Uplinks[i].Note = "it has no address and route for the exit's"
			continue
		}
		n.Uplinks[i].Exit = w.remotes.list[at]
		wg.Go(func() {
			n.Uplinks[i].take(g.checkWay(ctx, carryWay{uplink: u, remote: w.remotes.list[at], key: w.key}), g.host.mptcpSupport())
		})
	}
	wg.Wait()
	paths := make(map[wayKey]tunnel.PathStats)
	if n.Running {
		for _, s := range running.Sessions {
			if s.Stats == nil {
				continue
			}
			for _, p := range s.Stats.Paths {
				for _, u := range g.snap.Uplinks {
					for _, r := range w.remotes.list {
						if p.Name == w.pathName(g.terms(u).Name, r) {
							paths[wayKey{u.Name, r}] = p
						}
					}
				}
			}
		}
	} else if paths, err = w.tryPaths(ctx); err != nil {
		return err
	}
	for i := range n.Uplinks {
		u := &n.Uplinks[i]
		p := paths[wayKey{g.snap.Uplinks[i].Name, u.Exit}]
		if u.UDP = p.State == scheduler.Up.String(); u.UDP {
			u.Datagram, u.RTT = p.MTU, float64(p.RTT.Microseconds())/1e3
		} else if u.Note == "" {
			u.Note = "no datagram has come back; is UDP open on the exit's port?"
		}
	}
	return nil
}

// take notes what came of a connection.
func (u *NetcheckUplink) take(r checkResult, s mptcp.Support) {
	u.TCP = r.err == nil || r.rtt > 0
	u.RTT, u.Seen = float64(r.rtt.Microseconds())/1e3, r.from
	switch {
	case r.err != nil:
		u.Note = r.err.Error()
	case r.here && r.there:
		u.MPTCP = "yes"
	case s.Missing != "":
		u.MPTCP = "here off"
	case !r.exit:
		u.MPTCP = "exit off"
	default:
		u.MPTCP = "stripped"
	}
}

// nowhere is the TUN device of a session that carries no packets.
type nowhere struct{ tun.Device }

func (nowhere) Write([]tun.Packet) (int, error) { return 0, nil }

// aside hears what an engine tells that nobody asks about.
type aside struct{ *wayOut }

func (aside) pathUp(*engine)           {}
func (aside) pathChanged(string, bool) {}
func (aside) mtuChanged(*engine, int)  {}
func (aside) lost(*engine, string)     {}
func (aside) peerClosed(*engine)       {}

// tryPaths makes a session with the exit, with a path by every uplink, for as long as it takes to see which of them come up.
func (w *wayOut) tryPaths(ctx context.Context) (map[wayKey]tunnel.PathStats, error) {
	g, greet := w.g, w.greeter(0)
	bounded, cancel := context.WithTimeout(ctx, 2*helloTime)
	defer cancel()
	won, err := greet.round(bounded, attempts(g.snap, w.remotes.list))
	if err != nil {
		return nil, err
	}
	s, err := g.host.newSession(g.clock.now(), sessionConfig(won), newRand())
	if err != nil {
		return nil, err
	}
	w.engine = newEngine(w.name, g.clock, g.log, nowhere{}, g.sockets, &g.drops, aside{w})
	go w.engine.run() // joined below
	defer func() {
		w.engine.stop(closeShutdown, "the check is over")
		<-w.engine.done
		g.sockets.closeAll()
	}()
	g.demux.addSession(won.Offer.Index, w.engine)
	g.openSources(ctx)
	want := g.wanted(w)
	w.engine.call(ctx, func(now time.Duration) {
		w.engine.swap(now, s)
		w.engine.paths.set(now, w.engine, want)
	})
	stats := func() map[wayKey]tunnel.PathStats { return (&gatewayCarriers{g: g, way: w}).stats(ctx) }
	for end := time.Now().Add(netcheckTime); time.Now().Before(end) && ctx.Err() == nil; {
		up := 0
		for p := range maps.Values(stats()) {
			if p.State == scheduler.Up.String() {
				up++
			}
		}
		if up >= len(want) {
			break
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	return stats(), nil
}
