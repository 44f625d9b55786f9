package endpoints

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/uplink"
)

// file is the configuration of a node of a test, as a reload would read it.
type file struct {
	mu     sync.Mutex
	cfg    *config.Config
	err    error
	hangup chan os.Signal
	level  slog.LevelVar
	told   []string
}

// fileOf gives a node that has not been started a file.
func fileOf(m *machineTest) *file {
	f := &file{hangup: make(chan os.Signal, 1)}
	m.h.process = Process{Level: &f.level, Hangup: f.hangup, Watchdog: 10 * time.Second,
		Load: func() (*config.Config, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.cfg, f.err
		},
		Notify: func(s string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.told = append(f.told, s)
		}}
	return f
}

// edit writes a changed copy of what the node was started with.
func (f *file) edit(from *config.Config, change func(c *config.Config)) {
	c := *from
	c.Uplinks, c.Bypass, c.Gateways = slices.Clone(c.Uplinks), slices.Clone(c.Bypass), slices.Clone(c.Gateways)
	change(&c)
	c.SetDefaults()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cfg = &c
}

func (f *file) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

// reload is what `bondd reload` does.
func (m *machineTest) reload() []string {
	m.w.t.Helper()
	conn, err := m.unix.dial(context.Background())
	if err != nil {
		m.w.t.Fatal(err)
	}
	r := new(Reload)
	if err := ask(context.Background(), "POST", reloadPath, "test", func(context.Context) (net.Conn, error) { return conn, nil }, r); err != nil {
		m.w.t.Fatal(err)
	}
	out := slices.Concat(r.Errors, r.Troubles)
	for _, c := range r.Changes {
		out = append(out, c.String())
	}
	return out
}

func TestReloadGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := fileOf(w.gateway)
		start := w.gateway.cfg
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		w.waitEcho(5 * time.Second)
		server := w.exit.dialer.at(80, func(c *memConn) { buf := make([]byte, 4); c.Read(buf); c.Write(buf) })
		c := w.gateway.taking().connect(server)
		age := w.gateway.status().Sessions[0].Index

		expect := func(want ...string) {
			t.Helper()
			if got := w.gateway.reload(); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		}
		f.edit(start, func(*config.Config) {})
		expect()

		f.mu.Lock()
		f.err = errors.New("line 1 is wrong")
		f.mu.Unlock()
		expect("line 1 is wrong")
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()

		direct := config.Bypass{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.9/32")}, Via: config.ViaDirect}
		f.edit(start, func(c *config.Config) {
			c.LogLevel = slog.LevelDebug
			c.TUN.Name = "other0"
			c.Uplinks = []config.Uplink{{Interface: "one", Name: "dsl"}, {Interface: "two", Mode: config.ModeBackup}}
			c.Bypass = []config.Bypass{direct}
			c.Stream.SOCKS = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1080")}
		})
		expect("~ log_level: INFO -> DEBUG", "~ stream.socks: none -> 127.0.0.1:1080",
			`+ uplink "dsl": {name dsl, interface one, mode always}`, `+ uplink "two": {name two, interface two, mode backup}`,
			"~ bypass: none -> {prefixes 203.0.113.9/32, via direct}", "~ tun.name: bondd0 -> other0 (takes a restart)")
		synctest.Wait()
		if f.level.Level() != slog.LevelDebug {
			t.Error("the level of the log is", f.level.Level())
		}
		if got := w.gateway.taking().cfg.Bypass; len(got) != 1 || got[0].Service != intercept.Direct {
			t.Errorf("bypass of the interception: %v", got)
		}
		if w.gateway.taker != w.gateway.taking() || len(w.gateway.taking().conns) != 0 {
			t.Error("the interception was made anew")
		}
		time.Sleep(time.Second)
		st := w.gateway.status()
		if st.Sessions[0].Index != age {
			t.Error("the session was not kept")
		}
		names := []string{}
		for _, p := range st.Sessions[0].Stats.Paths {
			if p.State == "closed" {
				continue
			}
			names = append(names, p.Name)
			if p.Backup != (p.Name == "two") {
				t.Errorf("path %s: backup %v", p.Name, p.Backup)
			}
		}
		if !slices.Contains(names, "dsl") || !slices.Contains(names, "two") {
			t.Errorf("paths %q", names)
		}
		if _, ok := w.echo(7, time.Second); !ok {
			t.Error("no echo after the reload")
		}
		c.Write([]byte("ping"))
		if got := make([]byte, 4); !readWithin(c, got) || string(got) != "ping" {
			t.Errorf("the connection that was there did not go on: %q", got)
		}
		socks, err := w.tcp.dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:1080"))
		if err != nil {
			t.Fatal("no proxy:", err)
		}
		socks.Close()

		// What takes a restart is named again; what was applied is not.
		expect("~ tun.name: bondd0 -> other0 (takes a restart)")

		// A hang-up does the same.
		f.edit(start, func(c *config.Config) { c.Stream.InterceptOff = true })
		f.hangup <- syscall.SIGHUP
		synctest.Wait()
		if got := w.gateway.status().Streams.Interception; got != "off by configuration" {
			t.Errorf("interception: %s", got)
		}
		if w.tcp.at[netip.MustParseAddrPort("127.0.0.1:1080")] != nil {
			t.Error("the proxy is still there")
		}
		f.edit(start, func(c *config.Config) {})
		f.hangup <- syscall.SIGHUP
		synctest.Wait()
		if got := w.gateway.status().Streams.Interception; got != "on" {
			t.Errorf("interception: %s", got)
		}
	})
}

func readWithin(c *memConn, b []byte) bool {
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	n, err := c.Read(b)
	return err == nil && n == len(b)
}

func TestReloadExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := fileOf(w.exit)
		key := testKey(t)
		start := w.exit.cfg
		other := w.second(key)
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		other.start()
		defer w.ended(other)
		w.waitEcho(5 * time.Second)
		index := w.exit.status().Sessions[0].Index
		cabin := config.Gateway{Name: "cabin", Key: key.Public()}

		f.edit(start, func(c *config.Config) { c.Gateways = append(c.Gateways, cabin) })
		if got := w.exit.reload(); len(got) != 1 || !strings.HasPrefix(got[0], `+ gateway "cabin"`) {
			t.Errorf("a gateway comes: %q", got)
		}
		time.Sleep(90 * time.Second) // it has been turned away before, and tries seldom by now
		if !w.cross(other, w.exit, netip.MustParseAddr("10.177.0.3"), far, 1, time.After(time.Second)) {
			t.Error("the new gateway does not get through")
		}
		kept := func() bool {
			return slices.ContainsFunc(w.exit.status().Sessions, func(s SessionStatus) bool { return s.Index == index && !s.Pending })
		}
		if !kept() {
			t.Error("the session of the other gateway was not kept")
		}

		// Other addresses: its session is made anew, the other stays.
		moved := cabin
		moved.Addresses = []netip.Prefix{netip.MustParsePrefix("10.177.0.77/32")}
		f.edit(start, func(c *config.Config) { c.Gateways = append(c.Gateways, moved) })
		w.exit.reload()
		time.Sleep(5 * time.Second)
		if !w.cross(other, w.exit, netip.MustParseAddr("10.177.0.77"), far, 2, time.After(time.Second)) {
			t.Error("the gateway with a new address does not get through")
		}

		f.edit(start, func(*config.Config) {})
		w.exit.reload()
		time.Sleep(time.Second)
		if n := len(w.exit.status().Sessions); n != 1 || !kept() {
			t.Errorf("%d sessions after the second gateway was removed; the other one kept: %v", n, kept())
		}
		if got := other.status(); got.State == "up" {
			t.Error("the gateway that was removed is still up")
		}
	})
}

// The service manager hears of everything, and of a node that hangs it hears nothing.
func TestServiceManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g, x := fileOf(w.gateway), fileOf(w.exit)
		var held atomic.Bool
		release := make(chan struct{})
		w.gateway.h.openNetwork = func(uplink.Options) (network, error) {
			return &slowNetwork{(*networkTest)(w.gateway), &held, release}, nil
		}
		g.edit(w.gateway.cfg, func(*config.Config) {})
		w.exit.start()
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		time.Sleep(12 * time.Second)
		w.gateway.reload()
		count := func(f *file, what string) (n int) {
			for _, s := range f.said() {
				if strings.HasPrefix(s, what) {
					n++
				}
			}
			return n
		}
		for _, f := range []*file{g, x} {
			if f.said()[0] != stateReady && f.said()[0] != stateWell {
				t.Errorf("the first words are %q", f.said()[0])
			}
			if n := count(f, stateWell); n < 3 {
				t.Errorf("%d signs of life in 12 s at one each 5 s", n)
			}
		}
		if said := g.said(); count(g, "RELOADING=1\nMONOTONIC_USEC=") != 1 || said[len(said)-1] != stateReady {
			t.Errorf("after a reload: %q", said)
		}

		// The goroutine of serve hangs: the monitor's next snapshot does not come to its end.
		held.Store(true)
		w.uplinks(w.two)
		before := count(g, stateWell)
		time.Sleep(20 * time.Second)
		if n := count(g, stateWell); n > before+1 {
			t.Errorf("%d signs of life of a node that hangs", n-before)
		}
		close(release)
		w.ended(w.gateway)
		w.ended(w.exit)
		if said := g.said(); said[len(said)-1] != stateStopping {
			t.Errorf("the last words are %q", said[len(said)-1])
		}
	})
}

// slowNetwork does not come to an end while it is held.
type slowNetwork struct {
	network
	held    *atomic.Bool
	release chan struct{}
}

func (n *slowNetwork) Sync(ctx context.Context, p uplink.Plan) error {
	if n.held.Load() {
		<-n.release
	}
	return n.network.Sync(ctx, p)
}
