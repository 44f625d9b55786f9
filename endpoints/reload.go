package endpoints

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/tunnel/control"
)

// Reload is what became of a reload.
type Reload struct {
	Errors   []string        `json:"errors,omitempty"` // what is wrong with the configuration; then nothing was changed
	Changes  []config.Change `json:"changes"`
	Troubles []string        `json:"troubles,omitempty"` // what was changed and could not be put in place
}

// reloads is how the configuration of a running node changes. The file is read and compared by whoever asks, one at a time; the goroutine of
// serve applies it.
type reloads struct {
	now atomic.Pointer[config.Config]
	due chan *reloadTask
	one sync.Mutex // a reload at a time
}

// reloadTask is a configuration that is to be applied.
type reloadTask struct {
	old, cfg *config.Config
	changes  []config.Change
	remotes  map[control.PublicKey]remotes // of a gateway whose exits have other addresses now
	done     chan []string
}

func (r *reloads) init(cfg *config.Config) {
	r.now.Store(cfg)
	r.due = make(chan *reloadTask)
}

// changed tells whether one of the settings, or something inside them, is different.
func (t *reloadTask) changed(settings ...string) bool {
	return slices.ContainsFunc(t.changes, func(c config.Change) bool { return !c.Restart && isSetting(c.Setting, settings) })
}

func isSetting(setting string, list []string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return setting == s || strings.HasPrefix(setting, s+".") })
}

// config is the configuration as the last reload left it. Any goroutine may call it; who needs two answers that fit together calls it once.
func (n *node) config() *config.Config { return n.reloads.now.Load() }

// reloadable are the settings that a reload applies; every other one takes a restart.
var reloadable = map[config.Role][]string{
	config.RoleGateway: {"log_level", "uplink", "lan", "bypass", "stream", "rule", "exit.address", "exit.relays", "forward"},
	config.RoleExit:    {"log_level", "gateway", "stream"},
	config.RoleRelay:   {"log_level"},
}

// fixed are the ones among these that are read once, at the start.
var fixed = []string{"stream.mode", "stream.bench"}

// isLive tells whether a reload applies a setting.
func (n *node) isLive(setting string) bool {
	return isSetting(setting, reloadable[n.cfg.Role]) && !isSetting(setting, fixed)
}

// differences are the changes from the configuration that holds, and those since the start that still take a restart.
func (n *node) differences(cfg *config.Config) []config.Change {
	var out []config.Change
	for _, c := range config.Diff(n.config(), cfg) {
		if n.isLive(c.Setting) {
			out = append(out, c)
		}
	}
	for _, c := range config.Diff(n.cfg, cfg) {
		if !n.isLive(c.Setting) {
			c.Restart = true
			out = append(out, c)
		}
	}
	return out
}

// reload reads the configuration anew and applies it. If it is wrong nothing is changed. Any goroutine may call it but that of serve.
func (n *node) reload(ctx context.Context) *Reload {
	n.reloads.one.Lock()
	defer n.reloads.one.Unlock()
	load := n.host.process.Load
	if load == nil {
		return &Reload{Errors: []string{"this bondd was not started from a file and has nothing to read again"}}
	}
	n.tell(stateReloading())
	defer n.tell(stateReady)
	cfg, err := load()
	if err == nil && cfg.Role != n.cfg.Role {
		err = fmt.Errorf("the role has changed from %q to %q, which takes a restart; nothing was changed", n.cfg.Role, cfg.Role)
	}
	if err != nil {
		n.log.Warn("not reloaded; the configuration of before holds", "error", oneLine(err))
		return &Reload{Errors: linesOf(err)}
	}
	t := &reloadTask{old: n.config(), cfg: cfg, changes: n.differences(cfg), done: make(chan []string, 1)}
	r := &Reload{Changes: t.changes}
	for _, c := range t.changes {
		n.log.Info("reload", "change", c)
	}
	if len(t.changes) == 0 {
		return r
	}
	if t.changed("exit.address", "exit.relays") {
		t.remotes = n.lookAgain(ctx, cfg)
	}
	select {
	case n.reloads.due <- t:
		r.Troubles = <-t.done
	case <-ctx.Done():
		return &Reload{Errors: []string{"the node is ending, or busy; nothing was changed"}}
	}
	if level := n.host.process.Level; level != nil {
		level.Set(cfg.LogLevel)
	}
	for _, text := range r.Troubles {
		n.log.Warn("reload", "trouble", text)
	}
	return r
}

// lookAgain looks up the new addresses of the exit, as far as they are names, before anything waits for them.
func (n *node) lookAgain(ctx context.Context, cfg *config.Config) map[control.PublicKey]remotes {
	bounded, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	all := make(map[control.PublicKey]remotes)
	for _, x := range cfg.Exits() {
		all[x.Key] = newRemotes(remotesOf(x)).lookup(bounded, n.clock.now(), n.host, n.first.Uplinks)
	}
	return all
}

// linesOf are the errors that are joined in one, each for itself.
func linesOf(err error) []string {
	var es config.Errors
	if !errors.As(err, &es) {
		return []string{err.Error()}
	}
	var out []string
	for _, p := range es {
		out = append(out, p.String())
	}
	return out
}

// apply makes a gateway what the new configuration says, with its session kept. It runs on the goroutine of serve and returns what could
// not be done.
func (g *gateway) apply(ctx context.Context, t *reloadTask) (troubles []string) {
	g.reloads.now.Store(t.cfg)
	s := &g.streams
	trouble := func(err error) {
		if err != nil {
			troubles = append(troubles, oneLine(err))
		}
	}
	if t.changed("uplink", "lan") {
		g.monitor.SetOptions(watchOptions(t.cfg))
	}
	for _, w := range g.ways {
		if rs, ok := t.remotes[w.key]; ok {
			trouble(rs.err)
			w.remotes = rs
		}
	}
	if t.changed("rule") {
		trouble(g.followRules(t.cfg))
		g.chooseExit(ctx)
		g.route(ctx)
		for _, w := range g.ways {
			w.setOwnMTU(ctx)
		}
	}
	if t.changed("bypass", "rule") {
		trouble(g.updateTaking())
	}
	if t.changed("stream.intercept") {
		switch {
		case t.cfg.Stream.InterceptOff:
			trouble(g.stopTaking())
			s.setState("off by configuration")
		case s.capabilities != nil:
			g.followExitStreams(s.capabilities)
		default:
			s.setState("waiting for the exit")
		}
	}
	if t.changed("stream.socks", "stream.http") {
		trouble(g.setProxies(t.cfg))
	}
	if t.changed("forward", "rule") {
		trouble(g.setFirewall())
		g.publishRules()
	}
	if t.changed("forward") {
		trouble(g.makeForwardTo(t.cfg.Forwards))
	}
	if t.changed("uplink", "lan", "exit.address", "exit.relays") {
		g.changed(ctx, g.uses.seen)
	}
	return troubles
}

// apply makes an exit what the new configuration says. Sessions of gateways that stay as they are go on; those that are gone are ended, and
// those whose inner addresses have changed too: their gateways say hello again. It runs on the goroutine of serve.
func (x *exit) apply(t *reloadTask) (troubles []string) {
	dialers, err := x.makeDialers(t.cfg, t.old)
	if err != nil {
		return []string{oneLine(err)}
	}
	x.reloads.now.Store(t.cfg)
	x.streams.dialers.Store(&dialers)
	if t.changed("stream.announce") {
		if err := x.announce(); err != nil {
			troubles = append(troubles, oneLine(err))
		}
	}
	if t.changed("gateway") {
		if err := x.host.setFirewall(exitFirewall(t.cfg)); err != nil {
			troubles = append(troubles, oneLine(err))
		}
		troubles = append(troubles, x.setForwards(t.cfg)...)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.sessions {
		switch g := x.gatewayOf(a.gateway.Key); {
		case g == nil:
			a.end(closeRemoved, "this gateway is no longer known to the exit")
		case !slices.Equal(g.Addresses, a.gateway.Addresses):
			a.end(closeMoved, "the inner addresses of this gateway have changed")
		}
	}
	return troubles
}
