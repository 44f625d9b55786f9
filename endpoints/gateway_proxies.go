package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/proxy"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel/control"
)

// proxyPlace is where a proxy is served.
type proxyPlace struct {
	protocol proxy.Protocol
	at       netip.AddrPort
	exit     control.PublicKey // whose proxy it is; zero: that of the exit in use
}

// setProxies makes the proxies those of the configuration: what is no more in it ends with its clients, and what stays is not touched.
func (g *gateway) setProxies(c *config.Config) error {
	s := &g.streams
	want := make(map[proxyPlace]bool)
	var order []proxyPlace
	add := func(key control.PublicKey, socks, http []netip.AddrPort) {
		for _, at := range socks {
			order = append(order, proxyPlace{proxy.SOCKS5, at, key})
		}
		for _, at := range http {
			order = append(order, proxyPlace{proxy.HTTPConnect, at, key})
		}
	}
	add(control.PublicKey{}, c.Stream.SOCKS, c.Stream.HTTP)
	for _, x := range g.cfg.Exits() {
		add(x.Key, x.SOCKS, x.HTTP)
	}
	for _, p := range order {
		want[p] = true
	}
	for p, end := range s.proxies {
		if !want[p] {
			end()
			delete(s.proxies, p)
			g.log.Info("proxy ended", "protocol", p.protocol, "at", p.at)
		}
	}
	var errs []error
	for _, p := range order {
		if s.proxies[p] == nil {
			errs = append(errs, g.openProxy(p))
		}
	}
	return errors.Join(errs...)
}

func (g *gateway) openProxy(p proxyPlace) error {
	s := &g.streams
	server, err := g.proxyServer(p.exit)
	if err != nil {
		return err
	}
	l, err := g.host.listenTCP(s.root, p.at)
	if err != nil {
		return fmt.Errorf("%v: %w", p.protocol, err)
	}
	ctx, end := context.WithCancel(s.root)
	s.proxies[p] = end
	s.clients.Go(func() { // joined by closeStreams
		if err := server.Serve(ctx, l, p.protocol); err != nil {
			g.log.Warn("a proxy has ended", "protocol", p.protocol, "at", p.at, "error", err)
		}
	})
	g.log.Info("proxy", "protocol", p.protocol, "at", p.at)
	return nil
}

// proxyServer is what serves the proxies of an exit, or, with a zero key, those of the exit in use.
func (g *gateway) proxyServer(exit control.PublicKey) (*proxy.Server, error) {
	s := &g.streams
	if server := s.servers[exit]; server != nil {
		return server, nil
	}
	// A client's datagrams leave by sockets of this machine, into the TUN device like everything else, or into the exit's own.
	var options dial.Options
	i := slices.IndexFunc(g.ways, func(w *wayOut) bool { return w.key == exit })
	if i >= 0 && g.ways[i].tun() != nil {
		options.Control = uplink.ExitTUN{Number: i + 1, TUN: g.ways[i].tun().Name()}.Control
	}
	datagrams, err := dial.New(options)
	if err != nil {
		return nil, err
	}
	var dialer proxy.Dialer = &gatewayDialer{g, datagrams}
	if i >= 0 {
		dialer = exitDialer{g.ways[i], datagrams}
	}
	server, err := proxy.NewServer(proxy.Config{Dialer: dialer})
	if err == nil {
		s.servers[exit] = server
	}
	return server, err
}
