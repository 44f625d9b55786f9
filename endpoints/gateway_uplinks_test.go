package endpoints

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
)

// inWorld is inBubble with something to be set before the nodes start.
func inWorld(t *testing.T, set func(w *world), f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		set(w)
		w.gateway.cfg.SetDefaults()
		w.exit.start()
		w.gateway.start()
		f(w)
		w.ended(w.gateway)
		w.ended(w.exit)
	})
}

// order asks the gateway as "bondd path" does.
func (w *world) order(name, action string) error {
	conn, err := w.gateway.unix.dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	err = orderPath(context.Background(), "test", name, action, func(context.Context) (net.Conn, error) { return conn, nil })
	synctest.Wait()
	return err
}

// paths are the paths of the gateway that are not closed, with their state.
func (w *world) paths() string {
	var out []string
	for _, p := range w.gateway.status().Sessions[0].Stats.Paths {
		if p.State != "closed" {
			s := p.Name + " " + p.State
			if p.Backup {
				s += " backup"
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

func (w *world) wantPaths(what, want string) {
	w.t.Helper()
	time.Sleep(time.Second)
	if got := w.paths(); got != want {
		w.t.Errorf("%s: paths %q, want %q", what, got, want)
	}
}

func TestModesAtRunTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.gateway.cfg.Uplinks = []config.Uplink{{Interface: "one", Name: "dsl"}, {Interface: "two", Mode: config.ModeOff}}
	}, func(w *world) {
		w.waitEcho(5 * time.Second)
		w.wantPaths("two is off", "dsl up")
		if st := w.gateway.status().Uplinks; len(st) != 2 || st[1].Mode != "off" || len(w.gateway.status().Sockets) != 1 {
			t.Errorf("an uplink that is off: %+v, %d sockets", st, len(w.gateway.status().Sockets))
		}
		if p := w.gateway.planned().String(); strings.Contains(p, "dev two") {
			t.Errorf("an uplink that is off has routes:\n%s", p)
		}
		if err := w.order("two", "up"); err != nil {
			t.Error(err)
		}
		w.wantPaths("two was asked for", "dsl up, two up")
		if err := w.order("dsl", "backup"); err != nil {
			t.Error(err)
		}
		w.wantPaths("dsl is a backup", "dsl up backup, two up")
		if rtt, ok := w.echo(1, time.Second); !ok || rtt < 50*time.Millisecond {
			t.Errorf("echo after %v, %v; the slower uplink, which takes 60 ms, should carry it", rtt, ok)
		}
		if n := w.exit.log.count("gateway connected"); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if err := w.order("dsl", "drain"); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		if got := w.paths(); got != "dsl up, two up" && got != "dsl up backup, two up" {
			t.Errorf("while draining: %q", got)
		}
		time.Sleep(12 * time.Second)
		w.wantPaths("drained", "two up")
		if u := w.gateway.status().Uplinks[0]; u.Mode != "off" || u.Reason != "drained" {
			t.Errorf("drained: %+v", u)
		}
		if err := w.order("dsl", "up"); err != nil {
			t.Error(err)
		}
		if err := w.order("two", "down"); err != nil {
			t.Error(err)
		}
		w.wantPaths("back as configured, two down", "dsl up")
		if rtt, ok := w.echo(2, time.Second); !ok || rtt > 30*time.Millisecond {
			t.Errorf("echo after %v, %v", rtt, ok)
		}
		if err := w.order("nosuch", "up"); err == nil || !strings.Contains(err.Error(), `"nosuch"; there are dsl, two`) {
			t.Errorf("order to nobody: %v", err)
		}
		if err := w.order("dsl", "sing"); err == nil {
			t.Error("asked to sing, it says nothing")
		}
	})
}

// Uplinks of one line are one group; a path is uplink times remote.
func TestWantedPaths(t *testing.T) {
	r1, r2 := netip.MustParseAddrPort("203.0.113.1:7117"), netip.MustParseAddrPort("203.0.113.2:7117")
	cfg := &config.Config{Role: config.RoleGateway, Uplinks: []config.Uplink{
		{Interface: "ppp0", Name: "adsl", Line: "copper", MaxDown: 8e6},
		{Interface: "tun1", Name: "vpn", Line: "copper"},
		{Interface: "wwan*", Name: "wwan", Mode: config.ModeBackup, When: config.BackupFull, Metered: true},
	}}
	g := newGateway(cfg, nil, &host{})
	g.ways[0].remotes.list = []netip.AddrPort{r1, r2}
	for i, name := range []string{"ppp0", "tun1", "wwan3"} {
		u := testUplink(name, i+1, addrOne)
		g.snap.Uplinks = append(g.snap.Uplinks, u)
		g.sources[name] = source{u, i}
	}
	g.uses.asked["adsl>"+r2.String()] = config.ModeOff
	var names []string
	groups := map[uint8]int{}
	for _, w := range g.wanted(g.ways[0]) {
		names = append(names, strings.TrimSuffix(w.spec.Name, ":7117"))
		groups[w.spec.Group]++
		if lte := strings.HasPrefix(w.spec.Name, "wwan"); w.spec.Backup != lte || w.spec.Full != lte || w.spec.Metered != lte {
			t.Errorf("%s: %+v", w.spec.Name, w.spec)
		}
		if w.uplink == "ppp0" && w.spec.PeerMaxRate != 1e6 {
			t.Errorf("the peer of %s may send %v bytes/s", w.spec.Name, w.spec.PeerMaxRate)
		}
	}
	want := []string{"adsl>203.0.113.1", "vpn>203.0.113.1", "vpn>203.0.113.2", "wwan:wwan3>203.0.113.1", "wwan:wwan3>203.0.113.2"}
	if !slices.Equal(names, want) || len(groups) != 2 {
		t.Errorf("paths %q in groups %v, want %q in two", names, groups, want)
	}
	if r := g.ranked(); r[2].Name != "wwan3" {
		t.Errorf("the hello tries %v first", r)
	}
}

func TestPlanText(t *testing.T) {
	cfg := &config.Config{Role: config.RoleGateway, Uplinks: []config.Uplink{
		{Interface: "one", Name: "dsl", Mode: config.ModeAlways}, {Interface: "two", Name: "lte", Mode: config.ModeOff}}}
	cfg.SetDefaults()
	one, two := testUplink("one", 1, addrOne), testUplink("two", 2, addrTwo)
	h := &host{watch: func(o uplink.WatchOptions) (uplink.Monitor, error) {
		if !o.NamedOnly || !slices.Equal(o.Named, []string{"one", "two"}) {
			t.Errorf("watched: %+v", o)
		}
		return uplink.NewFeed(uplink.Snapshot{Uplinks: []uplink.Uplink{one, two}}), nil
	}}
	text, err := plan(context.Background(), cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# uplink dsl by one: always\n", "# uplink lte by two: off\n", "ip rule add pref 17700 fwmark 0xb0dd0001 lookup 45001 protocol 177\n",
		"ip route add default dev bondd0 table 45999 proto 177\n", "ip addr add 10.177.0.2/32 dev bondd0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "45002") {
		t.Errorf("the uplink that is off has a table:\n%s", text)
	}
}
