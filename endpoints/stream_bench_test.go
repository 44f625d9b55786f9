package endpoints

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/nft"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/tun/tuntest"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/uplink"
)

// loopback is a gateway and an exit with real sockets on the loopback device; only TUN, routes and interception are fakes.
type loopback struct {
	taken chan net.Conn // to be intercepted
	to    netip.AddrPort
}

// loopbackTaker intercepts what is sent into a channel.
type loopbackTaker struct {
	*interceptTest
	l *loopback
}

func (t loopbackTaker) Accept() (dial.Conn, uint8, netip.AddrPort, error) {
	select {
	case c := <-t.l.taken:
		return c.(*net.TCPConn), 0, t.l.to, nil
	case <-t.done:
		return nil, 0, netip.AddrPort{}, net.ErrClosed
	}
}

func newLoopback(b *testing.B, serve func(net.Conn)) *loopback {
	b.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	hello, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l := &loopback{taken: make(chan net.Conn), to: addrPort(server.Addr())}
	at := addrPort(hello.Addr())
	h := &host{
		openTUN:    func(name string, _ tun.Options) (tun.Device, error) { return tuntest.New(name, 1500), nil },
		listenUDP:  udp.Listen,
		listenTCP:  func(context.Context, netip.AddrPort) (net.Listener, error) { return hello, nil },
		listenUnix: func(string) (net.Listener, error) { return nil, errors.ErrUnsupported },
		dialTCP: func(_ context.Context, _ uplink.Uplink, to netip.AddrPort) (net.Conn, error) {
			return net.Dial("tcp", to.String())
		},
		watch:       func(uplink.WatchOptions) (uplink.Monitor, error) { return uplink.NewFeed(uplink.Snapshot{}), nil },
		openNetwork: func(uplink.Options) (network, error) { return new(networkTest), nil },
		setFirewall: func(nft.Config) error { return nil },
		delFirewall: func(nft.Config) error { return nil },
		newSession:  newSession,
		unintercept: func(intercept.Config) error { return nil },
		newDialer:   func(o dial.Options) (targetDialer, error) { return dial.New(o) },
	}
	g := *h
	g.listenUDP = func(ctx context.Context, _ udp.Options) (udp.Socket, error) {
		return udp.Listen(ctx, udp.Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	}
	g.watch = func(uplink.WatchOptions) (uplink.Monitor, error) {
		return uplink.NewFeed(uplink.Snapshot{Uplinks: []uplink.Uplink{testUplink("lo", 1, netip.MustParseAddr("127.0.0.1"))}}), nil
	}
	g.intercept = func(c intercept.Config) (interceptor, error) {
		return loopbackTaker{&interceptTest{cfg: c, done: make(chan struct{})}, l}, nil
	}
	gk, ek := testKey(b), testKey(b)
	run2 := func(cfg *config.Config, h *host) (done chan error) {
		cfg.SetDefaults()
		ctx, stop := context.WithCancel(context.Background())
		done = make(chan error, 1)
		go func() { done <- run(ctx, cfg, slog.New(slog.DiscardHandler), h) }() // joined by the clean-up
		b.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
		return done
	}
	run2(&config.Config{Role: config.RoleExit, PrivateKey: ek, Listen: []netip.AddrPort{at}, Gateways: []config.Gateway{{Name: "home", Key: gk.Public()}},
		Stream: config.Stream{MaxRate: 100_000, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, h)
	run2(&config.Config{Role: config.RoleGateway, PrivateKey: gk,
		Exit: config.Exit{Addresses: []config.Address{{Host: "127.0.0.1", Port: at.Port()}}, Key: ek.Public()}}, &g)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c); c.Close() })
		}
	})
	b.Cleanup(func() { server.Close(); wg.Wait() })
	return l
}

// connect is a client of the LAN.
func (l *loopback) connect(b *testing.B) *net.TCPConn {
	b.Helper()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer front.Close()
	c, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	d, err := front.Accept()
	if err != nil {
		b.Fatal(err)
	}
	select {
	case l.taken <- d:
	case <-time.After(10 * time.Second):
		b.Fatal("nothing is intercepted")
	}
	return c.(*net.TCPConn)
}

// What one connection carries through gateway and exit on this machine, both ends, clients and all.
func BenchmarkStream(b *testing.B) {
	const piece = 1 << 20
	for _, up := range []bool{false, true} {
		name := "down"
		if up {
			name = "up"
		}
		b.Run(name, func(b *testing.B) {
			junk := pattern(piece, 1)
			l := newLoopback(b, func(c net.Conn) {
				if up {
					io.Copy(struct{ io.Writer }{io.Discard}, c)
					return
				}
				for {
					if _, err := c.Write(junk); err != nil {
						return
					}
				}
			})
			c := l.connect(b)
			defer abort(c)
			move := func(n int) {
				if up {
					c.Write(junk[:n])
				} else {
					io.ReadFull(c, junk[:n])
				}
			}
			for range 64 {
				move(piece)
			}
			b.SetBytes(piece)
			for b.Loop() {
				move(piece)
			}
		})
	}
}

// How long a small request and its answer take on a connection of their own.
func BenchmarkShortStream(b *testing.B) {
	l := newLoopback(b, func(c net.Conn) { io.Copy(c, c) })
	for b.Loop() {
		c := l.connect(b)
		c.Write([]byte("request"))
		if _, err := io.ReadFull(c, make([]byte, 7)); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
