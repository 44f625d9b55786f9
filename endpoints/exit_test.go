package endpoints

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/tun/tuntest"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/control"
)

// second adds another gateway with one uplink to a world. The exit has to know its key.
func (w *world) second(key control.PrivateKey) *machineTest {
	addr := netip.MustParseAddr("192.0.2.77")
	m := w.machine("second", &config.Config{Role: config.RoleGateway, PrivateKey: key, Exit: w.gateway.cfg.Exit}, addr)
	m.h.watch = func(uplink.WatchOptions) (uplink.Monitor, error) {
		return uplink.NewFeed(uplink.Snapshot{Uplinks: []uplink.Uplink{testUplink("three", 1, addr)}}), nil
	}
	return m
}

func TestTwoGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		key := testKey(t)
		w.exit.cfg.Gateways = append(w.exit.cfg.Gateways, config.Gateway{Name: "cabin", Key: key.Public()})
		w.exit.cfg.SetDefaults()
		other := w.second(key)
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		other.start()
		defer w.ended(other)
		time.Sleep(time.Second)

		cabin := netip.MustParseAddr("10.177.0.3")
		timeout := time.After(time.Second)
		if !w.cross(other, w.exit, cabin, far, 1, timeout) || !w.cross(w.exit, other, far, cabin, 1, timeout) {
			t.Error("no echo for the second gateway")
		}
		if _, ok := w.echo(2, time.Second); !ok {
			t.Error("no echo for the first gateway")
		}
		// Neither may send with the other's address, and each gets its own packets only.
		if w.cross(other, w.exit, inner, far, 3, time.After(time.Second)) {
			t.Error("one gateway sent with the address of the other")
		}
		if n := len(w.exit.status().Sessions); n != 2 {
			t.Errorf("%d sessions at the exit", n)
		}
		if n := len(other.tun().Written()); n != 0 {
			t.Errorf("the second gateway has %d packets of others", n)
		}
	})
}

func TestExitAssignsOtherAddresses(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		w.ended(w.exit)
		moved := netip.MustParsePrefix("10.177.0.9/32")
		w.exit.cfg.Gateways[0].Addresses = []netip.Prefix{moved}
		w.exit.start()
		time.Sleep(3 * time.Second)
		items := w.gateway.planned().Items
		if !slices.Contains(items, uplink.Item(uplink.Address{Dev: "bondd0", Prefix: moved})) {
			t.Error("the new inner address is not in the plan")
		}
		if slices.Contains(items, uplink.Item(uplink.Address{Dev: "bondd0", Prefix: netip.PrefixFrom(inner, 32)})) {
			t.Error("the old inner address is still in the plan")
		}
		if !w.cross(w.gateway, w.exit, moved.Addr(), far, 1, time.After(time.Second)) {
			t.Error("no packet from the new address came through")
		}
	})
}

// Hellos that succeed but are not taken up by the gateway disturb nothing and are forgotten.
func TestHelloWithoutSession(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		for range maxPending + 10 {
			conn, err := w.tcp.dial(w.t.Context(), exitListen)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := control.Client(w.t.Context(), conn, w.gateway.cfg.PrivateKey, w.gateway.cfg.Exit.Key, control.Offer{Index: 9}); err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		synctest.Wait()
		if n := len(w.exit.status().Sessions); n > maxPending+1 {
			t.Errorf("%d sessions of one gateway", n)
		}
		if _, ok := w.echo(1, time.Second); !ok {
			t.Error("the session in use suffered")
		}
		time.Sleep(proveTime + time.Second)
		if st := w.exit.status(); len(st.Sessions) != 1 || st.Sessions[0].Pending {
			t.Errorf("sessions that were never proven are kept: %d", len(st.Sessions))
		}
		if _, ok := w.echo(2, time.Second); !ok {
			t.Error("the session in use ended with the others")
		}
	})
}

// Whoever connects and says nothing, or nonsense, is sent away.
func TestSilentHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.exit.start()
		defer w.ended(w.exit)
		silent, err := w.tcp.dial(t.Context(), exitListen)
		if err != nil {
			t.Fatal(err)
		}
		babble, err := w.tcp.dial(t.Context(), exitListen)
		if err != nil {
			t.Fatal(err)
		}
		go babble.Write([]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n")) // ends when the exit closes
		begin := time.Now()
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Error("the exit spoke first")
		}
		if took := time.Since(begin); took < answerTime || took > answerTime+time.Second {
			t.Errorf("cut off after %v, want %v", took, answerTime)
		}
		synctest.Wait()
		if n := w.exit.status().Drops["hello_failed"]; n != 2 {
			t.Errorf("%d failed hellos were counted, 2 were made", n)
		}
		babble.Close()
	})
}

func TestTooManyHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.exit.start()
		defer w.ended(w.exit)
		for range maxHellosEach + 3 { // pipes have no address, so all have the same
			conn, err := w.tcp.dial(t.Context(), exitListen)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		synctest.Wait()
		if n := w.exit.status().Drops["hello_busy"]; n != 3 {
			t.Errorf("%d hellos were refused, want 3", n)
		}
	})
}

// Two gateways with one key take the session from each other; they must not do so without a pause.
func TestOneKeyTwice(t *testing.T) {
	inBubble(t, func(w *world) {
		twin := w.second(w.gateway.cfg.PrivateKey)
		twin.start()
		defer w.ended(twin)
		time.Sleep(time.Minute)
		if n := w.gateway.status().Hello.Rounds + twin.status().Hello.Rounds; n > 60 {
			t.Errorf("%d hellos in a minute", n)
		}
	})
}

// The exit's device has the least MTU of all gateways that are connected.
func TestExitMTUIsTheLeast(t *testing.T) {
	x := newExit(&config.Config{Role: config.RoleExit}, slog.New(&logTest{t: t, name: "exit"}), &host{})
	x.dev = tuntest.New("bondd0", 1500)
	x.sessions = []*association{{mtu: 1300, current: true}, {mtu: 1000}, {mtu: 1200, current: true}}
	if x.setMTU() {
		t.Error("the addresses are to be set again though the MTU went down")
	}
	if mtu, _ := x.dev.MTU(); mtu != 1200 {
		t.Errorf("MTU %d, want 1200", mtu)
	}
	x.sessions = x.sessions[:1]
	if !x.setMTU() {
		t.Error("the kernel has forgotten the IPv6 addresses and nobody sets them again")
	}
	x.sessions = nil
	x.setMTU()
	if mtu, _ := x.dev.MTU(); mtu != 1300 {
		t.Errorf("MTU %d without sessions, want 1300 as before", mtu)
	}
}

// Hosts come before networks, the longer network first, and only what is still its own is released.
func TestDemux(t *testing.T) {
	d := newDemux()
	a, b, c := new(engine), new(engine), new(engine)
	host := netip.MustParsePrefix("10.0.0.7/32")
	wide, narrow := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.1/24")
	d.setInner([]netip.Prefix{wide}, a)
	d.setInner([]netip.Prefix{narrow}, b)
	d.setInner([]netip.Prefix{host}, c)
	check := func(dst string, want *engine) {
		t.Helper()
		if d.packet(netip.MustParseAddr(dst)) != want {
			t.Errorf("%s goes elsewhere", dst)
		}
	}
	check("10.9.0.1", a)
	check("10.0.0.8", b)
	check("10.0.0.7", c)
	check("11.0.0.1", nil)
	d.setInner([]netip.Prefix{narrow}, c) // a successor
	d.releaseInner([]netip.Prefix{narrow, host}, b)
	check("10.0.0.8", c)
	check("10.0.0.7", c)
	d.releaseInner([]netip.Prefix{narrow, host}, c)
	check("10.0.0.7", a)
	d.setRest(b)
	check("11.0.0.1", b)
	if !d.addSession(5, a) || d.addSession(5, b) || d.session(5) != a {
		t.Error("a session index was given twice")
	}
	d.removeSession(5)
	if d.session(5) != nil {
		t.Error("a session index was not released")
	}
}

func TestStatusOverUnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	if _, err := ReadStatus(context.Background(), path); err == nil {
		t.Error("a socket that does not exist answers")
	}
	for range 2 { // the second time over what a crashed predecessor left
		l, err := listenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		c := serveControl(l, func(context.Context) *Status { return &Status{Role: "exit", State: "ready"} },
			func(context.Context) *Reload { return &Reload{Errors: []string{"wrong"}} })
		st, err := ReadStatus(t.Context(), path)
		if err != nil || st.Role != "exit" || st.State != "ready" {
			t.Errorf("status %+v, error %v", st, err)
		}
		if r, err := AskReload(t.Context(), path); err != nil || len(r.Errors) != 1 {
			t.Errorf("reload %+v, error %v", r, err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the control socket may be used by others: %v, %v", st.Mode(), err)
		}
		if _, err := listenUnix(path); err == nil {
			t.Error("a second node took the control socket of the first")
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false) // as after a crash
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}

// A gateway has the limits of all, or its own; when they change, the dialers of others stay, and with them the count of their connections.
func TestLimitsOfOneGateway(t *testing.T) {
	home, cabin := config.Gateway{Name: "home", Key: testKey(t).Public()}, config.Gateway{Name: "cabin", Key: testKey(t).Public(), MaxStreams: 10, MaxRate: 5, MaxMemory: 8}
	cfg := &config.Config{Role: config.RoleExit, PrivateKey: testKey(t), Gateways: []config.Gateway{home, cabin}, Stream: config.Stream{MaxStreams: 100, MaxMemory: 64}}
	cfg.SetDefaults()
	var made []dial.Options
	x := newExit(cfg, slog.New(slog.DiscardHandler), &host{newDialer: func(o dial.Options) (targetDialer, error) {
		made = append(made, o)
		return &dialTest{opts: o}, nil
	}})
	if err := x.newDialers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(made) != 2 || made[0].MaxOpen != 100 || made[0].Rate != 0 || made[1].MaxOpen != 10 || made[1].Rate != 5 {
		t.Errorf("dialers: %+v", made)
	}
	for g, want := range map[*config.Gateway]tunnel.Limits{&home: {Streams: 100, StreamBytes: 64 << 20}, &cabin: {Streams: 10, StreamBytes: 8 << 20}} {
		if got := x.streamLimits(g); got != want {
			t.Errorf("%s: %+v, want %+v", g.Name, got, want)
		}
	}
	changed := *cfg
	cabin.MaxRate = 6
	changed.Gateways = []config.Gateway{home, cabin}
	next, err := x.makeDialers(&changed, cfg)
	if err != nil || len(made) != 3 || made[2].Rate != 6 || next[home.Key] != x.streams.dialerOf(home.Key) {
		t.Errorf("after a change of one: %+v, %v", made, err)
	}
}
