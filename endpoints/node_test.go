package endpoints

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/nft"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/udp/udptest"
	"github.com/bondd/bondd/endpoints/uplink"
)

// What a node asks of its machine, in the order of a gateway's and an exit's life.
var wantTrail = []string{"set firewall", "open tun", "route", "unroute", "delete firewall", "close network"}

func TestStartTrafficEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.exit.start()
		w.gateway.start()
		// Hello takes no time here; a challenge and its answer take one round trip of the quicker uplink.
		if took := w.waitEcho(5 * time.Second); took > 100*time.Millisecond {
			t.Errorf("the first echo came after %v", took)
		}
		for i := range uint32(20) {
			if rtt, ok := w.echo(i, time.Second); !ok || rtt > 30*time.Millisecond {
				t.Errorf("echo %d: came back %v, after %v; the quicker uplink takes 20 ms", i, ok, rtt)
			}
		}
		st := w.gateway.status()
		if st.State != "up" || len(st.Uplinks) != 2 || len(st.Sessions) != 1 || len(st.Sessions[0].Stats.Paths) != 2 {
			t.Errorf("status of the gateway: %+v", st)
		}
		if st := w.exit.status(); len(st.Sessions) != 1 || st.Sessions[0].Peer != "home" || st.Sessions[0].Pending || !st.Sessions[0].Alive {
			t.Errorf("status of the exit: %+v", st)
		}
		if mtu, _ := w.gateway.tun().MTU(); mtu != st.Sessions[0].InnerMTU {
			t.Errorf("MTU of the TUN device %d, of the session %d", mtu, st.Sessions[0].InnerMTU)
		}
		w.ended(w.gateway)
		w.ended(w.exit)
		for _, m := range []*machineTest{w.gateway, w.exit} {
			if !slices.Equal(m.trail, wantTrail) {
				t.Errorf("the %s did %q, want %q", m.cfg.Role, m.trail, wantTrail)
			}
			if len(m.plan.Items) != 0 || m.firewall {
				t.Errorf("the %s left something behind: %v, firewall %v", m.cfg.Role, m.plan, m.firewall)
			}
		}
	})
}

func TestInnerAddressesArePlanned(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		want := uplink.Address{Dev: "bondd0", Prefix: netip.PrefixFrom(inner, 32)}
		if !slices.Contains(w.gateway.planned().Items, uplink.Item(want)) {
			t.Errorf("the gateway's plan lacks %v:\n%v", want, w.gateway.planned())
		}
		exit := uplink.Address{Dev: "bondd0", Prefix: netip.MustParsePrefix("10.177.0.1/16")}
		if !slices.Contains(w.exit.planned().Items, uplink.Item(exit)) {
			t.Errorf("the exit's plan lacks %v:\n%v", exit, w.exit.planned())
		}
	})
}

func TestUplinkLostAndBack(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(time.Second)

		// The quicker uplink loses its carrier: the monitor says so.
		down := w.one
		down.Up = false
		w.setCut(true, "one")
		w.uplinks(down, w.two)
		if took := w.waitEcho(2 * time.Second); took > 500*time.Millisecond {
			t.Errorf("the other uplink took over after %v", took)
		}

		// It vanishes altogether: its path and its socket go.
		w.uplinks(w.two)
		if st := w.gateway.status(); len(st.Sockets) != 1 {
			t.Errorf("%d sockets for one uplink", len(st.Sockets))
		}
		if _, ok := w.echo(2, 500*time.Millisecond); !ok {
			t.Error("no echo by the uplink that is left")
		}

		// It comes back as a new device.
		back := w.one
		back.Ifindex = 99
		w.setCut(false, "one")
		w.uplinks(back, w.two)
		time.Sleep(time.Second)
		if rtt, ok := w.echo(3, 500*time.Millisecond); !ok || rtt > 30*time.Millisecond {
			t.Errorf("echo with uplink one back: %v, %v", rtt, ok)
		}
		if n := w.exit.log.count("gateway connected"); n != 1 {
			t.Errorf("the gateway connected %d times", n)
		}
	})
}

func TestUplinkBlackHoled(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(time.Second)
		w.setCut(true, "one") // nobody says so
		if took := w.waitEcho(2 * time.Second); took > time.Second {
			t.Errorf("the other uplink took over after %v", took)
		}
		w.setCut(false, "one")
		time.Sleep(5 * time.Second)
		if rtt, ok := w.echo(1, 500*time.Millisecond); !ok || rtt > 30*time.Millisecond {
			t.Errorf("echo with uplink one back: %v, %v", rtt, ok)
		}
	})
}

func TestUplinkGetsNewAddress(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(time.Second)
		w.gateway.udp.RemoveAddr(addrOne)
		moved := testUplink("one", 1, addrThree)
		w.uplinks(moved, w.two)
		time.Sleep(time.Second)
		if rtt, ok := w.echo(1, time.Second); !ok || rtt > 30*time.Millisecond {
			t.Errorf("echo from the new address: %v, %v", rtt, ok)
		}
		if n := len(w.exit.status().Sessions); n != 1 {
			t.Errorf("%d sessions at the exit", n)
		}
	})
}

// A socket that says there is no way out is believed before any timer of the session.
func TestSocketSaysPathIsDown(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(time.Second)
		w.udp.SetHook(func(p udptest.Passage) udptest.Verdict {
			if p.Device == "one" {
				return udptest.Verdict{Err: udptest.ErrPathDown}
			}
			return w.pass(p)
		})
		w.echo(1, 500*time.Millisecond) // may be lost; nobody told it
		if rtt, ok := w.echo(2, 500*time.Millisecond); !ok || rtt < 35*time.Millisecond {
			t.Errorf("echo by the other uplink: %v, %v", rtt, ok)
		}
		if st := w.gateway.status(); st.Drops["datagram_path_down"] == 0 {
			t.Errorf("drops: %v", st.Drops)
		}
	})
}

func TestExitCrashesAndReturns(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		time.Sleep(time.Second)
		dev := w.gateway.tun()
		w.exit.crash()
		time.Sleep(2 * time.Second)
		w.exit.start()
		if took := w.waitEcho(10 * time.Second); took > 5*time.Second {
			t.Errorf("traffic resumed %v after the restart; 5 s are allowed", took)
		}
		if w.gateway.tun() != dev {
			t.Error("the TUN device of the gateway was made anew")
		}
		if n := w.gateway.log.count("the bond is down"); n != 1 {
			t.Errorf("the bond went down %d times", n)
		}
	})
}

func TestExitEndsInOrderAndReturns(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		w.ended(w.exit)
		time.Sleep(100 * time.Millisecond)
		if st := w.gateway.status(); st.State != "down" || !strings.Contains(st.Reason, "closed") {
			t.Errorf("the gateway is %q because of %q, 100 ms after the exit has closed", st.State, st.Reason)
		}
		w.exit.start()
		if took := w.waitEcho(10 * time.Second); took > 3*time.Second {
			t.Errorf("traffic resumed %v after the restart", took)
		}
	})
}

func TestGatewayCrashesAndReturns(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		w.gateway.crash()
		w.gateway.start()
		if took := w.waitEcho(5 * time.Second); took > time.Second {
			t.Errorf("traffic resumed %v after the restart", took)
		}
		time.Sleep(time.Second)
		if st := w.exit.status(); len(st.Sessions) != 1 || st.Sessions[0].Pending {
			t.Errorf("sessions at the exit: %+v", st.Sessions)
		}
	})
}

func TestNoExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gateway.start()
		defer w.ended(w.gateway)
		w.gateway.tun().InjectBytes(packet(inner, far, 1))
		time.Sleep(time.Minute)
		st := w.gateway.status()
		if st.State != "connecting" || st.Hello.Error == "" {
			t.Errorf("state %q, error %q", st.State, st.Hello.Error)
		}
		if st.Drops["packet_no_session"] != 1 {
			t.Errorf("drops: %v", st.Drops)
		}
		// The pauses are 250 ms, 500 ms, 1 s and then 2 s; a refused connection takes no time.
		if st.Hello.Rounds < 25 || st.Hello.Rounds > 35 {
			t.Errorf("%d rounds in a minute", st.Hello.Rounds)
		}
		if n := w.gateway.log.count("no hello"); n != 1 {
			t.Errorf("the same failure was logged %d times", n)
		}
		if len(w.gateway.planned().Items) == 0 {
			t.Error("the routes into the bond were given up: traffic would leak")
		}
		w.exit.start()
		defer w.ended(w.exit)
		if took := w.waitEcho(5 * time.Second); took > 3*time.Second {
			t.Errorf("connected %v after the exit came", took)
		}
	})
}

func TestAllUplinksGoneForLong(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		w.setCut(true, "one", "two")
		w.uplinks()
		time.Sleep(5 * time.Minute)
		if n := len(w.exit.status().Sessions); n != 0 {
			t.Errorf("the exit keeps %d dead sessions", n)
		}
		w.setCut(false, "one", "two")
		w.uplinks(w.one, w.two)
		if took := w.waitEcho(5 * time.Second); took > time.Second {
			t.Errorf("back after %v", took)
		}
	})
}

// UDP is filtered: hellos succeed and no path is ever proven. The reason is told, and hellos stay rare.
func TestUDPFiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.noUDP = true
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		time.Sleep(time.Minute)
		st := w.gateway.status()
		if !strings.Contains(st.Reason, "UDP") || st.Hello.Rounds > 20 {
			t.Errorf("state %q, reason %q, %d rounds", st.State, st.Reason, st.Hello.Rounds)
		}
		if n := len(w.exit.status().Sessions); n > 4 {
			t.Errorf("the exit keeps %d sessions that were never proven", n)
		}
		w.mu.Lock()
		w.noUDP = false
		w.mu.Unlock()
		w.waitEcho(10 * time.Second)
	})
}

func TestWrongKeys(t *testing.T) {
	t.Run("exit is another", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.gateway.cfg.Exit.Key = testKey(t).Public()
			w.exit.start()
			defer w.ended(w.exit)
			w.gateway.start()
			defer w.ended(w.gateway)
			time.Sleep(20 * time.Second)
			if st := w.gateway.status(); st.State != "connecting" || st.Hello.Error == "" {
				t.Errorf("state %q, error %q", st.State, st.Hello.Error)
			}
			if st := w.exit.status(); len(st.Sessions) != 0 || st.Drops["hello_failed"] == 0 {
				t.Errorf("sessions %v, drops %v", st.Sessions, st.Drops)
			}
		})
	})
	t.Run("gateway is a stranger", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.exit.cfg.Gateways[0].Key = testKey(t).Public()
			w.exit.start()
			defer w.ended(w.exit)
			w.gateway.start()
			defer w.ended(w.gateway)
			time.Sleep(5 * time.Second)
			if st := w.gateway.status(); !strings.Contains(st.Hello.Error, "unknown gateway key") {
				t.Errorf("state %q, error %q", st.State, st.Hello.Error)
			}
			if st := w.exit.status(); len(st.Sessions) != 0 || st.Drops["hello_failed"] == 0 {
				t.Errorf("sessions %v, drops %v", st.Sessions, st.Drops)
			}
		})
	})
}

// Everything that strangers can send is counted and changes nothing.
func TestStrangers(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		var seen [][]byte
		w.udp.SetHook(func(p udptest.Passage) udptest.Verdict {
			if p.Device == "one" && len(p.Data) > 100 {
				seen = append(seen, slices.Clone(p.Data))
			}
			return w.pass(p)
		})
		for i := range uint32(10) {
			w.echo(i, time.Second)
		}
		w.udp.SetHook(w.pass)
		stranger := netip.MustParseAddr("192.0.2.66")
		delays[stranger] = 0
		sock, err := w.udp.Host(stranger).Listen(udp.Options{})
		if err != nil {
			t.Fatal(err)
		}
		send := func(data []byte) {
			if _, err := sock.WriteBatch([]udp.Datagram{{Data: data, Peer: exitListen}}); err != nil {
				t.Fatal(err)
			}
		}
		before := w.exit.status()
		send([]byte("x"))
		send([]byte("GET / HTTP/1.0\r\n\r\n"))
		unknown := slices.Clone(seen[0])
		unknown[1] ^= 0xff
		send(unknown)
		forged := slices.Clone(seen[0])
		forged[len(forged)-1] ^= 1
		forged[7] ^= 0x40
		send(forged)
		for _, d := range seen {
			send(d) // replayed, from another address
		}
		time.Sleep(time.Second)
		after := w.exit.status()
		if n := after.Drops["datagram_stranger"]; n != 2 {
			t.Errorf("%d datagrams of strangers were counted, 2 were sent", n)
		}
		if n := after.Drops["datagram_unknown_session"]; n != 1 {
			t.Errorf("%d datagrams for unknown sessions were counted, 1 was sent", n)
		}
		a, b := before.Sessions[0].Stats.Drops, after.Sessions[0].Stats.Drops
		if n := b.Replayed - a.Replayed; n != uint64(len(seen)) {
			t.Errorf("%d replayed datagrams were counted, %d were sent", n, len(seen))
		}
		if b.Forged-a.Forged != 1 {
			t.Errorf("%d forged datagrams were counted, 1 was sent", b.Forged-a.Forged)
		}
		if rtt, ok := w.echo(99, time.Second); !ok || rtt > 30*time.Millisecond {
			t.Errorf("echo afterwards: %v, %v", rtt, ok)
		}
	})
}

// A gateway is held to its own inner addresses.
func TestForgedInnerSource(t *testing.T) {
	inBubble(t, func(w *world) {
		w.waitEcho(5 * time.Second)
		other := netip.MustParseAddr("10.177.0.3")
		before := w.exit.status().Drops["packet_no_gateway"]
		if w.cross(w.gateway, w.exit, other, far, 1, time.After(time.Second)) {
			t.Error("a packet with the source address of another gateway came out at the exit")
		}
		if d := w.exit.status().Sessions[0].Stats.Drops; d.Source != 1 {
			t.Errorf("drops: %+v", d)
		}
		if w.cross(w.exit, w.gateway, far, other, 2, time.After(time.Second)) {
			t.Error("a packet for another gateway came out at this one")
		}
		if st := w.exit.status(); st.Drops["packet_no_gateway"] != before+1 {
			t.Errorf("drops: %v", st.Drops)
		}
	})
}

// What cannot be had ends the node with its typed cause, and nothing stays behind.
func TestStartFails(t *testing.T) {
	denied := func(nft.Config) error { return nft.ErrRights }
	lacking := func(uplink.WatchOptions) (uplink.Monitor, error) { return nil, uplink.ErrUnsupported }
	for _, c := range []struct {
		name  string
		spoil func(h *host)
		want  error
		trail []string
	}{
		{"firewall denied", func(h *host) { h.setFirewall = denied }, fs.ErrPermission,
			[]string{"delete firewall", "close network"}},
		{"no netlink", func(h *host) { h.watch = lacking }, errors.ErrUnsupported,
			[]string{"set firewall", "open tun", "delete firewall", "close network"}},
		{"busy", func(h *host) { h.openNetwork = func(uplink.Options) (network, error) { return nil, uplink.ErrBusy } }, uplink.ErrBusy, nil},
	} {
		for _, role := range []config.Role{config.RoleGateway, config.RoleExit} {
			t.Run(c.name+" "+string(role), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					m := w.gateway
					if role == config.RoleExit {
						m = w.exit
					}
					c.spoil(m.h)
					m.start()
					if err := m.end(); !errors.Is(err, c.want) && err == nil {
						t.Errorf("ended with %v, want %v", err, c.want)
					}
					if !slices.Equal(m.trail, c.trail) {
						t.Errorf("did %q, want %q", m.trail, c.trail)
					}
				})
			})
		}
	}
}

// The TUN device is deleted under the node's feet: it ends, says why, and cleans up.
func TestTUNDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gateway.start()
		w.gateway.tun().Close()
		if err := <-w.gateway.done; !errors.Is(err, errTUNGone) {
			t.Errorf("ended with %v", err)
		}
		if w.gateway.firewall || len(w.gateway.plan.Items) != 0 {
			t.Error("something was left behind")
		}
	})
}

func TestRunWithoutRole(t *testing.T) {
	if err := Run(context.Background(), &config.Config{}, nil); err == nil {
		t.Error("a node without a role runs")
	}
}
