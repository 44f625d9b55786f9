package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
)

// remotesFresh is how long a looked-up name is used before it is looked up again. It is asked only when a hello is due, so
// this is not about load but about the time of the hello.
const remotesFresh = 30 * time.Second

// remotes are the addresses of the exit. It is a value: lookup makes a new one.
type remotes struct {
	names []config.Address
	known [][]netip.Addr   // by name, what the last look-up that succeeded gave
	list  []netip.AddrPort // all of them, each once
	err   error            // of the last look-up, if some name gave nothing
	at    time.Duration    // of the last look-up
	asked bool
}

func newRemotes(names []config.Address) remotes {
	return remotes{names: names, known: make([][]netip.Addr, len(names))}
}

// lookup returns the remotes with every name looked up that is not an address, unless all was well a moment ago. A name that cannot
// be looked up now keeps the addresses it had.
func (r remotes) lookup(ctx context.Context, now time.Duration, h *host, from []uplink.Uplink) remotes {
	if r.asked && r.err == nil && now-r.at < remotesFresh {
		return r
	}
	n := remotes{names: r.names, known: slices.Clone(r.known), at: now, asked: true}
	var errs []error
	for i, name := range n.names {
		if ip, ok := name.Addr(); ok {
			n.known[i] = []netip.Addr{ip.Unmap()}
		} else if addrs, err := h.resolve(ctx, from, name.Host); err != nil {
			errs = append(errs, fmt.Errorf("look up %s: %w", name.Host, err))
		} else {
			n.known[i] = addrs
		}
		for _, ip := range n.known[i] {
			if to := netip.AddrPortFrom(ip, name.Port); !slices.Contains(n.list, to) {
				n.list = append(n.list, to)
			}
		}
	}
	n.err = errors.Join(errs...)
	return n
}
