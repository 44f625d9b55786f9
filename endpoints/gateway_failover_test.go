package endpoints

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
)

var (
	secondAddr  = netip.MustParseAddr("203.0.113.2")
	secondInner = netip.MustParsePrefix("10.178.0.0/16")
	innerThere  = netip.MustParseAddr("10.178.0.2") // what the second exit gives the gateway
)

// exitsBubble runs f with a gateway that has two exits, the second one changed by set.
func exitsBubble(t *testing.T, set func(x *config.Exit), f func(w *world, second *machineTest)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		key := testKey(t)
		x := config.Exit{Addresses: []config.Address{{Host: secondAddr.String(), Port: 7117}}, Key: key.Public()}
		set(&x)
		w.gateway.cfg.Others = []config.Exit{x}
		w.gateway.cfg.SetDefaults()
		second := w.machine("second", &config.Config{Role: config.RoleExit, PrivateKey: key, Inner: config.Inner{IPv4: secondInner},
			Listen: []netip.AddrPort{netip.AddrPortFrom(secondAddr, 7117)}, Gateways: w.exit.cfg.Gateways[:1:1]}, secondAddr)
		second.cfg.Gateways = []config.Gateway{{Name: "home", Key: w.gateway.cfg.PrivateKey.Public()}}
		second.cfg.SetDefaults()
		for _, m := range []*machineTest{w.exit, second, w.gateway} {
			defer m.dialer.wg.Wait()
			m.start()
			defer w.ended(m)
		}
		w.waitEcho(5 * time.Second)
		f(w, second)
	})
}

// leavesBy tells whether packets go by the second exit, and what comes from it comes in.
func (w *world) leavesBy(second *machineTest, number uint32) bool {
	timeout := time.After(time.Second)
	return w.cross(w.gateway, second, innerThere, far, number, timeout) && w.cross(second, w.gateway, far, innerThere, number, timeout)
}

// exits are the exits of the gateway and their states.
func (w *world) exits() string {
	var out []string
	for _, x := range w.gateway.status().Exits {
		text := x.Name + " " + x.State
		if x.InUse {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func (w *world) wantExits(when, want string) {
	w.t.Helper()
	if got := w.exits(); got != want {
		w.t.Errorf("%s: exits %q, want %q", when, got, want)
	}
}

// One of two exits dies and comes back.
func TestExitTakesOver(t *testing.T) {
	exitsBubble(t, func(*config.Exit) {}, func(w *world, second *machineTest) {
		time.Sleep(30 * time.Second)
		w.wantExits("at first", "exit1 up!, exit2 standby")
		if n := len(second.status().Sessions); n != 0 {
			t.Errorf("the exit in reserve has %d sessions", n)
		}
		to := w.exit.dialer.at(80, echoServer)
		w.setDead(true, exitAddr)
		time.Sleep(8 * time.Second)
		w.wantExits("after 8 s", "exit1 down!, exit2 standby")
		waits := w.open(to) // taken while there is no way out
		time.Sleep(10 * time.Second)
		w.wantExits("after 18 s", "exit1 down, exit2 up!")
		if !w.leavesBy(second, 1) {
			t.Error("nothing passes by the second exit")
		}
		if plan := w.gateway.planned().String(); !strings.Contains(plan, "10.178.0.2/32") || strings.Contains(plan, "10.177.0.2") {
			t.Errorf("addresses and routes:\n%s", plan)
		}
		st := w.gateway.status()
		if st.State != "up" || st.Sessions[0].Peer != "exit2" || !strings.Contains(strings.Join(st.Problems, " "), "Exit exit2 is used instead of exit1.") {
			t.Errorf("status: %s, session %+v, problems %q", st.State, st.Sessions[0], st.Problems)
		}
		begin := time.Now()
		if _, err := waits.Read(make([]byte, 1)); err == nil || time.Since(begin) > time.Second {
			t.Errorf("a connection still waits for the dead exit: %v after %v", err, time.Since(begin))
		}
		second.dialer.at(80, echoServer)
		c := w.open(to)
		c.Write([]byte("hello"))
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Errorf("a connection by the second exit: %q, %v", got, err)
		}

		w.setDead(false, exitAddr)
		time.Sleep(40 * time.Second)
		w.wantExits("40 s after the return", "exit1 up, exit2 up!")
		// What the other exit sends meanwhile is not for this host.
		w.exit.tun().InjectBytes(packet(far, inner, 7))
		time.Sleep(time.Second)
		if n := w.gateway.status().Drops["packet_other_exit"]; n != 1 {
			t.Errorf("%d packets of the exit not in use were dropped", n)
		}
		time.Sleep(40 * time.Second)
		if _, ok := w.echo(2, time.Second); !ok {
			t.Error("nothing passes by the first exit again")
		}
		w.wantExits("80 s after the return", "exit1 up!, exit2 up")
		c.Write([]byte("again"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "again" {
			t.Errorf("the connection by the second exit has not lived on: %q, %v", got, err)
		}
		c.CloseWrite()
		io.ReadAll(c)
		c.Close()
		time.Sleep(5 * time.Second)
		w.wantExits("after its end", "exit1 up!, exit2 standby")
		if n := len(second.status().Sessions); n != 0 {
			t.Errorf("the exit in reserve keeps %d sessions", n)
		}
	})
}

// A gateway that starts while its first exit is dead finds the second.
func TestFirstExitIsDeadAtTheStart(t *testing.T) {
	exitsBubble(t, func(*config.Exit) {}, func(w *world, second *machineTest) {
		w.ended(w.gateway)
		w.setDead(true, exitAddr)
		w.gateway.start()
		time.Sleep(20 * time.Second)
		w.wantExits("after 20 s", "exit1 connecting, exit2 up!")
		if !w.leavesBy(second, 1) {
			t.Error("nothing passes by the second exit")
		}
		w.setDead(false, exitAddr)
	})
}

// When the uplinks are gone, the exits are not.
func TestNoUplinkIsNoDeadExit(t *testing.T) {
	exitsBubble(t, func(*config.Exit) {}, func(w *world, second *machineTest) {
		w.uplinks()
		time.Sleep(2 * time.Minute)
		w.wantExits("without uplinks", "exit1 down!, exit2 standby")
		w.uplinks(w.one, w.two)
		w.waitEcho(10 * time.Second)
		w.wantExits("back", "exit1 up!, exit2 standby")
	})
}

// An exit with a proxy of its own is used by that proxy and by nothing else.
func TestExitWithItsOwnProxy(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:1081")
	exitsBubble(t, func(x *config.Exit) { x.Name, x.SOCKS, x.Apart = "us", []netip.AddrPort{at}, true }, func(w *world, second *machineTest) {
		time.Sleep(5 * time.Second)
		w.wantExits("both", "exit1 up!, us up")
		say := func(text string) func(c *memConn) {
			return func(c *memConn) { c.Write([]byte(text)); c.CloseWrite(); c.Close() }
		}
		w.exit.dialer.at(7, say("here"))
		to := second.dialer.at(7, say("there"))
		for range 3 {
			c, code := w.socks(at, "server.example", 7)
			got, _ := io.ReadAll(c)
			if code != 0 || !bytes.Equal(got, []byte("there")) {
				t.Errorf("by its proxy: %q, reply %d", got, code)
			}
			c.Close()
			l := w.open(to)
			if got, err := io.ReadAll(l); string(got) != "here" {
				t.Errorf("from the LAN: %q, %v", got, err)
			}
			l.Close()
		}
		// It dies and takes nobody with it; the first dies, and it does not step in.
		w.setDead(true, secondAddr)
		time.Sleep(time.Minute)
		w.wantExits("us is dead", "exit1 up!, us down")
		w.setDead(true, exitAddr)
		w.setDead(false, secondAddr)
		time.Sleep(time.Minute)
		w.wantExits("exit1 is dead", "exit1 down!, us up")
		w.setDead(false, exitAddr)
		w.waitEcho(20 * time.Second)
	})
}

// A reload tells the gateway where an exit is that has moved.
func TestReloadMovesExit(t *testing.T) {
	exitsBubble(t, func(x *config.Exit) { x.Addresses[0].Host = "203.0.113.77" }, func(w *world, second *machineTest) {
		w.ended(w.gateway)
		f := fileOf(w.gateway)
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		f.edit(w.gateway.cfg, func(c *config.Config) {
			x := c.Others[0]
			x.Addresses = []config.Address{{Host: secondAddr.String(), Port: 7117}}
			c.Others = []config.Exit{x}
		})
		want := `~ exit "exit2" address: 203.0.113.77:7117 -> 203.0.113.2:7117`
		if got := w.gateway.reload(); len(got) != 1 || got[0] != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.setDead(true, exitAddr)
		time.Sleep(20 * time.Second)
		w.wantExits("after 20 s", "exit1 down, exit2 up!")
		w.setDead(false, exitAddr)
	})
}
