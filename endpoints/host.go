package endpoints

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/dns"
	"github.com/bondd/bondd/endpoints/forward"
	"github.com/bondd/bondd/endpoints/hook"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/meter"
	"github.com/bondd/bondd/endpoints/nft"
	"github.com/bondd/bondd/endpoints/probe"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel"
)

// host is all that a node asks of the machine it runs on. Tests put a fake one in its place.
type host struct {
	openTUN     func(name string, o tun.Options) (tun.Device, error)
	listenUDP   func(ctx context.Context, o udp.Options) (udp.Socket, error)
	listenTCP   func(ctx context.Context, at netip.AddrPort) (net.Listener, error)
	listenExit  func(ctx context.Context, at netip.AddrPort) (net.Listener, error) // for hellos and carriers
	listenUnix  func(path string) (net.Listener, error)
	dialTCP     func(ctx context.Context, from uplink.Uplink, to netip.AddrPort) (net.Conn, error)
	resolve     func(ctx context.Context, from []uplink.Uplink, name string) ([]netip.Addr, error)
	lookup      func(ctx context.Context, name string) ([]netip.Addr, error) // by whatever way the machine has
	watch       func(o uplink.WatchOptions) (uplink.Monitor, error)
	openNetwork func(o uplink.Options) (network, error)
	setFirewall func(c nft.Config) error
	delFirewall func(c nft.Config) error
	intercept   func(c intercept.Config) (interceptor, error)
	unintercept func(c intercept.Config) error // removes what a crashed predecessor left
	newDialer   func(o dial.Options) (targetDialer, error)
	listenDNS   func(ctx context.Context, at netip.AddrPort, device string) (net.PacketConn, net.Listener, error)
	dialDNS     func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
	process     Process // of tests and the lab: nothing
	setForward  func(c forward.Config) error
	delForward  func(c forward.Config) error
	openForward func(ctx context.Context, c forward.Config) (*forward.Relay, error)
	newHook     func(done func(hook.Result)) hookRunner
	probe       func(ctx context.Context, target string, from uplink.Uplink) error // as probe.Ask
	wall        func() time.Time                                                   // the clock of the calendar, which may be wrong
	traffic     func(device string) (meter.Reading, error)
	newSession  func(now time.Duration, cfg tunnel.Config, rng *rand.Rand) (session, error)
	listening   func(udp bool) []netip.AddrPort
	multipath   *multipath // nil: the machine has no MPTCP
}

// network is what is used of an uplink.System, which says what each method does.
type network interface {
	Sync(ctx context.Context, want uplink.Plan) error
	Forwarded(v6 bool) bool
	Close(ctx context.Context) error
}

// machine is the real one.
func machine() *host {
	return &host{
		openTUN:    tun.Open,
		listenUDP:  udp.Listen,
		listenTCP:  listenTCP,
		listenExit: listenExit,
		listenUnix: listenUnix,
		listening:  listening,
		dialTCP:    dialTCP,
		resolve:    resolve,
		lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
		watch: uplink.Watch,
		openNetwork: func(o uplink.Options) (network, error) {
			if err := uplink.Check(); err != nil {
				return nil, err
			}
			return uplink.Open(o)
		},
		setFirewall: nft.Apply,
		delFirewall: nft.Remove,
		intercept:   openIntercept,
		unintercept: intercept.Sweep,
		newDialer:   func(o dial.Options) (targetDialer, error) { return dial.New(o) },
		listenDNS:   dns.Listen,
		dialDNS:     dns.Dialer(intercept.MarkSocket),
		newSession:  newSession,
		multipath:   realMultipath(),
		setForward:  forward.Apply,
		delForward:  forward.Remove,
		openForward: func(ctx context.Context, c forward.Config) (*forward.Relay, error) {
			return forward.Open(ctx, c, forward.Network{ListenUDP: udp.Listen, ListenTCP: listenTCP, DialTCP: dialPlain})
		},
		newHook: func(done func(hook.Result)) hookRunner { return hook.New(done) },
		probe: func(ctx context.Context, target string, from uplink.Uplink) error {
			return probe.Ask(ctx, target, from.Control)
		},
		wall: time.Now,
		traffic: func(device string) (meter.Reading, error) {
			t, err := uplink.ReadTraffic(device)
			return meter.Reading{Interface: device, Ifindex: t.Ifindex, Boot: t.Boot, Bytes: t.Bytes}, err
		},
	}
}
