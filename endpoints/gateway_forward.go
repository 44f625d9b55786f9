package endpoints

import (
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/tunnel"
)

// forwardTo is what a gateway needs for the streams that its exit opens. It is not changed once it is made.
type forwardTo struct {
	list   []config.Forward
	dialer targetDialer // reaches the hosts of the list; nil if there are none
}

// makeForwardTo reads who is reached from the list of the gateway, which is all the consent there is: the exit says a port, never an address.
func (g *gateway) makeForwardTo(list []config.Forward) error {
	to := &forwardTo{}
	var hosts []netip.Prefix
	for _, f := range list {
		if f.AsStream {
			to.list = append(to.list, f)
			hosts = append(hosts, netip.PrefixFrom(f.To, f.To.BitLen()))
		}
	}
	var err error
	if len(hosts) > 0 {
		to.dialer, err = g.host.newDialer(dial.Options{Allow: hosts})
	}
	g.forwards.Store(to)
	return err
}

// where is the host for a port of the exit.
func (to *forwardTo) where(port uint16) (dial.Target, bool) {
	for _, f := range to.list {
		if f.Has(port) {
			if f.Port != 0 {
				port = f.Port
			}
			return dial.Target{Addr: f.To, Port: port}, true
		}
	}
	return dial.Target{}, false
}

// streamOpened connects a stream of the exit's to the host of the LAN to which its port leads; one that leads nowhere is forbidden. It runs on the
// engine's goroutine.
func (w *wayOut) streamOpened(e *engine, now time.Duration, id tunnel.StreamID, target []byte) {
	var d targetDialer
	var t dial.Target
	if port, err := parsePort(target); err == nil {
		if to := w.g.forwards.Load(); to != nil {
			if host, ok := to.where(port); ok {
				d, t = to.dialer, host
			} else {
				w.g.log.Debug("the exit forwards a port that no [[forward]] with keep_source = false has", "port", port)
			}
		}
	}
	e.dialFor(now, id, &w.g.flows, d, t)
}
