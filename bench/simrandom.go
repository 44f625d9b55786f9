package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// Ranges of random links: what homes have, from a bad mobile cell to fibre, and
// geostationary satellites.
const (
	randomRateMin, randomRateMax   = 1e6, 200e6 // bit/s
	randomDelayMin, randomDelayMax = 2e-3, 0.3  // s, one way
	randomQueueMin, randomQueueMax = 20e-3, 2.0 // s
	randomLossMax                  = 0.02
	randomJitterMax                = 20e-3 // s
	// randomFar: above this one-way delay a set settles like one with a
	// satellite.
	randomFar = 100 * time.Millisecond
	// worstListed is how many of the random sets are shown.
	worstListed = 10
	// What no set may be below, as a share of the best link alone (DESIGN section 9).
	floorPacket, floorStream = 0.95, 0.98
)

// randomSet draws the i-th random set of a seed: two or three links. Rates,
// delays and queues are drawn by their logarithm.
func randomSet(seed uint64, i int) Set {
	rng := rand.New(rand.NewPCG(seed, uint64(i)))
	log := func(lo, hi float64) float64 { return lo * math.Exp(rng.Float64()*math.Log(hi/lo)) }
	secs := func(s float64) time.Duration { return time.Duration(s * 1e9).Round(100 * time.Microsecond) }
	s := Set{Name: fmt.Sprintf("r%d", i)}
	var titles []string
	for k := range 2 + rng.IntN(2) {
		u := Uplink{Name: fmt.Sprintf("line%d", k), Link: link.Config{
			Rate:   math.Round(log(randomRateMin, randomRateMax)/1e5) * 1e5,
			Delay:  secs(log(randomDelayMin, randomDelayMax)),
			Jitter: secs(rng.Float64() * randomJitterMax),
			Loss:   math.Round(rng.Float64()*randomLossMax*1e4) / 1e4,
			Queue:  secs(log(randomQueueMin, randomQueueMax)),
		}}
		if u.Link.Delay > randomFar {
			s.Settle = geoSettle
		}
		s.Uplinks = append(s.Uplinks, u)
		titles = append(titles, u.describe())
	}
	s.Title = strings.Join(titles, " | ")
	return s
}

// simSets resolves a list of names as FindSets does; beside them r7 is the random set number 7 of the seed, which --random has listed.
func simSets(list string, seed uint64) ([]Set, error) {
	var out []Set
	for name := range strings.SplitSeq(list, ",") {
		if i, err := strconv.Atoi(strings.TrimPrefix(name, "r")); err == nil && strings.HasPrefix(name, "r") && i >= 0 {
			s := randomSet(seed, i)
			out = append(out, s)
			continue
		}
		s, err := FindSets(name)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	return out, nil
}

// random measures n random sets, on all processors, and lists the worst against
// the best single link.
func (p *simPlan) random(ctx context.Context, n int, args []string, c choice, stdout, stderr io.Writer) int {
	d := p.directions[0]
	results := make([]Result, n)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		done int
	)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n || ctx.Err() != nil {
					return
				}
				results[i] = p.measure(ctx, randomSet(p.seed, i), d)
				mu.Lock()
				done++
				if done%10 == 0 || done == n {
					fmt.Fprintf(p.progress, "%d of %d random sets\n", done, n)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if c.asJSON || ctx.Err() != nil {
		return p.print(ctx, args, results, c.output(Report.WriteTable), stdout, stderr)
	}
	// An error is the worst of all; then the least share of the best link.
	slices.SortStableFunc(results, func(a, b Result) int {
		x, y := ofBest(a), ofBest(b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	below, floor := 0, floorPacket
	if p.service == "stream" {
		floor = floorStream
	}
	for _, r := range results {
		if ofBest(r) < floor {
			below++
		}
	}
	code := p.print(ctx, args, results[:min(n, worstListed)], Report.WriteTable, stdout, stderr)
	fmt.Fprintf(stdout, "%d random sets, %d of them below %.2f of the best link alone; the worst %d are shown:\n", n, below, floor, min(n, worstListed))
	for _, r := range results[:min(n, worstListed)] {
		var i int
		if _, err := fmt.Sscanf(r.Set, "r%d", &i); err == nil {
			fmt.Fprintf(stdout, "  %s: %s\n", r.Set, randomSet(p.seed, i).Title)
		}
	}
	return code
}

// ofBest is the bond's share of the best uplink alone; -1 where it failed.
func ofBest(r Result) float64 {
	if r.Error != "" || r.Bond == nil || r.Best == nil || *r.Best <= 0 {
		return -1
	}
	return *r.Bond / *r.Best
}
