package bench

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// carrier is what carries the traffic of the LAN over the uplinks of a lab: bondd,
// or a peer.
type carrier struct {
	start func(context.Context, *lab.Lab) error
	stop  func(context.Context, *lab.Lab) error
	// usage is the processor time it has used so far.
	usage func(context.Context, *lab.Lab) (time.Duration, error)
	// note is what a reader has to know of its figures; may be nil.
	note       func(context.Context, *lab.Lab) (string, error)
	warm       time.Duration // that its start takes, beyond startTime
	onlyTCP    bool          // there is no way for UDP
	survives   bool          // the loss of an uplink; others are spared the transfers in which that happens
	plain      bool          // it is nothing: what is sent goes over the uplink that was the best alone
	multipath  bool          // it is the kernel's MPTCP of the LAN's own host
	ours       bool          // bondd: its memory can be asked for
	congestion string        // of the measured TCP; "" is lab.DefaultCongestion
}

// streamsTimeout: the interception is there before the first echo, or not at all.
const streamsTimeout = 2 * time.Second

// carrierOf is the carrier behind a service.
func carrierOf(service string) carrier {
	for _, p := range peers {
		if p.name == service {
			return p.carrier
		}
	}
	c := carrier{
		start: func(ctx context.Context, l *lab.Lab) error {
			if err := l.StartBond(ctx); err != nil || service == "packet" {
				return err
			}
			return l.WaitStreams(ctx, streamsTimeout)
		},
		stop:     stopBond,
		usage:    bondTime,
		survives: true,
		ours:     true,
	}
	if service == "auto" {
		plain := c.start
		c.start = func(ctx context.Context, l *lab.Lab) error {
			if err := plain(ctx, l); err != nil {
				return err
			}
			return untilChosen(ctx, l)
		}
		c.warm, c.note = choiceTime, choiceNote
	}
	return c
}

// The gateway chooses between streams and the kernel's MPTCP by what it has seen of its paths, which takes traffic and some seconds: what is measured
// is what it has settled on, not the way there.
const (
	choiceTime  = 10 * time.Second
	choiceRound = 2 * time.Second
)

// untilChosen downloads until the gateway has chosen MPTCP, or for so long that it would have.
func untilChosen(ctx context.Context, l *lab.Lab) error {
	for range choiceTime / choiceRound {
		if _, err := l.TCP(ctx, lab.TCPSpec{Source: lab.LAN4, Flows: 1, Duration: choiceRound}); err != nil {
			return err
		}
		st, err := l.Status(ctx, l.Gateway)
		if err != nil {
			return err
		}
		if st.Carriers != nil && st.Carriers.InUse == "mptcp" {
			return nil
		}
	}
	return nil
}

// choiceNote says what the gateway has chosen.
func choiceNote(ctx context.Context, l *lab.Lab) (string, error) {
	st, err := l.Status(ctx, l.Gateway)
	if err != nil || st.Carriers == nil {
		return "", err
	}
	return fmt.Sprintf("auto chose %s: %s", st.Carriers.InUse, st.Carriers.Why), nil
}

func stopBond(ctx context.Context, l *lab.Lab) error { return l.StopBond(ctx) }

func bondTime(ctx context.Context, l *lab.Lab) (time.Duration, error) { return l.ProcessorTime(ctx) }

// tcp is a transfer from the LAN.
func (b *bench) tcp(r *Result, d time.Duration) lab.TCPSpec {
	return lab.TCPSpec{Source: b.source(), Up: r.Direction == "up", Flows: r.Flows, Duration: d, Multipath: b.carrier.multipath, Congestion: b.carrier.congestion}
}

// source is where the LAN host sends from: the address of the LAN; for the kernel's MPTCP alone the one it has on the first uplink, and for
// nothing at all the one on the uplink that was the best alone.
func (b *bench) source() netip.Addr {
	switch {
	case b.carrier.multipath:
		return lab.Plain(0)
	case b.carrier.plain:
		best := 0
		for i, u := range b.results[0].Uplinks {
			if u.Alone > b.results[0].Uplinks[best].Alone {
				best = i
			}
		}
		return lab.Plain(best)
	}
	return lab.LAN4
}
