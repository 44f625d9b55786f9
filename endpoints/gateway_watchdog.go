package endpoints

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/hook"
	"github.com/bondd/bondd/endpoints/meter"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel"
)

const (
	// probeEvery is how often a silent uplink's target is asked, probeEveryMetered the same where it costs: an echo and its reply are 56 bytes,
	// 2.4 MB a month at the latter.
	probeEvery        = 10 * time.Second
	probeEveryMetered = time.Minute
	// probeTime bounds one question; a second covers a satellite, and a lost packet is asked again.
	probeTime = 3 * time.Second
	// meterEvery is how often the kernel's counters are read: at 10 Mb/s a quota is overrun by 6 MB at most.
	meterEvery = 5 * time.Second
	// saveEvery is how often sums go to the disk, which may be a flash card.
	saveEvery = time.Minute
	quotaFile = "quota.json"
)

// hookRunner is what is used of a hook.Runner.
type hookRunner interface {
	Tell(e hook.Event)
	Close()
}

// watchdog follows each uplink's health, runs its hooks, and counts its traffic. The goroutine of serve owns it.
type watchdog struct {
	wg      *sync.WaitGroup
	lines   map[string]*watched // by name of the uplink in the kernel
	answers chan probeAnswer
	book    *meter.Book // nil without a quota
	saved   time.Time
	counted time.Time
	noRight bool // told that there is none to ask
}

// watched is one uplink.
type watched struct {
	entry  config.Uplink
	last   uplink.Uplink // as it was seen last
	health health
	runner hookRunner // nil without hooks
	told   time.Duration
	count  int // how often its state has been told

	asking  bool
	askedAt time.Duration
	probeAt time.Duration // of the last answer
	probed  bool
	probeOK bool
}

// probeAnswer is the end of a question.
type probeAnswer struct {
	name string
	err  error
}

func (w *watchdog) open(g *gateway, wg *sync.WaitGroup) {
	w.wg, w.lines, w.answers = wg, map[string]*watched{}, make(chan probeAnswer)
	if slices.ContainsFunc(g.config().Uplinks, func(u config.Uplink) bool { return u.Quota.Bytes != 0 }) {
		var err error
		if w.book, err = meter.Open(filepath.Join(g.cfg.StateDir, quotaFile)); err != nil {
			g.log.Warn("quotas", "error", err)
		}
		for _, e := range g.config().Uplinks {
			g.uses.spent[quotaName(e)] = e.Quota.Bytes != 0 && w.book.Used(quotaName(e)) >= uint64(e.Quota.Bytes)
		}
	}
}

// close ends the hooks under way and writes the sums down.
func (w *watchdog) close(g *gateway) {
	for _, name := range slices.Sorted(maps.Keys(w.lines)) {
		if r := w.lines[name].runner; r != nil {
			r.Close()
		}
	}
	w.save(g)
}

func (w *watchdog) save(g *gateway) {
	if w.book == nil {
		return
	}
	w.saved = time.Now()
	if err := w.book.Save(); err != nil {
		g.log.Warn("quotas", "error", err)
	}
}

// line finds or makes what is watched of an uplink.
func (g *gateway) line(name string, e config.Uplink) *watched {
	l := g.dog.lines[name]
	if l == nil {
		l = &watched{}
		g.dog.lines[name] = l
	}
	l.entry = e
	if l.runner == nil && e.Hooks.Any() {
		l.runner = g.host.newHook(func(r hook.Result) {
			if r.Err != nil {
				g.log.Warn("hook failed", "uplink", e.Name, "command", r.Command, "error", r.Err, "output", r.Output)
				return
			}
			g.log.Info("hook done", "uplink", e.Name, "command", r.Command, "took", r.Took.Round(time.Millisecond), "output", r.Output)
		})
	}
	return l
}

// tick is called once per healthTick.
func (g *gateway) tick(ctx context.Context) {
	now := g.clock.now()
	all := g.gather(ctx)
	here := map[string]bool{}
	for _, u := range g.uses.seen.Uplinks {
		here[u.Name] = true
		t := g.terms(u)
		if t.Mode == config.ModeOff {
			if l := g.dog.lines[u.Name]; l != nil {
				l.health = health{} // what it is when it comes back is news
			}
			continue
		}
		l := g.line(u.Name, t.Uplink)
		l.last = u
		g.look(ctx, now, u.Name, l, all[u.Name])
	}
	for _, e := range g.config().Uplinks { // those that have never been there
		if _, isPattern := e.Pattern(); !isPattern && e.Mode != config.ModeOff {
			if name := kernelName(e); !here[name] {
				here[name] = true
				g.look(ctx, now, name, g.line(name, e), facts{})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.dog.lines)) { // those that are gone
		if !here[name] {
			g.look(ctx, now, name, g.dog.lines[name], facts{})
		}
	}
	g.countTraffic(ctx)
	g.setStatus(func(st *gatewayStatus) { st.uplinks = g.uplinkStatus() })
}

// kernelName is the name of the uplink that an entry stands for.
func kernelName(e config.Uplink) string {
	o := watchOptions(&config.Config{Uplinks: []config.Uplink{e}})
	if len(o.Hops) > 0 {
		return o.Hops[0].Name()
	}
	return e.Interface
}

// gather asks the engine of the way out how the paths of each uplink fare.
func (g *gateway) gather(ctx context.Context) map[string]facts {
	fs, w := make(map[string]facts), g.chosen.Load()
	for _, u := range g.snap.Uplinks {
		fs[u.Name] = facts{link: u.Usable4() || u.Usable6(), sessionID: w.index}
	}
	bounded, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	// What the engine fills in is its own: when it answers too late, nobody reads it.
	of, up, all := make(map[string]facts), make(map[string]int), 0
	if !w.engine.call(bounded, func(now time.Duration) {
		if w.engine.s == nil {
			return
		}
		stats := w.engine.s.Stats(now).Paths
		for _, k := range w.engine.paths.kept {
			i := slices.IndexFunc(stats, func(p tunnel.PathStats) bool { return p.ID == k.id })
			if i < 0 {
				continue
			}
			p, f := &stats[i], of[k.uplink]
			f.sent, f.lost, f.failures = f.sent+p.SentDatagrams, f.lost+p.LostDatagrams, f.failures+p.Suspicions
			if p.State == "up" {
				f.answers = true
				up[k.uplink]++
				all++
			}
			of[k.uplink] = f
		}
	}) {
		return fs
	}
	for name, f := range fs {
		p := of[name]
		f.sent, f.lost, f.failures, f.answers = p.sent, p.lost, p.failures, p.answers
		f.others = all > up[name]
		fs[name] = f
	}
	return fs
}

// look judges one uplink and tells its hooks.
func (g *gateway) look(ctx context.Context, now time.Duration, name string, l *watched, f facts) {
	every := probeEvery
	if l.entry.Metered {
		every = probeEveryMetered
	}
	if f.answers {
		l.probed = false
	} else if f.link && len(l.entry.Probe) > 0 && !l.asking && (l.askedAt == 0 || now-l.askedAt >= every) {
		l.asking, l.askedAt = true, now
		g.dog.wg.Go(func() { g.ask(ctx, name, l.last, l.entry.Probe) }) // joined by serve
	}
	f.probed, f.probeOK = l.probed && now-l.probeAt < 2*every, l.probeOK
	changed := l.health.see(now, f)
	if changed {
		l.count = 0
		g.log.Info("uplink is "+l.health.state.String(), "uplink", l.entry.Name, "reason", l.health.reason)
	}
	h := l.entry.Hooks
	command := map[healthState]string{healthUp: h.Up, healthDegraded: h.Degraded, healthDown: h.Down}[l.health.state]
	again := l.health.state == healthDown && h.Repeat > 0 && now-l.told >= h.Repeat
	if l.runner == nil || command == "" || !changed && !again {
		return
	}
	l.count++
	l.told = now
	l.runner.Tell(hook.Event{Command: command, Timeout: h.Timeout, Env: l.environment(now, f.link)})
}

// environment is what a hook learns. docs/configuration.md names them.
func (l *watched) environment(now time.Duration, link bool) []string {
	address, gateway := l.last.Source4, l.last.Gateway4
	if !address.IsValid() {
		address, gateway = l.last.Source6, l.last.Gateway6
	}
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	device := l.last.Interface()
	if device == "" {
		device = l.entry.Interface
	}
	linkState := "down"
	if link {
		linkState = "up"
	}
	return []string{
		"BONDD_EVENT=" + l.health.state.String(), "BONDD_UPLINK=" + l.entry.Name, "BONDD_INTERFACE=" + device,
		"BONDD_GATEWAY=" + text(gateway), "BONDD_ADDRESS=" + text(address), "BONDD_LINK=" + linkState, "BONDD_REASON=" + l.health.reason,
		"BONDD_FOR=" + strconv.Itoa(int((now - l.health.since).Seconds())), "BONDD_COUNT=" + strconv.Itoa(l.count),
	}
}

// ask asks the targets of an uplink until one answers, in a goroutine of its own.
func (g *gateway) ask(ctx context.Context, name string, u uplink.Uplink, targets []string) {
	var err error
	for _, t := range targets {
		if t == "gateway" {
			if t = routerOf(u); t == "" {
				continue // no router and no far end: nothing that could be asked
			}
		}
		bounded, cancel := context.WithTimeout(ctx, probeTime)
		err = g.host.probe(bounded, t, u)
		cancel()
		if err == nil {
			break
		}
	}
	select {
	case g.dog.answers <- probeAnswer{name, err}:
	case <-ctx.Done():
	}
}

// routerOf is the next hop of an uplink or its far end; empty if it has neither.
func routerOf(u uplink.Uplink) string {
	for _, a := range []netip.Addr{u.Gateway4, u.Peer4, u.Gateway6} {
		if a.IsValid() {
			if a.IsLinkLocalUnicast() && a.Is6() {
				a = a.WithZone(u.Interface())
			}
			return a.String()
		}
	}
	return ""
}

// answered takes the end of a question.
func (g *gateway) answered(a probeAnswer) {
	l := g.dog.lines[a.name]
	if l == nil {
		return
	}
	l.asking = false
	if errors.Is(a.err, fs.ErrPermission) {
		if !g.dog.noRight {
			g.dog.noRight = true
			g.log.Warn("probe targets cannot be asked", "error", a.err)
		}
		return
	}
	l.probed, l.probeOK, l.probeAt = true, a.err == nil, g.clock.now()
}

// countTraffic reads the counters of uplinks with a quota, and changes how they are used when it is used up or begins anew.
func (g *gateway) countTraffic(ctx context.Context) {
	d := &g.dog
	if d.book == nil || time.Since(d.counted) < meterEvery {
		return
	}
	d.counted = time.Now()
	changed := false
	for _, u := range g.uses.seen.Uplinks {
		e := g.entry(u)
		if e.Quota.Bytes == 0 {
			continue
		}
		r, err := g.host.traffic(u.Interface())
		if err != nil {
			continue // it is gone; the next snapshot says so
		}
		name := quotaName(e)
		d.book.Count(g.host.wall(), name, e.Quota.Day, r)
		spent := d.book.Used(name) >= uint64(e.Quota.Bytes)
		if spent != g.uses.spent[name] {
			g.uses.spent[name], changed = spent, true
			g.log.Info("quota", "uplink", e.Name, "used up", spent, "bytes", d.book.Used(name), "of", e.Quota.Bytes)
		}
	}
	if changed || time.Since(d.saved) >= saveEvery {
		d.save(g)
	}
	if changed {
		g.changed(ctx, g.uses.seen)
	}
}
