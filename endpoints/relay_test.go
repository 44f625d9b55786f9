package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/forward"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/uplink"
)

var relayAddr = netip.MustParseAddr("203.0.113.9")

// withRelay adds a relay that forwards by itself, and tells the gateway of it.
func (w *world) withRelay() *machineTest {
	m := w.machine("relay", &config.Config{Role: config.RoleRelay, Exit: config.Exit{Addresses: []config.Address{{Host: exitAddr.String(), Port: 7117}}},
		Listen: []netip.AddrPort{netip.AddrPortFrom(relayAddr, 7117)}, Relay: config.Relay{Forward: config.ForwardUser}}, relayAddr)
	m.h.delForward = func(forward.Config) error { return nil }
	m.h.openForward = func(ctx context.Context, c forward.Config) (*forward.Relay, error) {
		return forward.Open(ctx, c, forward.Network{
			ListenUDP: func(ctx context.Context, o udp.Options) (udp.Socket, error) {
				if o.Local.Addr().IsUnspecified() { // the fake network has no routes to choose an address by
					o.Local = netip.AddrPortFrom(relayAddr, 0)
				}
				return m.udp.Listen(o)
			},
			ListenTCP: func(_ context.Context, at netip.AddrPort) (net.Listener, error) { return w.tcp.listen(at) },
			DialTCP:   func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return w.tcp.dial(ctx, to) },
		})
	}
	w.gateway.cfg.Exit.Relays = []config.Address{{Host: relayAddr.String(), Port: 7117}}
	return m
}

// A path through a relay is a path: it carries when it is all there is, and its loss costs nothing else.
func TestPathsThroughARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		relay := w.withRelay()
		w.exit.start()
		relay.start()
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		direct, through := ">"+exitListen.String()+" up", ">"+relayAddr.String()+":7117 up"
		w.wantPaths("uplink times remote", strings.Join([]string{"one" + direct, "one" + through, "two" + direct, "two" + through}, ", "))
		if st := relay.status(); st.State != "forwarding" || st.Relay.Flows != 2 || st.Relay.Kernel {
			t.Errorf("status of the relay: %+v, %+v", st, st.Relay)
		}
		groups := map[uint8]int{}
		for _, p := range w.gateway.status().Sessions[0].Stats.Paths {
			groups[p.Group]++
		}
		if len(groups) != 2 {
			t.Errorf("groups %v, want one of each uplink", groups)
		}
		for _, name := range []string{"one", "two"} {
			if err := w.order(name+">"+exitListen.String(), "down"); err != nil {
				t.Fatal(err)
			}
		}
		w.wantPaths("only through the relay", "one"+through+", two"+through)
		if _, ok := w.echo(1, time.Second); !ok {
			t.Error("no echo through the relay alone")
		}
		for _, name := range []string{"one", "two"} {
			if err := w.order(name+">"+exitListen.String(), "up"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		w.ended(relay)
		if took := w.waitEcho(2 * time.Second); took > time.Second {
			t.Errorf("with the relay gone the first echo took %v", took)
		}
		if n := w.exit.log.count("gateway connected"); n != 1 {
			t.Errorf("%d sessions", n)
		}
		w.ended(w.gateway)
		w.ended(w.exit)
	})
}

// The hello goes through a relay too, when the exit itself is out of reach.
func TestHelloThroughARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		relay := w.withRelay()
		w.gateway.cfg.Exit.Addresses[0].Host = "203.0.113.200" // nobody is there
		w.exit.start()
		relay.start()
		w.gateway.start()
		w.waitEcho(20 * time.Second)
		w.ended(w.gateway)
		w.ended(relay)
		w.ended(w.exit)
	})
}

// relayInKernel plays a relay whose kernel does what the test says, and returns what was asked of it.
func relayInKernel(t *testing.T, mode string, forwards bool, set error) (trail []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.machine("relay", &config.Config{Role: config.RoleRelay, Exit: config.Exit{Addresses: []config.Address{{Host: "exit.example", Port: 443}}},
			Relay: config.Relay{Forward: mode}}, relayAddr)
		m.forwards = forwards
		answers := [][]netip.Addr{nil, {netip.MustParseAddr("2001:db8::1"), exitAddr}, {exitAddr}, {netip.MustParseAddr("203.0.113.2")}}
		m.h.lookup = func(context.Context, string) ([]netip.Addr, error) {
			a := answers[0]
			if len(answers) > 1 {
				answers = answers[1:]
			}
			if a == nil {
				return nil, errors.New("no such host")
			}
			return a, nil
		}
		m.h.setForward = func(c forward.Config) error {
			trail = append(trail, fmt.Sprintf("forward to %v closed %v", c.To, c.Closed))
			return set
		}
		m.h.delForward = func(forward.Config) error { trail = append(trail, "forward no more"); return nil }
		m.h.openForward = func(_ context.Context, c forward.Config) (*forward.Relay, error) {
			trail = append(trail, fmt.Sprintf("by itself to %v", c.To))
			return nil, errors.New("enough")
		}
		m.start()
		if st := m.status(); st.State != "waiting" || !strings.Contains(st.Reason, "no such host") {
			t.Errorf("while the name gives nothing: %+v", st)
		}
		time.Sleep(relayRetry + time.Second)
		if set == nil {
			if st := m.status(); st.State != "forwarding" || !st.Relay.Kernel || !slices.Contains(m.planned().Items, uplink.Item(uplink.Sysctl{Key: "net/ipv4/ip_forward", Value: "1"})) {
				t.Errorf("status %+v, plan %v", st, m.planned())
			}
			time.Sleep(2*relayLookup + time.Second)
		}
		w.ended(m)
		if len(m.planned().Items) != 0 {
			t.Errorf("left in place: %v", m.planned())
		}
	})
	return trail
}

func TestRelayInKernel(t *testing.T) {
	got := relayInKernel(t, config.ForwardAuto, false, nil)
	want := []string{"forward to 203.0.113.1:443 closed true", "forward to 203.0.113.2:443 closed true", "forward no more"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := relayInKernel(t, config.ForwardKernel, true, nil); got[0] != "forward to 203.0.113.1:443 closed false" {
		t.Errorf("on a machine that forwards: %q", got)
	}
	// It cannot: by itself where that may be, and nothing is left in the kernel.
	got = relayInKernel(t, config.ForwardAuto, false, forward.ErrUnsupported)
	want = []string{"forward to 203.0.113.1:443 closed true", "forward no more", "by itself to 203.0.113.1:443"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got = relayInKernel(t, config.ForwardKernel, false, forward.ErrUnsupported)
	want = []string{"forward to 203.0.113.1:443 closed true", "forward no more"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
