package bench

import (
	"context"
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
	onlyTCP    bool   // there is no way for UDP
	survives   bool   // the loss of an uplink; others are spared the transfers in which that happens
	plain      bool   // it is nothing: what is sent goes over the uplink that was the best alone
	multipath  bool   // it is the kernel's MPTCP of the LAN's own host
	ours       bool   // bondd: its memory can be asked for
	congestion string // of the measured TCP; "" is lab.DefaultCongestion
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
	return carrier{
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
}

func stopBond(ctx context.Context, l *lab.Lab) error { return l.StopBond(ctx) }

func bondTime(ctx context.Context, l *lab.Lab) (time.Duration, error) { return l.ProcessorTime(ctx) }
