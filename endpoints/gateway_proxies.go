package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/proxy"
)

// proxyPlace is where a proxy is served.
type proxyPlace struct {
	protocol proxy.Protocol
	at       netip.AddrPort
}

// setProxies makes the proxies those of the configuration: what is no more in it ends with its clients, and what stays is not touched.
func (g *gateway) setProxies(c *config.Stream) error {
	s := &g.streams
	want := make(map[proxyPlace]bool)
	var order []proxyPlace
	for _, at := range c.SOCKS {
		order = append(order, proxyPlace{proxy.SOCKS5, at})
	}
	for _, at := range c.HTTP {
		order = append(order, proxyPlace{proxy.HTTPConnect, at})
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
	if s.server == nil {
		// A client's datagrams leave by sockets of this machine, into the TUN device like everything else.
		datagrams, err := dial.New(dial.Options{})
		if err != nil {
			return err
		}
		if s.server, err = proxy.NewServer(proxy.Config{Dialer: &gatewayDialer{g, datagrams}}); err != nil {
			return err
		}
		s.proxies = make(map[proxyPlace]context.CancelFunc)
	}
	l, err := g.host.listenTCP(s.root, p.at)
	if err != nil {
		return fmt.Errorf("%v: %w", p.protocol, err)
	}
	ctx, end := context.WithCancel(s.root)
	s.proxies[p] = end
	server := s.server
	s.clients.Go(func() { // joined by closeStreams
		if err := server.Serve(ctx, l, p.protocol); err != nil {
			g.log.Warn("a proxy has ended", "protocol", p.protocol, "at", p.at, "error", err)
		}
	})
	g.log.Info("proxy", "protocol", p.protocol, "at", p.at)
	return nil
}
