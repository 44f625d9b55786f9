package endpoints

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/nft"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/tun/tuntest"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/udp/udptest"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel/control"
)

// world is a gateway with two uplinks, an exit, and nothing but memory between them. It lives in a synctest bubble.
type world struct {
	t   *testing.T
	udp *udptest.Network
	tcp *pipes

	mu    sync.Mutex
	cut   map[string]bool     // uplinks through which nothing passes
	noUDP bool                // nothing but hellos passes
	dead  map[netip.Addr]bool // exits that do not answer

	gateway, exit *machineTest
	feed          *uplink.Feed    // of the gateway that runs
	snap          uplink.Snapshot // what it shows
	one, two      uplink.Uplink
}

var (
	exitAddr   = netip.MustParseAddr("203.0.113.1")
	exitListen = netip.AddrPortFrom(exitAddr, 7117)
	addrOne    = netip.MustParseAddr("192.0.2.2")
	addrTwo    = netip.MustParseAddr("198.51.100.2")
	addrThree  = netip.MustParseAddr("192.0.2.3")
	inner      = netip.MustParseAddr("10.177.0.2")
	far        = netip.MustParseAddr("100.64.9.9") // a server behind the exit
	delays     = map[netip.Addr]time.Duration{addrOne: 10 * time.Millisecond, addrTwo: 30 * time.Millisecond, addrThree: 10 * time.Millisecond}
)

// machineTest is a host in memory and the node on it.
type machineTest struct {
	w    *world
	cfg  *config.Config
	h    *host
	udp  *udptest.Host
	log  *logTest
	unix *pipeListener

	mu       sync.Mutex
	dev      *tuntest.Device            // of the node that ran last
	own      map[string]*tuntest.Device // beside it, of exits
	wall     nft.Config                 // the nftables table that was put in place last
	plan     uplink.Plan
	trail    []string // what was asked of the machine, in order
	firewall bool
	forwards bool           // before any node came
	taker    *interceptTest // of a gateway: the last one that was opened
	dialer   *dialTest      // the internet of an exit, the LAN of a gateway
	programs []netip.AddrPort

	stop context.CancelFunc
	done chan error
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, udp: udptest.New(), tcp: &pipes{at: make(map[netip.AddrPort]*pipeListener)}, cut: make(map[string]bool), dead: make(map[netip.Addr]bool)}
	w.one = testUplink("one", 1, addrOne)
	w.two = testUplink("two", 2, addrTwo)
	w.snap = uplink.Snapshot{Uplinks: []uplink.Uplink{w.one, w.two}}
	w.udp.SetHook(w.pass)

	gk, ek := testKey(t), testKey(t)
	w.gateway = w.machine("gateway", &config.Config{Role: config.RoleGateway, PrivateKey: gk,
		Exit: config.Exit{Addresses: []config.Address{{Host: exitAddr.String(), Port: 7117}}, Key: ek.Public()}},
		addrOne, addrTwo, addrThree)
	w.gateway.h.watch = func(uplink.WatchOptions) (uplink.Monitor, error) {
		w.feed = uplink.NewFeed(w.snap)
		return w.feed, nil
	}
	w.exit = w.machine("exit", &config.Config{Role: config.RoleExit, PrivateKey: ek, Listen: []netip.AddrPort{exitListen},
		Gateways: []config.Gateway{{Name: "home", Key: gk.Public()}}}, exitAddr)
	return w
}

// uplinks changes what the gateway's monitor sees, and waits until the gateway has acted on it.
func (w *world) uplinks(us ...uplink.Uplink) {
	w.snap = uplink.Snapshot{Uplinks: us}
	w.feed.Set(w.snap)
	synctest.Wait()
}

func testKey(t testing.TB) control.PrivateKey {
	k, err := control.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testUplink(name string, index int, a netip.Addr) uplink.Uplink {
	return uplink.Uplink{Index: index, Name: name, Ifindex: 10 + index, MTU: 1500, Up: true,
		Addrs: []netip.Prefix{netip.PrefixFrom(a, 24)}, Source4: a, Default4: true}
}

func (w *world) machine(name string, cfg *config.Config, addrs ...netip.Addr) *machineTest {
	cfg.SetDefaults()
	m := &machineTest{w: w, cfg: cfg, udp: w.udp.Host(addrs...), log: &logTest{t: w.t, name: name}, own: make(map[string]*tuntest.Device)}
	m.h = &host{
		openTUN: func(name string, o tun.Options) (tun.Device, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			dev := tuntest.New(name, 1500)
			if name != m.cfg.TUN.Name {
				m.own[name] = dev
				return dev, nil
			}
			m.trail = append(m.trail, "open tun")
			m.dev = dev
			return m.dev, nil
		},
		listenUDP:  func(_ context.Context, o udp.Options) (udp.Socket, error) { return m.udp.Listen(o) },
		listenTCP:  func(_ context.Context, at netip.AddrPort) (net.Listener, error) { return w.tcp.listen(at) },
		listenExit: func(_ context.Context, at netip.AddrPort) (net.Listener, error) { return w.tcp.listen(at) },
		listening:  func(bool) []netip.AddrPort { return m.programs },
		listenUnix: func(string) (net.Listener, error) {
			m.unix = newPipeListener(func() {})
			return m.unix, nil
		},
		dialTCP: func(ctx context.Context, from uplink.Uplink, to netip.AddrPort) (net.Conn, error) {
			if w.isCut(from.Name) || w.isDead(to.Addr()) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return w.tcp.dial(ctx, to)
		},
		watch: func(uplink.WatchOptions) (uplink.Monitor, error) {
			return uplink.NewFeed(uplink.Snapshot{}), nil
		},
		openNetwork: func(uplink.Options) (network, error) { return (*networkTest)(m), nil },
		setFirewall: func(c nft.Config) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.wall = c
			m.trail, m.firewall = append(m.trail, "set firewall"), true
			return nil
		},
		delFirewall: func(nft.Config) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.trail, m.firewall = append(m.trail, "delete firewall"), false
			return nil
		},
		newSession: newSession,
		listenDNS: func(context.Context, netip.AddrPort, string) (net.PacketConn, net.Listener, error) {
			return nil, nil, errors.ErrUnsupported // the DNS server has tests of its own, and one in namespaces
		},
		intercept: func(c intercept.Config) (interceptor, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.taker = &interceptTest{cfg: c, conns: make(chan interceptedTest), done: make(chan struct{})}
			return m.taker, nil
		},
		unintercept: func(intercept.Config) error { return nil },
		newDialer: func(o dial.Options) (targetDialer, error) {
			m.dialer.opts = o
			return m.dialer, nil
		},
	}
	m.dialer = &dialTest{serve: make(map[netip.AddrPort]func(*memConn))}
	return m
}

func (m *machineTest) taking() *interceptTest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taker
}

// networkTest is the machine's network as a node uses it.
type networkTest machineTest

func (n *networkTest) Sync(_ context.Context, p uplink.Plan) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(p.Items) == 0 {
		n.trail = append(n.trail, "unroute")
	} else if len(n.plan.Items) == 0 {
		n.trail = append(n.trail, "route")
	}
	n.plan = p
	return nil
}

func (n *networkTest) Forwarded(bool) bool { return n.forwards }

func (n *networkTest) Close(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trail = append(n.trail, "close network")
	return nil
}

// start runs the node; its end is awaited by end or when the test is over.
func (m *machineTest) start() {
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.done = stop, make(chan error, 1)
	log := slog.New(m.log)
	go func() { m.done <- run(ctx, m.cfg, log, m.h) }() // joined by end
	synctest.Wait()                                     // until it has started and waits for something
}

// end stops the node in order and returns its error.
func (m *machineTest) end() error {
	m.stop()
	return <-m.done
}

// crash ends the node so that nothing it says at the end is heard.
func (m *machineTest) crash() {
	m.w.setCut(true, "one", "two")
	m.end()
	m.w.setCut(false, "one", "two")
}

func (m *machineTest) tun() *tuntest.Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dev
}

func (m *machineTest) planned() uplink.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plan
}

func (m *machineTest) status() *Status {
	m.w.t.Helper()
	conn, err := m.unix.dial(context.Background())
	if err != nil {
		m.w.t.Fatal(err)
	}
	st, err := readStatus(context.Background(), "test", func(context.Context) (net.Conn, error) { return conn, nil })
	if err != nil {
		m.w.t.Fatal(err)
	}
	return st
}

// pass decides about a datagram between gateway and exit.
func (w *world) pass(p udptest.Passage) udptest.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	home, name := p.From.Addr(), p.Device
	if name == "" {
		home = p.To.Addr()
		name = "one"
		if home == addrTwo {
			name = "two"
		}
	}
	return udptest.Verdict{Delay: delays[home], Drop: w.cut[name] || w.noUDP || w.dead[p.From.Addr()] || w.dead[p.To.Addr()]}
}

func (w *world) setCut(cut bool, names ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range names {
		w.cut[n] = cut
	}
}

func (w *world) setDead(dead bool, exit netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[exit] = dead
}

func (w *world) isDead(exit netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead[exit]
}

func (w *world) isCut(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[name]
}

// pipes stands for TCP: listeners by address, and connections in memory.
type pipes struct {
	mu sync.Mutex
	at map[netip.AddrPort]*pipeListener
}

func (p *pipes) listen(at netip.AddrPort) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := newPipeListener(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.at, at)
	})
	p.at[at] = l
	return l, nil
}

func (p *pipes) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	l := p.at[to]
	p.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	return l.dial(ctx)
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	gone   func()
}

func newPipeListener(gone func()) *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), gone: gone}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	a, b := memPair(netip.AddrPort{}, netip.AddrPort{})
	select {
	case l.conns <- b:
		return a, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed); l.gone() })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// logTest keeps what a node logs and shows it with -v.
type logTest struct {
	t    *testing.T
	name string
	mu   sync.Mutex
	text []string
}

func (l *logTest) Enabled(context.Context, slog.Level) bool { return true }
func (l *logTest) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logTest) WithGroup(string) slog.Handler            { return l }

func (l *logTest) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %v %s", r.Time.Format("05.000"), l.name, r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b.String())
	l.t.Log(b.String())
	return nil
}

func (l *logTest) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.text {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// packet makes a UDP packet with a number in its payload.
func packet(from, to netip.Addr, number uint32) []byte {
	p := make([]byte, 20+8+100)
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(p[20:], 4000)
	binary.BigEndian.PutUint16(p[22:], 4001)
	binary.BigEndian.PutUint16(p[24:], uint16(len(p)-20))
	binary.BigEndian.PutUint32(p[28:], number)
	return p
}

// echo sends a packet from the LAN and its answer back, and tells how long both ways took; ok is false when one of
// them did not come within the time given.
func (w *world) echo(number uint32, limit time.Duration) (took time.Duration, ok bool) {
	w.t.Helper()
	begin := time.Now()
	timeout := time.After(limit)
	if !w.cross(w.gateway, w.exit, inner, far, number, timeout) || !w.cross(w.exit, w.gateway, far, inner, number, timeout) {
		return 0, false
	}
	return time.Since(begin), true
}

func (w *world) cross(a, b *machineTest, from, to netip.Addr, number uint32, timeout <-chan time.Time) bool {
	p := packet(from, to, number)
	a.tun().InjectBytes(p)
	for {
		select {
		case got := <-b.tun().Written():
			if slices.Equal(got.Data, p) {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// waitEcho repeats echoes until one comes back and tells how long that took.
func (w *world) waitEcho(limit time.Duration) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for i := uint32(1 << 20); time.Since(begin) < limit; i++ {
		if _, ok := w.echo(i, 100*time.Millisecond); ok {
			return time.Since(begin)
		}
	}
	w.t.Fatalf("no echo came back within %v", limit)
	return 0
}

// inBubble runs f with both nodes running and ends them.
func inBubble(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.ended(w.exit)
		w.exit.start()
		defer w.ended(w.gateway)
		w.gateway.start()
		f(w)
	})
}

// ended ends a node and expects that it ends well.
func (w *world) ended(m *machineTest) {
	if err := m.end(); err != nil {
		w.t.Errorf("the %s ended with: %v", m.cfg.Role, err)
	}
}
