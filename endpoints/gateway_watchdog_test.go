package endpoints

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/hook"
	"github.com/bondd/bondd/endpoints/meter"
	"github.com/bondd/bondd/endpoints/probe"
	"github.com/bondd/bondd/endpoints/uplink"
)

// hookTest keeps what was told instead of running it.
type hookTest struct {
	mu     sync.Mutex
	told   []hook.Event
	closed bool
}

func (h *hookTest) Tell(e hook.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, e)
}
func (h *hookTest) Close() { h.closed = true }

// take returns the commands told since the last time, and the environment of the last.
func (h *hookTest) take() (commands string, env []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, e := range h.told {
		list, env = append(list, e.Command), e.Env
	}
	h.told = nil
	return strings.Join(list, " "), env
}

var watchdogHooks = config.Hooks{Up: "up", Down: "redial", Degraded: "bad", Timeout: time.Second, Repeat: time.Minute}

// withHooks runs f with a gateway whose first uplink has hooks, ten seconds after its start. They have to be ended with it.
func withHooks(t *testing.T, f func(w *world, h *hookTest)) {
	t.Helper()
	h := &hookTest{}
	inWorld(t, func(w *world) {
		w.gateway.cfg.Uplinks = []config.Uplink{{Interface: "one", Name: "dsl", Hooks: watchdogHooks}, {Interface: "two"}}
		w.gateway.h.newHook = func(func(hook.Result)) hookRunner { return h }
	}, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(10 * time.Second)
		f(w, h)
	})
	if !h.closed {
		t.Error("the hooks were not ended")
	}
}

// The watchdog of 2014: the line is dead although its interface is up.
func TestDeadLineIsRedialled(t *testing.T) {
	withHooks(t, func(w *world, h *hookTest) {
		if got, _ := h.take(); got != "up" {
			t.Errorf("at the start: %q", got)
		}
		w.setCut(true, "one")
		time.Sleep(4 * time.Second)
		if got, _ := h.take(); got != "" {
			t.Errorf("after 4 s of silence: %q", got)
		}
		time.Sleep(10 * time.Second)
		got, env := h.take()
		if got != "redial" {
			t.Errorf("dead: %q", got)
		}
		for _, want := range []string{"BONDD_EVENT=down", "BONDD_UPLINK=dsl", "BONDD_INTERFACE=one", "BONDD_ADDRESS=192.0.2.2", "BONDD_LINK=up", "BONDD_COUNT=1"} {
			if !slices.Contains(env, want) {
				t.Errorf("no %s in %q", want, env)
			}
		}
		if u := w.gateway.status().Uplinks[0]; u.Health != "down" || u.Why == "" || !u.Up {
			t.Errorf("status: %+v", u)
		}
		time.Sleep(2 * time.Minute)
		if got, env := h.take(); got != "redial redial" || !slices.Contains(env, "BONDD_COUNT=3") {
			t.Errorf("two minutes later: %q, %q", got, env)
		}
		w.setCut(false, "one")
		time.Sleep(10 * time.Second)
		if got, _ := h.take(); got != "up" {
			t.Errorf("back: %q", got)
		}
		w.uplinks(w.two)
		time.Sleep(5 * time.Second)
		if got, env := h.take(); got != "redial" || !slices.Contains(env, "BONDD_LINK=down") {
			t.Errorf("unplugged: %q, %q", got, env)
		}
		w.uplinks(w.one, w.two)
		time.Sleep(5 * time.Second)
		if got, _ := h.take(); got != "up" {
			t.Errorf("plugged in again: %q", got)
		}
	})
}

// A line that fails again and again, and comes back each time, is not dead.
func TestFlappingLineIsDegraded(t *testing.T) {
	withHooks(t, func(w *world, h *hookTest) {
		h.take()
		for i := range uint32(flapsBad) {
			w.setCut(true, "one")
			w.echo(i, time.Second) // so that it is noticed
			time.Sleep(time.Second)
			w.setCut(false, "one")
			time.Sleep(10 * time.Second)
		}
		if got, env := h.take(); got != "bad" || !slices.Contains(env, "BONDD_EVENT=degraded") || !slices.Contains(env, "BONDD_LINK=up") {
			t.Errorf("told %q, with %q", got, env)
		}
		time.Sleep(flapWindow)
		if got, _ := h.take(); got != "up" {
			t.Errorf("a minute later: %q", got)
		}
	})
}

// When the exit is dead, no line is: unless its probe target says so.
func TestDeadExitIsNoDeadLine(t *testing.T) {
	one, two := &hookTest{}, &hookTest{}
	var mu sync.Mutex
	alive, asked := true, map[string]int{}
	inWorld(t, func(w *world) {
		w.gateway.cfg.Uplinks = []config.Uplink{{Interface: "one", Hooks: watchdogHooks, Probe: []string{"192.0.2.250"}}, {Interface: "two", Hooks: watchdogHooks}}
		hooks := []*hookTest{one, two}
		w.gateway.h.newHook = func(func(hook.Result)) hookRunner { h := hooks[0]; hooks = hooks[1:]; return h }
		w.gateway.h.probe = func(ctx context.Context, target string, from uplink.Uplink) error {
			mu.Lock()
			defer mu.Unlock()
			asked[from.Name+" "+target]++
			if !alive {
				return probe.ErrSilent
			}
			return nil
		}
	}, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(10 * time.Second)
		one.take()
		two.take()
		w.setCut(true, "one", "two")
		time.Sleep(time.Minute)
		a, _ := one.take()
		b, _ := two.take()
		if a+b != "" {
			t.Errorf("the exit is dead: %q, %q", a, b)
		}
		mu.Lock()
		if n := asked["one 192.0.2.250"]; n < 5 || n > 7 || len(asked) != 1 {
			t.Errorf("in a minute the targets were asked %v", asked)
		}
		alive = false
		mu.Unlock()
		time.Sleep(25 * time.Second)
		a, _ = one.take()
		b, _ = two.take()
		if a != "redial" || b != "" {
			t.Errorf("the target does not answer: %q, %q", a, b)
		}
		w.setCut(false, "one", "two")
		w.waitEcho(10 * time.Second)
	})
}

// A host that may not ask knows no more than one that has no target.
func TestNoRightToProbe(t *testing.T) {
	h := &hookTest{}
	inWorld(t, func(w *world) {
		w.gateway.cfg.Uplinks = []config.Uplink{{Interface: "one", Hooks: watchdogHooks, Probe: []string{"gateway", "192.0.2.250"}}}
		w.gateway.h.newHook = func(func(hook.Result)) hookRunner { return h }
		w.gateway.h.probe = func(context.Context, string, uplink.Uplink) error {
			return fmt.Errorf("raw socket: %w", fs.ErrPermission)
		}
	}, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(10 * time.Second)
		w.setCut(true, "one", "two")
		time.Sleep(time.Minute)
		if got, _ := h.take(); got != "up" {
			t.Errorf("told %q", got)
		}
		if n := w.gateway.log.count("probe targets cannot be asked"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

// A quota: used up, the uplink goes; a new month, it comes back; in between bondd is started again.
func TestQuota(t *testing.T) {
	for then, want := range map[string]string{
		config.QuotaOff:      "one up",
		config.QuotaBackup:   "one up, two up backup",
		config.QuotaThrottle: "one up, two up",
	} {
		t.Run(then, func(t *testing.T) {
			dir := t.TempDir()
			var mu sync.Mutex
			carried := uint64(5000)
			wall := time.Date(2026, 3, 30, 12, 0, 0, 0, time.Local)
			inWorld(t, func(w *world) {
				w.gateway.cfg.StateDir = dir
				w.gateway.cfg.Uplinks = []config.Uplink{{Interface: "one"}, {Interface: "two", Quota: config.Quota{Bytes: 1e6, Day: 1, Then: then}}}
				w.gateway.h.wall = func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return wall
				}
				w.gateway.h.traffic = func(device string) (meter.Reading, error) {
					mu.Lock()
					defer mu.Unlock()
					if device != "two" {
						return meter.Reading{}, errors.New("nobody asked for that")
					}
					return meter.Reading{Interface: device, Ifindex: 7, Boot: "x", Bytes: carried}, nil
				}
			}, func(w *world) {
				time.Sleep(10 * time.Second)
				w.wantPaths("at first", "one up, two up")
				mu.Lock()
				carried += 1_000_000
				mu.Unlock()
				time.Sleep(10 * time.Second)
				w.wantPaths("used up", want)
				if u := w.gateway.status().Uplinks[1]; u.Used != 1_000_000 || u.Quota != 1e6 || !strings.Contains(u.Reason, "quota of 1MB") {
					t.Errorf("status: %+v", u)
				}
				w.ended(w.gateway)
				w.gateway.start()
				w.waitEcho(5 * time.Second)
				time.Sleep(10 * time.Second)
				w.wantPaths("after a new start", want)
				mu.Lock()
				wall = wall.Add(48 * time.Hour)
				mu.Unlock()
				time.Sleep(10 * time.Second)
				w.wantPaths("a new month", "one up, two up")
			})
		})
	}
}
