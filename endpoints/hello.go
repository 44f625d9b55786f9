package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel/control"
)

const (
	// helloStagger is the head start of each attempt before the next one (RFC 8305 §5).
	helloStagger = 250 * time.Millisecond
	// helloTime bounds one attempt: connect, TLS and hello are three round trips, 1.8 s over a satellite, and a lost
	// SYN costs 1 s and then 2 s more (RFC 6298).
	helloTime = 6 * time.Second
	// The pause between rounds grows from the first to the last while no hello succeeds.
	helloPauseFirst = 250 * time.Millisecond
	helloPauseLast  = 2 * time.Second
)

// attempt is one way to reach the exit.
type attempt struct {
	from uplink.Uplink
	to   netip.AddrPort
}

func (a attempt) String() string { return a.from.Name + " to " + a.to.String() }

// attempts lists all ways that are usable now: the first remote by every uplink, then the second, so that neither a dead
// remote nor a dead uplink keeps the others waiting for long.
func attempts(snap uplink.Snapshot, remotes []netip.AddrPort) []attempt {
	var as []attempt
	for _, r := range remotes {
		for _, u := range snap.Uplinks {
			if usable(u, r.Addr()) {
				as = append(as, attempt{u, r})
			}
		}
	}
	return as
}

// prefer puts the way that served last, if there is one, to the front.
func prefer(as []attempt, way *attempt) {
	if way == nil {
		return
	}
	i := slices.IndexFunc(as, func(a attempt) bool { return a.from.Name == way.from.Name && a.to == way.to })
	if i > 0 {
		first := as[i]
		copy(as[1:], as[:i])
		as[0] = first
	}
}

// greeter says hello to the exit.
type greeter struct {
	dial  func(ctx context.Context, from uplink.Uplink, to netip.AddrPort) (net.Conn, error)
	own   control.PrivateKey
	exit  control.PublicKey
	offer func() control.Offer // a new one, with its own session index, for each attempt
}

// greeting is a hello that succeeded.
type greeting struct {
	attempt
	*control.Result
}

// round tries all ways, happy-eyeballs fashion: one after the other with a head start, the next one at once when one has failed, and
// the first complete hello wins. It has joined all its goroutines when it returns. The error has a sentence for every way that failed.
func (g *greeter) round(ctx context.Context, as []attempt) (*greeting, error) {
	if len(as) == 0 {
		return nil, errors.New("no uplink is usable: none is up with an address of the exit's family and a route")
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // the losers end at once

	type outcome struct {
		won *greeting
		err error
	}
	outcomes := make(chan outcome, len(as))
	next := time.NewTimer(0)
	defer next.Stop()
	var errs []error
	started := 0
	for {
		select {
		case <-next.C:
			if started < len(as) {
				a := as[started]
				started++
				wg.Go(func() { // joined by this call
					r, err := g.hello(ctx, a)
					if err != nil {
						outcomes <- outcome{err: fmt.Errorf("%v: %w", a, err)}
						return
					}
					outcomes <- outcome{won: &greeting{a, r}}
				})
				next.Reset(helloStagger)
			}
		case o := <-outcomes:
			if o.err == nil {
				return o.won, nil
			}
			errs = append(errs, o.err)
			if len(errs) == len(as) {
				return nil, errors.Join(errs...)
			}
			next.Reset(0)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// hello is one attempt.
func (g *greeter) hello(ctx context.Context, a attempt) (*control.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	conn, err := g.dial(ctx, a.from, a.to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r, err := control.Client(ctx, conn, g.own, g.exit, g.offer())
	if err != nil {
		return nil, err
	}
	if len(r.Answer.Addresses) == 0 {
		return nil, errors.New("the exit gives this gateway no inner address; check its entry in the configuration of the exit")
	}
	return r, nil
}
