package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/tunnel"
)

var topCommand = &command{
	name:  "top",
	short: "watch the paths of a running bondd, live",
	long: `Shows what every path carries in both directions, once a second, until it is
told to stop (Ctrl-C): the rate, a bar of it against the busiest path, and the
last twenty looks, each as one sign of " .:-=+*#%@". It writes plain signs and
escape sequences that every terminal has, so it works over ssh and on a console.
With --once it looks for one interval, prints, and ends.`,
	run: func(ctx context.Context, c *invocation) int {
		socket, once, interval := config.DefaultControl, false, time.Second
		if code, ok := c.parse(0, func(fs *flag.FlagSet) {
			fs.StringVar(&socket, "s", socket, "ask the control socket at `PATH`")
			fs.BoolVar(&once, "once", false, "print once and end")
			fs.DurationVar(&interval, "i", interval, "look every `TIME`")
		}); !ok {
			return code
		}
		if interval < minInterval {
			return c.usage("-i %v is too short; give at least %v", interval, minInterval)
		}
		if err := top(ctx, c.out, socket, interval, once); err != nil {
			return c.fail(err)
		}
		return exitOK
	},
}

// minInterval keeps a look from costing the daemon more than a per mille of its time.
const minInterval = 100 * time.Millisecond

// What top writes to a terminal: another screen without a cursor, on which lines that are too long are cut; and back.
const (
	screenOn   = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	screenOff  = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	screenHome = "\x1b[H"
	lineEnd    = "\x1b[K" // what is left of an older line goes
	screenRest = "\x1b[J"
)

func top(ctx context.Context, w io.Writer, socket string, interval time.Duration, once bool) error {
	last, err := endpoints.ReadStatus(ctx, socket)
	if err != nil {
		return err
	}
	h := history{}
	if !once {
		fmt.Fprint(w, screenOn)
		defer fmt.Fprint(w, screenOff)
	}
	for {
		if !sleep(ctx, interval) {
			return nil
		}
		st, err := endpoints.ReadStatus(ctx, socket)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && once:
			return err
		case err != nil: // it may be starting again: the screen says so until it is back
			fmt.Fprint(w, screenHome+err.Error()+lineEnd+"\r\n"+screenRest)
			continue
		}
		st.Measure(last)
		last = st
		var screen bytes.Buffer
		drawTop(&screen, st, h)
		if once {
			_, err := screen.WriteTo(w)
			return err
		}
		text := strings.ReplaceAll(screen.String(), "\n", lineEnd+"\r\n")
		if _, err := io.WriteString(w, screenHome+text+screenRest); err != nil {
			return err
		}
	}
}

const (
	looks    = 20 // that are remembered
	barWidth = 20
	ramp     = " .:-=+*#%@"
)

// history has the rates of each path, the oldest first: out and in.
type history map[string]*[2][]float64

// add remembers a rate in one direction and returns what is remembered.
func (h history) add(path string, direction int, rate float64) []float64 {
	t := h[path]
	if t == nil {
		t = new([2][]float64)
		h[path] = t
	}
	list := append(t[direction], rate)
	t[direction] = list[max(0, len(list)-looks):]
	return t[direction]
}

// drawTop writes one look.
func drawTop(w io.Writer, st *endpoints.Status, h history) {
	state := st.State
	if st.Reason != "" {
		state += ": " + st.Reason
	}
	fmt.Fprintf(w, "bondd %s, %s", st.Role, state)
	if st.Streams != nil {
		fmt.Fprintf(w, "; %d streams", st.Streams.Open)
	}
	fmt.Fprintln(w)
	for i := range st.Sessions {
		s := &st.Sessions[i]
		if s.Stats == nil || s.Pending {
			continue
		}
		drawSession(w, s, h)
	}
	if len(st.Sessions) == 0 {
		fmt.Fprintln(w, "\nno session")
	}
	for i, text := range st.Problems {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, text)
	}
}

func drawSession(w io.Writer, s *endpoints.SessionStatus, h history) {
	var out, in, most float64
	for _, t := range s.Traffic {
		out, in, most = out+t.Out, in+t.In, max(most, t.Out, t.In)
	}
	fmt.Fprintf(w, "\n%-16s out %s, in %s, waiting %s\n", s.Peer, megabits(out), megabits(in), bytesOf(uint64(s.Stats.Backlog)))
	fmt.Fprintf(w, "%-16s %-10s %9s %9s %7s  %-42s  %s\n", "PATH", "STATE", "RTT", "ADDED", "LOSS", "OUT", "IN")
	for _, p := range s.Stats.Paths {
		if p.State == "closed" {
			continue
		}
		t, key := s.Of(p.ID), fmt.Sprintf("%s/%d/%d", s.Peer, s.Index, p.ID)
		fmt.Fprintf(w, "%-16s %-10s %9s %9s %6.2f%%  %s  %s\n", s.PathName(tunnel.PathID(p.ID)), p.State, millis(p.RTT), millis(p.Queue), 100*t.Loss,
			gauge(t.Out, most, h.add(key, 0, t.Out)), gauge(t.In, most, h.add(key, 1, t.In)))
	}
}

// gauge draws a rate: a number, a bar against the most, and the looks before, each against the most of them.
func gauge(rate, most float64, before []float64) string {
	full := 0
	if most > 0 {
		full = int(rate/most*barWidth/2 + 0.5)
	}
	peak := 0.0
	for _, r := range before {
		peak = max(peak, r)
	}
	signs := make([]byte, 0, looks)
	for _, r := range before {
		i := 0
		if peak > 0 {
			i = int(r / peak * float64(len(ramp)-1))
		}
		signs = append(signs, ramp[i])
	}
	return fmt.Sprintf("%11s %-*s%*s", megabits(rate), barWidth/2, strings.Repeat("=", full), looks, signs)
}
