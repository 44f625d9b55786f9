package bench

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// without notes where MPTCP is not to be had: what a flag says.
func (p *plan) without(flag, text string) error {
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		if flag == "no-mptcp" {
			if word != "gateway" && word != "exit" {
				return wrongUsage("--%s has %q; it is gateway, exit, or both", flag, word)
			}
			p.noMPTCP = append(p.noMPTCP, word)
			continue
		}
		i, err := strconv.Atoi(word)
		if err != nil || i < 0 {
			return wrongUsage("--%s has %q; it is the number of an uplink, from 0", flag, word)
		}
		p.strip = append(p.strip, i)
	}
	return nil
}

// startKernel gives the LAN host an MPTCP endpoint on each uplink; they go with their namespace.
func startKernel(ctx context.Context, l *lab.Lab) error { return l.Multipath(ctx) }

// noTime: what the kernel does for its own connections is nobody's processor time.
func noTime(context.Context, *lab.Lab) (time.Duration, error) { return 0, nil }
