package endpoints

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dns"
)

// capDNS is stated by an exit that answers DNS queries of its gateways, on its inner addresses.
const capDNS = "dns"

// dnsPort is where it does.
const dnsPort = 53

// resolvConf is where an exit finds its resolvers.
const resolvConf = "/etc/resolv.conf"

// names is the DNS server of a node: at a gateway for its LAN, at an exit for its gateways.
type names struct {
	resolver *dns.Resolver // nil: there is none
	wg       sync.WaitGroup
	stop     context.CancelFunc
	exit     atomic.Pointer[[]netip.AddrPort] // at a gateway: where the exit answers; empty or nil: it does not
}

// DNSStatus is how the DNS server of a node fares.
type DNSStatus struct {
	Asks []netip.AddrPort `json:"asks"` // the servers it asks
	dns.Stats
}

func (s *names) status(asks []netip.AddrPort) *DNSStatus {
	if s.resolver == nil {
		return nil
	}
	return &DNSStatus{Asks: asks, Stats: s.resolver.Stats()}
}

// start answers on the addresses, as far as they can be opened; it returns how many are, and the first error.
func (s *names) start(ctx context.Context, n *node, at []netip.AddrPort, device string, entries int, up *dns.Upstream) (open int, err error) {
	s.resolver = dns.NewResolver(entries, up.Exchange)
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	server := &dns.Server{Resolver: s.resolver}
	for _, a := range at {
		p, l, failed := n.host.listenDNS(ctx, a, device)
		if failed != nil {
			if err == nil {
				err = failed
			}
			continue
		}
		open++
		n.log.Info("DNS", "at", a)
		s.wg.Go(func() { server.Serve(ctx, p, l) }) // joined by end
	}
	return open, err
}

func (s *names) end(context.Context) error {
	if s.resolver != nil {
		s.stop()
		s.resolver.Close() // who waits for an answer gets one
		s.wg.Wait()
	}
	return nil
}

// askedServers are those that a gateway asks.
func (g *gateway) askedServers() []netip.AddrPort {
	if s := g.cfg.DNS.Servers; len(s) > 0 {
		return s
	}
	if at := g.names.exit.Load(); at != nil {
		return *at
	}
	return nil
}

// openNames starts the DNS server of a gateway, if it has one. Queries leave by sockets of this machine, into the TUN device like everything else:
// the exit's address is an inner one, and the mark keeps TCP from being intercepted on the way.
func (g *gateway) openNames(ctx context.Context) error {
	if len(g.cfg.DNS.Listen) == 0 {
		return nil
	}
	_, err := g.names.start(ctx, &g.node, g.cfg.DNS.Listen, "", g.cfg.DNS.Cache, &dns.Upstream{Servers: g.askedServers, Dial: g.host.dialDNS})
	if err != nil {
		g.names.end(ctx)
	}
	return err
}

// openNames starts the DNS server for the gateways. It hears only what comes in by the TUN device, so nobody else can ask. An exit works
// without it: another server may have the port.
func (x *exit) openNames(ctx context.Context) error {
	if x.cfg.DNS.Off {
		return nil
	}
	var at []netip.AddrPort
	for _, p := range x.cfg.Inner.Exit() {
		at = append(at, netip.AddrPortFrom(p.Addr(), dnsPort))
	}
	open, err := x.names.start(ctx, &x.node, at, x.dev.Name(), config.DefaultDNSCache, &dns.Upstream{Servers: dns.ResolvConf(resolvConf), Dial: x.host.dialDNS})
	if err != nil {
		x.log.Warn("gateways are not all answered their DNS queries; is another server on port 53?", "error", err)
	}
	x.answersDNS = open > 0
	return nil
}

// followExitDNS notes where the exit of a new session answers DNS queries.
func (g *gateway) followExitDNS(inner []netip.Addr, answers bool) {
	var at []netip.AddrPort
	if answers {
		for _, a := range inner {
			at = append(at, netip.AddrPortFrom(a, dnsPort))
		}
	}
	g.names.exit.Store(&at)
}
