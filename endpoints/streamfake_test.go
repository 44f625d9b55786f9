package endpoints

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/intercept"
)

// interceptTest is an interception in memory: what a test connects comes out of Accept.
type interceptTest struct {
	cfg   intercept.Config
	conns chan interceptedTest
	done  chan struct{}

	mu          sync.Mutex
	ipv6        bool
	removed     bool
	restored    int
	refused     []netip.AddrPort
	unreachable []netip.AddrPort
}

type interceptedTest struct {
	conn   *memConn
	target netip.AddrPort
	exit   uint8
}

var lanClient = netip.MustParseAddrPort("192.168.1.7:40000")

// connect is a client of the LAN. It returns nil if nothing is intercepted.
func (i *interceptTest) connect(target netip.AddrPort) *memConn { return i.connectBy(0, target) }

// connectBy is the same with a rule that sends it by an exit.
func (i *interceptTest) connectBy(exit uint8, target netip.AddrPort) *memConn {
	a, b := memPair(lanClient, target)
	select {
	case i.conns <- interceptedTest{b, target, exit}:
		return a
	case <-i.done:
		return nil
	}
}

func (i *interceptTest) Accept() (dial.Conn, uint8, netip.AddrPort, error) {
	select {
	case c := <-i.conns:
		return c.conn, c.exit, c.target, nil
	case <-i.done:
		return nil, 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (i *interceptTest) Refused(t netip.AddrPort) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refused = append(i.refused, t)
	return nil
}

func (i *interceptTest) Unreachable(t netip.AddrPort) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.unreachable = append(i.unreachable, t)
	return nil
}

func (i *interceptTest) SetIPv6(on bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ipv6 = on
	if i.removed {
		return intercept.ErrRemoved
	}
	return nil
}

func (i *interceptTest) Restore() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.removed = false
	i.restored++
	return nil
}

func (i *interceptTest) Update(c intercept.Config) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cfg = c
	return nil
}

func (i *interceptTest) Close() error { close(i.done); return nil }

// dialTest is the internet behind an exit.
type dialTest struct {
	opts dial.Options

	mu    sync.Mutex
	serve map[netip.AddrPort]func(c *memConn) // nil: nobody listens and nothing answers
	wg    sync.WaitGroup                      // servers
}

func (d *dialTest) DialTarget(ctx context.Context, t dial.Target) (dial.Conn, error) {
	to := netip.AddrPortFrom(t.Addr, t.Port)
	if t.Host == "server.example" {
		to = netip.AddrPortFrom(far, t.Port)
	} else if t.Host != "" {
		return nil, &dial.Error{Code: dial.NoSuchName, Target: t.String()}
	}
	d.mu.Lock()
	serve, known := d.serve[to]
	d.mu.Unlock()
	switch {
	case !known:
		return nil, &dial.Error{Code: dial.Refused, Target: t.String(), Err: syscall.ECONNREFUSED}
	case serve == nil:
		select {
		case <-ctx.Done():
			return nil, &dial.Error{Code: dial.Canceled, Target: t.String(), Err: ctx.Err()}
		case <-time.After(dial.DefaultTimeout):
			return nil, &dial.Error{Code: dial.Timeout, Target: t.String()}
		}
	}
	a, b := memPair(netip.AddrPortFrom(exitAddr, 50000), to)
	d.wg.Go(func() { serve(b) })
	return a, nil
}

// at says what answers at a port of far; nil: nothing does.
func (d *dialTest) at(port uint16, serve func(c *memConn)) netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	to := netip.AddrPortFrom(far, port)
	d.serve[to] = serve
	return to
}
