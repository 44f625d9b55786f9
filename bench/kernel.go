package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bondd/bondd/bench/lab"
)

// services are what --service of the lab knows.
var services = []string{"packet", "stream", "mptcp", "auto", "kernel"}

// without notes where MPTCP is not to be had: what a flag says.
func (p *plan) without(flag, text string) error {
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		if flag == "no-mptcp" {
			if word != "gateway" && word != "exit" {
				return fmt.Errorf("--%s has %q; it is gateway, exit, or both", flag, word)
			}
			p.noMPTCP = append(p.noMPTCP, word)
			continue
		}
		i, err := strconv.Atoi(word)
		if err != nil || i < 0 {
			return fmt.Errorf("--%s has %q; it is the number of an uplink, from 0", flag, word)
		}
		p.strip = append(p.strip, i)
	}
	return nil
}

// kernel measures transfers by the kernel's MPTCP alone, from the LAN host, which has an address for each uplink, to the server.
func (b *bench) kernel(ctx context.Context) error {
	if err := b.lab.Multipath(ctx); err != nil {
		return err
	}
	for i := range b.results {
		r := &b.results[i]
		res, err := b.lab.TCP(ctx, lab.TCPSpec{Source: lab.Plain(0), Multipath: true, Up: r.Direction == "up", Flows: b.flows, Duration: b.settle + b.duration})
		if err == nil {
			err = res.Err()
		}
		if err != nil {
			return err
		}
		r.Bond = number(res.Mbps(b.settle, b.settle+b.duration), 2)
		r.Profile = slots(res.Series)
		b.say("%s, kernel MPTCP without bondd: %.1f Mb/s, %.0f %% of the limit of %.1f", r.Direction, *r.Bond, *r.Bond/r.Limit*100, r.Limit)
	}
	return nil
}
