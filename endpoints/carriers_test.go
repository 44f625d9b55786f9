package endpoints

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/carrier"
	"github.com/bondd/bondd/tunnel/control"
)

// The tests of carriers are outside bubbles: smux keeps channels in a global pool.

const carrierPatience = 10 * time.Second

// carrierWorld is an exit that takes carriers on loopback, and dials in memory.
type carrierWorld struct {
	t    *testing.T
	x    *exit
	l    net.Listener
	own  control.PrivateKey // of its gateway
	dial func(dial.Target) (dial.Conn, error)
}

func (w *carrierWorld) DialTarget(_ context.Context, t dial.Target) (dial.Conn, error) {
	return w.dial(t)
}

func newCarrierWorld(t *testing.T) *carrierWorld {
	t.Helper()
	w := &carrierWorld{t: t, own: testKey(t)}
	cfg := &config.Config{Role: config.RoleExit, PrivateKey: testKey(t), Gateways: []config.Gateway{{Name: "home", Key: w.own.Public()}}}
	cfg.SetDefaults()
	w.x = newExit(cfg, slog.New(slog.DiscardHandler), &host{})
	w.x.streams.dialers.Store(&dialers{w.own.Public(): w})
	var err error
	if w.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.x.stopHello = cancel
	w.x.listeners = []net.Listener{w.l}
	w.x.helloWG.Go(func() { w.x.accept(ctx, w.l) })
	t.Cleanup(func() { w.x.endHello(context.Background()) })
	return w
}

// carrier is one of a gateway with a key.
func (w *carrierWorld) carrier(key control.PrivateKey) (*carrier.Conn, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), carrierPatience)
	defer cancel()
	tcp, err := net.Dial("tcp", w.l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	t, err := control.Carrier(ctx, tcp, key, w.x.cfg.PrivateKey.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := carrier.Client(carrierConn{t, tcp, nil})
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// serve is a carrier of the gateway, and the servers at carriedTarget that the exit connects to for it.
func (w *carrierWorld) serve() (*carrier.Conn, <-chan *memConn) {
	w.t.Helper()
	servers := make(chan *memConn, 1)
	w.dial = func(to dial.Target) (dial.Conn, error) {
		if to.String() != carriedTarget.String() {
			w.t.Errorf("dialled %v", to)
		}
		exit, server := memPair(netip.AddrPort{}, carriedTarget)
		servers <- server
		return exit, nil
	}
	c, err := w.carrier(w.own)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, servers
}

// client is a connection of the LAN that goes by a carrier; the far end of its relay is joined when the test is over.
func (w *carrierWorld) client(c *carrier.Conn, target netip.AddrPort, failed func(uint64)) *memConn {
	w.t.Helper()
	b, err := appendTarget(nil, dial.TargetOf(target))
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := c.Open(b)
	if err != nil {
		w.t.Fatal(err)
	}
	near, lan := memPair(lanClient, target)
	var wg sync.WaitGroup
	wg.Go(func() { relayCarried(s, lan, failed) })
	w.t.Cleanup(func() { near.abort(); c.Close(); wg.Wait() })
	near.SetDeadline(time.Now().Add(carrierPatience))
	return near
}

var carriedTarget = netip.MustParseAddrPort("198.51.100.7:80")

// TestCarriedLikeStreams: a client half-closes and gets its answer, and sees the resets of the far connection, behind what came before them.
func TestCarriedLikeStreams(t *testing.T) {
	w := newCarrierWorld(t)
	c, servers := w.serve()
	client := w.client(c, carriedTarget, nil)
	question := strings.Repeat("question ", 20_000)
	go func() {
		io.WriteString(client, question)
		client.CloseWrite()
	}()
	server := <-servers
	server.SetDeadline(time.Now().Add(carrierPatience))
	if got, err := io.ReadAll(server); err != nil || string(got) != question {
		t.Errorf("the server has read %d bytes of %d, %v", len(got), len(question), err)
	}
	io.WriteString(server, "answer")
	server.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Errorf("the client has read %q, %v", got, err)
	}

	client = w.client(c, carriedTarget, nil)
	server = <-servers
	server.SetDeadline(time.Now().Add(carrierPatience))
	client.abort()
	if _, err := io.ReadAll(server); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client has reset; the server sees %v", err)
	}
	client = w.client(c, carriedTarget, nil)
	(<-servers).abort()
	if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server has reset; the client sees %v", err)
	}
	if n := w.x.flows.opened.Load(); n != 3 {
		t.Errorf("%d connections are counted", n)
	}
}

// TestCarriedRefusal: why a target was not reached comes back with its code, and is counted; nonsense is forbidden.
func TestCarriedRefusal(t *testing.T) {
	w := newCarrierWorld(t)
	w.dial = func(to dial.Target) (dial.Conn, error) {
		return nil, &dial.Error{Code: dial.Refused, Target: to.String()}
	}
	c, err := w.carrier(w.own)
	if err != nil {
		t.Fatal(err)
	}
	codes := make(chan uint64, 1)
	client := w.client(c, carriedTarget, func(code uint64) { codes <- code })
	if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
	if code := <-codes; code != tunnel.ResetRefused || w.x.flows.refused[tunnel.ResetRefused].Load() != 1 {
		t.Errorf("code %d", code)
	}
	s, err := c.Open([]byte("nonsense"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), carrierPatience)
	defer cancel()
	var d *dial.Error
	if err := carriedError(dial.Target{}, s.Wait(ctx)); !errors.As(err, &d) || d.Code != dial.Forbidden {
		t.Errorf("nonsense: %v", err)
	}
	v, err := askCarrier(c)
	if err != nil || v.MPTCP || v.From != addrPort(c.NetConn().LocalAddr()) {
		t.Errorf("the exit's view: %+v, %v", v, err)
	}
}

// One dialer of a gateway is held to max_streams, by default too; what comes by carriers is dialled by it as the streams of the session are.
func TestCarriedCountsAsStream(t *testing.T) {
	for set, want := range map[int]int{0: defaultStreams, 2: 2} {
		if got := dialOptions(config.Stream{MaxStreams: set}).MaxOpen; got != want {
			t.Errorf("max_streams %d: the dialer opens %d", set, got)
		}
	}
	if code := resetCodes[dial.Busy]; code != tunnel.ResetLimit {
		t.Errorf("beyond it the gateway is told %d", code)
	}
}

// TestCarriedMemory: max_memory holds for a gateway's session and its carriers together; what nobody takes stays at the gateway.
func TestCarriedMemory(t *testing.T) {
	w := newCarrierWorld(t)
	w.x.cfg.Gateways[0].MaxMemory = 16
	key := w.own.Public()
	a := &association{x: w.x, gateway: &w.x.cfg.Gateways[0], current: true, engine: newEngine("home", clock{}, w.x.log, nil, nil, nil, nil)}
	fake := new(scripted)
	a.engine.s = fake
	w.x.sessions = append(w.x.sessions, a)
	session := func(want int) {
		t.Helper()
		a.engine.in.take(&a.engine.taken)
		for _, f := range a.engine.taken.commands {
			f(0)
		}
		a.engine.taken.commands = nil
		if fake.bytes != want<<20 || w.x.streamLimits(&w.x.cfg.Gateways[0]).StreamBytes != want<<20 {
			t.Errorf("the session may hold %d bytes, the next one %d; want %d MB", fake.bytes, w.x.streamLimits(&w.x.cfg.Gateways[0]).StreamBytes, want)
		}
	}
	m := w.x.carriers.enter(w.x, key)
	if !m.Take(3 << 20) {
		t.Error("nothing to be had")
	}
	session(13)
	if a.engine.held.Store(12 << 20); m.Take(2 << 20) {
		t.Error("what the session holds does not count")
	}
	if a.engine.held.Store(0); !m.Take(10<<20) || m.Take(4<<20) {
		t.Error("not what is left")
	}
	session(4) // at least
	m.Give(13 << 20)
	session(16)
	w.x.carriers.leave(key)

	c, servers := w.serve()
	client := w.client(c, carriedTarget, nil)
	server := <-servers // which takes nothing
	defer server.abort()
	client.SetDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := client.Write(make([]byte, 8<<20)); err == nil {
		t.Error("8 MB have gone where nobody takes them")
	}
	if n := c.Moved(); n == 0 || n > 256<<10 {
		t.Errorf("%d bytes have left the gateway", n)
	}
}

// TestStrangerHasNoCarrier: a gateway that the exit does not know gets nothing.
func TestStrangerHasNoCarrier(t *testing.T) {
	w := newCarrierWorld(t)
	c, err := w.carrier(testKey(t))
	if err != nil {
		return // the exit was quicker
	}
	select {
	case <-c.Done():
	case <-time.After(carrierPatience):
		t.Error("a stranger's carrier lives")
	}
	if n := w.x.carriers.len(); n != 0 {
		t.Errorf("%d carriers are counted", n)
	}
}

// TestCarrierCodes: those that package carrier gives mean the same as in a session.
func TestCarrierCodes(t *testing.T) {
	if carrier.Closed != tunnel.ResetClosed || carrier.Aborted != tunnel.ResetAborted || carrier.Gone != tunnel.ResetSession {
		t.Error("the reset codes of carriers are not those of streams")
	}
}

// TestCarryUplinkReasons: what keeps the kernel from an uplink, in the order of a life.
func TestCarryUplinkReasons(t *testing.T) {
	now := time.Unix(1000, 0)
	u := &carryUplink{since: now}
	expect := func(reason string, tcpOnly bool) {
		t.Helper()
		if p := u.path(now); p.Reason != reason || p.TCPOnly != tcpOnly {
			t.Errorf("reason %q, TCP only %v; want %q, %v", p.Reason, p.TCPOnly, reason, tcpOnly)
		}
	}
	expect("not checked yet", false)
	u.check = checkResult{name: "eth1", err: io.EOF}
	expect("the exit is not reached by TCP", false)
	u.check = checkResult{name: "eth1", here: true, rtt: time.Millisecond}
	expect("MPTCP is stripped on the way", false)
	u.check.there, u.checked = true, now
	expect("it has no path yet", false)
	now = now.Add(udpPatience)
	expect("", true)
	path := tunnel.PathStats{State: scheduler.Up.String(), RTT: 30 * time.Millisecond, Queue: 10 * time.Millisecond}
	u.learn(now, path)
	expect("", false)
	if u.rtt != 20*time.Millisecond {
		t.Errorf("round trip %v", u.rtt)
	}
	u.failing, u.up = true, false
	expect("it does not answer", false)
	u.learn(now, path)
	if u.learn(now.Add(wellAfter/2), path); !u.failing {
		t.Error("well again too soon")
	}
	if u.learn(now.Add(wellAfter), path); u.failing {
		t.Error("never well again")
	}
	u.terms.MaxUp = 1e6
	if expect("its rate is capped by the configuration, which the kernel cannot do", false); !u.barred() {
		t.Error("the kernel may have it")
	}
	u.terms.Metered = true
	expect("it is metered", false)
}

func TestLossCount(t *testing.T) {
	var l lossCount
	l.add(500, 100)
	if l.share != 0 {
		t.Error("a share of too few")
	}
	l.add(2000, 100)
	if l.share != 0.05 {
		t.Errorf("share %v", l.share)
	}
	l.add(10, 0) // another session
	l.add(1010, 10)
	if l.share != 0.01 {
		t.Errorf("share %v after a new session", l.share)
	}
}

// endpointsTest notes what is asked of the path manager.
type endpointsTest struct {
	list   []mptcp.Endpoint
	raised []bool // with announced addresses or without
	closed int
}

func (e *endpointsTest) Raise(announced bool) error {
	e.raised = append(e.raised, announced)
	return nil
}
func (e *endpointsTest) Sync(want []mptcp.Endpoint) error { e.list = want; return nil }
func (e *endpointsTest) Fail(mptcp.Endpoint) error        { e.list = nil; return nil }
func (e *endpointsTest) Close() error                     { e.closed++; return nil }

// TestOtherAddress: where an uplink does not reach an address of the exit, the next one is tried, and so on in turn.
func TestOtherAddress(t *testing.T) {
	a, b := netip.MustParseAddrPort("203.0.113.1:7117"), netip.MustParseAddrPort("203.0.113.9:7117")
	six := netip.MustParseAddrPort("[2001:db8::1]:7117") // the uplink has no IPv6
	w := &carryWorld{snap: uplink.Snapshot{Uplinks: []uplink.Uplink{testUplink("one", 1, addrOne)}}, remotes: []netip.AddrPort{six, a, b}}
	c := &gatewayCarriers{way: &wayOut{}, uplinks: map[string]*carryUplink{}}
	now := time.Now()
	for i, want := range []netip.AddrPort{a, b, a, a} {
		if y := c.follow(now, w, nil); len(y) != 1 || y[0].remote != want {
			t.Errorf("try %d goes to %+v, not %v", i, y, want)
		}
		c.uplinks["one"].checking = true
		r := checkResult{name: "one", here: true, there: true}
		if i < 2 {
			r = checkResult{name: "one", err: io.EOF}
		}
		c.checked(r)
		if due := !c.uplinks["one"].checkAt.After(time.Now()); due {
			t.Errorf("try %d: the same address is tried again at once", i)
		}
	}
}

// TestEndpointsOfUplinks: an endpoint for each uplink that the kernel may have, and for no other.
func TestEndpointsOfUplinks(t *testing.T) {
	remote := exitListen
	good := func(u *carryUplink) *carryUplink {
		u.remote, u.check = remote, checkResult{name: u.uplink.Name, here: true, there: true}
		return u
	}
	one, two := testUplink("one", 1, addrOne), testUplink("two", 2, addrTwo)
	e := &endpointsTest{}
	c := &gatewayCarriers{manager: e, pool: carrier.NewPool(carrier.PoolConfig{}), uplinks: map[string]*carryUplink{
		"one": good(&carryUplink{uplink: one, terms: terms{Mode: config.ModeBackup}}),
		"two": good(&carryUplink{uplink: two, terms: terms{Uplink: config.Uplink{Metered: true}}}),
	}}
	c.syncEndpoints(true)
	if want := (mptcp.Endpoint{Addr: addrOne, Ifindex: one.Ifindex, Backup: true}); len(e.list) != 1 || e.list[0] != want {
		t.Errorf("endpoints %+v, want %+v", e.list, want)
	}
	c.world.capabilities = []string{capAnnounces}
	if c.syncEndpoints(true); len(e.list) != 1 || !e.list[0].Mesh {
		t.Errorf("endpoints for an exit that announces relays: %+v", e.list)
	}
	c.uplinks["one"].failing = true
	if c.syncEndpoints(true); len(e.list) != 0 {
		t.Errorf("endpoints of a failing uplink: %+v", e.list)
	}
	c.uplinks["one"].failing = false
	if c.syncEndpoints(false); len(e.list) != 0 {
		t.Errorf("endpoints without an exit: %+v", e.list)
	}
	if want := []bool{false, true}; !slices.Equal(e.raised, want) {
		t.Errorf("limits raised %v, want %v: once for subflows, and once for those to announced addresses", e.raised, want)
	}
}
