package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// check is one property of one direction of an emulated line.
type check struct {
	what, unit       string
	asked, got, slop float64
}

func (c check) ok() bool { return math.Abs(c.got-c.asked) <= c.slop }

// lineCheck is everything about one direction.
type lineCheck struct {
	uplink, direction string
	checks            []check
	err               error
}

// selfcheck compares what the emulator was asked for with what real packets
// meet on it: rate, delay and loss of every uplink of a set, both ways, without
// bondd. It returns the lines of its table and whether all is as asked.
func selfcheck(ctx context.Context, set Set, seed uint64, quick bool) ([]lineCheck, error) {
	cfg := lab.Config{Seed: seed}
	for _, u := range set.Uplinks {
		cfg.Uplinks = append(cfg.Uplinks, lab.Uplink(u))
	}
	l, err := lab.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	lines := make([]lineCheck, 2*len(set.Uplinks))
	var wg sync.WaitGroup
	for i, u := range set.Uplinks {
		wg.Go(func() {
			for d, direction := range []string{"down", "up"} {
				line := lineCheck{uplink: u.Name, direction: direction}
				line.err = line.measure(ctx, l, i, u, quick)
				lines[2*i+d] = line
			}
		})
	}
	wg.Wait()
	late, err := l.Lateness(ctx)
	if err != nil {
		return lines, err
	}
	// A line that is late adds delay; half a millisecond is far below what any
	// set asks for.
	lines = append(lines, lineCheck{uplink: "all", direction: "both", checks: []check{
		{fmt.Sprintf("late p50 of %d", late.Packets), "ms", 0, millis(late.P50), 0.2},
		{"late p99", "ms", 0, millis(late.P99), 1},
	}})
	return lines, nil
}

// measure fills in one direction of one line.
func (c *lineCheck) measure(ctx context.Context, l *lab.Lab, i int, u Uplink, quick bool) error {
	lossTime, rateTime, scale := 6*time.Second, 3*time.Second, 1.0
	if quick {
		lossTime, rateTime, scale = 2*time.Second, time.Second, 2.0
	}
	up := c.direction == "up"
	source := lab.Plain(i)
	mbps := u.Link.Rate / 1e6
	const small = 200 // bytes

	// Small packets well below the rate, at most 4000 a second: delay and loss.
	light, err := l.UDP(ctx, lab.UDPSpec{Source: source, Up: up, Size: small,
		Mbps: math.Min(mbps/3, 4000*small*8/1e6), Duration: lossTime, Linger: time.Second})
	if err != nil {
		return err
	}
	loss := u.Link.Loss
	sigma := math.Sqrt(loss * (1 - loss) / float64(max(1, light.Sent)))
	serialise := small * 8 / u.Link.Rate * 1e3 // ms
	delay := float64(u.Link.Delay)/1e6 + serialise
	jitter := float64(u.Link.Jitter) / 1e6
	c.checks = append(c.checks,
		check{"least delay", "ms", delay, millis(lab.Quantile(light.Delays, 0)), 0.5 + jitter/10*scale},
		check{"median", "ms", delay + jitter/2, millis(lab.Quantile(light.Delays, 0.5)), 0.5 + jitter/8*scale},
		check{"loss", "%", loss * 100, round(light.Loss()*100, 3), (4*sigma + 0.0005) * 100},
	)

	// Full packets, half as much again as fits: the rate, when the queue has
	// filled.
	fill := min(u.Link.Queue*2, 2*time.Second)
	full, err := l.UDP(ctx, lab.UDPSpec{Source: source, Up: up, Size: 1500, Mbps: mbps * 1.5, Duration: fill + rateTime,
		Linger: u.Link.Queue + 500*time.Millisecond})
	if err != nil {
		return err
	}
	settled := fill/2 + u.Link.Delay + u.Link.Jitter + 50*time.Millisecond
	c.checks = append(c.checks, check{"rate", "Mb/s", mbps * (1 - loss), round(full.Arrived.Mbps(settled, fill+rateTime), 2), mbps * 0.02 * scale})
	return nil
}

// writeChecks prints the comparison, and returns whether all is as asked.
func writeChecks(w io.Writer, set Set, lines []lineCheck) bool {
	ok := true
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		cells := []string{set.Name, line.uplink, line.direction}
		for _, c := range line.checks {
			mark := ""
			if !c.ok() {
				mark, ok = " OFF", false
			}
			cells = append(cells, fmt.Sprintf("%s %.4g for %.4g %s%s", c.what, c.got, c.asked, c.unit, mark))
		}
		if line.err != nil {
			cells, ok = append(cells, "ERROR: "+line.err.Error()), false
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	tw.Flush()
	return ok
}

var errOff = errors.New("the emulator is not as it was asked to be; is the machine busy?")
