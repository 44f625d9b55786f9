package endpoints

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/uplink"
)

// carriedGateway is a gateway with two uplinks and carriers to exits on loopback, which all say that they speak MPTCP. Its engines run without a session.
type carriedGateway struct {
	*gateway
	t     *testing.T
	taker *interceptTest
}

func newCarriedGateway(t *testing.T, exits ...*carrierWorld) *carriedGateway {
	cfg := &config.Config{Role: config.RoleGateway, PrivateKey: exits[0].own}
	cfg.Stream.Mode = config.CarryMPTCP
	for i, w := range exits {
		x := config.Exit{Key: w.x.cfg.PrivateKey.Public()}
		if i == 0 {
			cfg.Exit = x
		} else {
			cfg.Others = append(cfg.Others, x)
		}
	}
	g := newGateway(cfg, slog.New(slog.DiscardHandler), &host{multipath: &multipath{
		support: func() mptcp.Support { return mptcp.Support{} },
		dial: func(ctx context.Context, _ mptcp.Options, to netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to.String())
		},
		read:      func(net.Conn) (mptcp.Info, error) { return mptcp.Info{Count: 1}, nil },
		endpoints: func() (endpointManager, error) { return &endpointsTest{}, nil },
	}})
	for i, w := range g.ways {
		exits[i].x.host.multipath = g.host.multipath
		w.engine = newEngine(w.name, g.clock, g.log, nil, g.sockets, &g.drops, w)
		go w.engine.run() // joined below
		w.remotes.list = []netip.AddrPort{exits[i].l.Addr().(*net.TCPAddr).AddrPort()}
	}
	g.openCarriers()
	for _, w := range g.ways {
		w.carriers.see(uplink.Snapshot{Uplinks: []uplink.Uplink{testUplink("one", 1, addrOne), testUplink("two", 2, addrTwo)}},
			[]string{capStreams, capCarriers, capMPTCP})
	}
	c := &carriedGateway{g, t, &interceptTest{conns: make(chan interceptedTest), done: make(chan struct{})}}
	taken := make(chan struct{})
	go func() { // joined below
		defer close(taken)
		g.take(c.taker, make(chan refusal, 1))
	}()
	t.Cleanup(func() {
		close(c.taker.done)
		<-taken
		if err := g.closeCarriers(); err != nil {
			t.Error(err)
		}
		g.flows.end()
		for _, w := range g.ways {
			w.engine.stop(closeShutdown, "")
			<-w.engine.done
		}
	})
	return c
}

// need says which exits are needed, and waits until they have carriers and the others have none.
func (c *carriedGateway) need(ways ...*wayOut) {
	c.t.Helper()
	c.needCarriers()
	for end := time.Now().Add(carrierPatience); ; time.Sleep(time.Millisecond) {
		ready := true
		for _, w := range c.ways {
			n := len(w.carriers.pool.Conns())
			if slices.Contains(ways, w) {
				ready = ready && w.carriers.use.Load() && n > 0
			} else {
				ready = ready && !w.carriers.use.Load() && n <= w.carriers.streams()
			}
		}
		if ready {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("carriers: %+v, %+v", c.ways[0].carriers.report(), c.ways[1].carriers.report())
		}
	}
}

// asks makes a connection of the LAN and returns what the exit that it goes by has answered.
func (c *carriedGateway) asks(exit uint8) (answer string, lan *memConn) {
	c.t.Helper()
	lan = c.taker.connectBy(exit, carriedTarget)
	lan.SetDeadline(time.Now().Add(carrierPatience))
	b := make([]byte, 1)
	if _, err := io.ReadFull(lan, b); err != nil {
		c.t.Fatalf("by exit %d: %v", exit, err)
	}
	return string(b), lan
}

// TestCarriersByExit: each exit has carriers of its own, while connections go to it: by default, or by a rule. What is open goes on at the old one.
func TestCarriersByExit(t *testing.T) {
	var exits []*carrierWorld
	for _, name := range []string{"a", "b"} {
		w := newCarrierWorld(t)
		w.dial = func(dial.Target) (dial.Conn, error) {
			exit, server := memPair(netip.AddrPort{}, carriedTarget)
			io.WriteString(server, name)
			t.Cleanup(func() { server.abort() })
			return exit, nil
		}
		if len(exits) > 0 { // the same gateway
			w.own = exits[0].own
			w.x.cfg.Gateways[0].Key = w.own.Public()
			w.x.streams.dialers.Store(&dialers{w.own.Public(): w})
		}
		exits = append(exits, w)
	}
	g := newCarriedGateway(t, exits...)
	a, b := g.ways[0], g.ways[1]
	a.awake, b.awake = true, true
	g.need(a)
	answer, first := g.asks(0)
	if answer != "a" {
		t.Errorf("with the first exit in use, a connection has gone by %q", answer)
	}
	g.chosen.Store(b) // it takes over
	g.need(b)
	if answer, _ := g.asks(0); answer != "b" {
		t.Errorf("with the second exit in use, a connection has gone by %q", answer)
	}
	if _, err := first.Write([]byte("x")); err != nil || a.carriers.streams() != 1 {
		t.Errorf("the connection by the first exit: %v, %d streams", err, a.carriers.streams())
	}
	a.ruled = true
	g.need(a, b)
	for exit, want := range []string{"b", "a"} {
		if answer, _ := g.asks(uint8(exit)); answer != want {
			t.Errorf("a connection for exit %d has gone by %q, not %q", exit, answer, want)
		}
	}
	b.awake = false // its session has ended
	g.need(a)
	if why := b.carriers.report().Why; !strings.HasPrefix(why, "the exit is not in use") {
		t.Errorf("why the second has none: %q", why)
	}
}

// TestSharedEndpoints: an endpoint is there while anybody wants it, and the last one takes all away.
func TestSharedEndpoints(t *testing.T) {
	real := &endpointsTest{}
	opened := 0
	s := sharedEndpoints{open: func() (endpointManager, error) { opened++; return real, nil }}
	one, two := mptcp.Endpoint{Addr: addrOne, Ifindex: 1}, mptcp.Endpoint{Addr: addrTwo, Ifindex: 2}
	a, err := s.share()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := s.share()
	expect := func(what string, want ...mptcp.Endpoint) {
		t.Helper()
		if !slices.Equal(real.list, want) {
			t.Errorf("%s: %+v", what, real.list)
		}
	}
	a.Sync([]mptcp.Endpoint{one, two})
	b.Sync([]mptcp.Endpoint{two})
	expect("both", one, two)
	a.Sync([]mptcp.Endpoint{one})
	expect("one wants it still", one, two)
	a.Fail(one)
	b.Sync([]mptcp.Endpoint{two})
	expect("it fails, and nobody else wants it", two)
	meshed := two
	meshed.Mesh = true
	b.Sync([]mptcp.Endpoint{two})
	a.Sync([]mptcp.Endpoint{meshed})
	expect("one wants a mesh", meshed)
	a.Sync(nil)
	b.Close()
	expect("the other one has ended")
	if a.Close(); real.closed != 1 || opened != 1 {
		t.Errorf("opened %d times, closed %d times", opened, real.closed)
	}
}
