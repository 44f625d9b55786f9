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
	Running bool              `json:"running"` // a bondd runs here; datagrams to exits that it has a session with are judged by its paths
	Machine []NetcheckFeature `json:"machine"`
	Exits   []NetcheckExit    `json:"exits,omitempty"` // of a gateway
}

// NetcheckExit is an exit of a gateway, and how its uplinks reach it.
type NetcheckExit struct {
	Name      string           `json:"name"`
	Addresses []netip.AddrPort `json:"addresses,omitempty"` // its own and those of its relays
	Uplinks   []NetcheckUplink `json:"uplinks,omitempty"`
	Error     string           `json:"error,omitempty"` // why uplinks could not be checked
}

// NetcheckFeature is a right or a feature of the kernel.
type NetcheckFeature struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // bondd does not run without
	Note     string `json:"note,omitempty"`
}

// NetcheckUplink is an uplink of a gateway, towards the first address of an exit that it can reach.
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

// Complete tells whether the machine has what bondd needs, and whether every uplink reaches every exit by TCP and by UDP.
func (n *Netcheck) Complete() (machine, uplinks bool) {
	machine = !slices.ContainsFunc(n.Machine, func(f NetcheckFeature) bool { return f.Required && !f.OK })
	uplinks = n.Role != string(config.RoleGateway) || len(n.Exits) > 0
	for _, x := range n.Exits {
		uplinks = uplinks && x.Error == "" && len(x.Uplinks) > 0 && !slices.ContainsFunc(x.Uplinks, func(u NetcheckUplink) bool { return !u.TCP || !u.UDP })
	}
	return machine, uplinks
}

// CheckNetwork looks at this machine and, for a gateway, tries its uplinks towards the exit of that name, or every exit if it is empty. It changes
// nothing here. It makes a session for a moment with an exit that no bondd here has one with. It always returns something.
func CheckNetwork(ctx context.Context, cfg *config.Config, exit string) *Netcheck {
	h := machine()
	n := &Netcheck{Role: string(cfg.Role), Machine: checkMachine(h)}
	st, err := ReadStatus(ctx, cfg.Control)
	if n.Running = err == nil; !n.Running {
		st = &Status{}
	}
	if cfg.Role != config.RoleGateway {
		return n
	}
	for i, x := range cfg.Exits() {
		if exit != "" && exit != x.Title() {
			continue
		}
		g := newGateway(cfg, slog.New(slog.DiscardHandler), h) // its sockets are closed behind a trial
		r := NetcheckExit{Name: x.Title()}
		if err := g.checkUplinks(ctx, g.ways[i], &r, st); err != nil {
			r.Error = err.Error()
		}
		n.Exits = append(n.Exits, r)
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

// checkUplinks tries every uplink towards one exit.
func (g *gateway) checkUplinks(ctx context.Context, w *wayOut, n *NetcheckExit, running *Status) error {
	m, err := g.host.watch(watchOptions(g.cfg))
	if err != nil {
		return err
	}
	defer m.Close()
	if g.snap, err = m.Next(ctx); err != nil {
		return err
	}
	if w.remotes = w.remotes.lookup(ctx, 0, g.host, g.snap.Uplinks); len(w.remotes.list) == 0 {
		return w.remotes.err
	}
	n.Addresses = w.remotes.list
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
	paths := w.pathsOf(running)
	if paths == nil {
		if paths, err = w.tryPaths(ctx); err != nil {
			return err
		}
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

// pathsOf are the paths to the exit that a running node has, by uplink and remote; nil if it has no session with it.
func (w *wayOut) pathsOf(running *Status) map[wayKey]tunnel.PathStats {
	i := slices.IndexFunc(running.Sessions, func(s SessionStatus) bool { return s.Key == w.key.String() && s.Stats != nil })
	if i < 0 {
		return nil
	}
	paths := make(map[wayKey]tunnel.PathStats)
	for _, p := range running.Sessions[i].Stats.Paths {
		for _, u := range w.g.snap.Uplinks {
			for _, r := range w.remotes.list {
				if p.Name == w.pathName(w.g.terms(u).Name, r) {
					paths[wayKey{u.Name, r}] = p
				}
			}
		}
	}
	return paths
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
