package cc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// contest is one of our senders against a neighbour on a 10 Mb/s link for a
// minute, then alone.
type contest struct {
	kind   string // of the neighbour
	queue  time.Duration
	delay  time.Duration
	second bool // we come 3 s after the neighbour, else before
}

func (c contest) String() string {
	order := "first"
	if c.second {
		order = "second"
	}
	return fmt.Sprintf("%s, queue %v, %v, we come %s", c.kind, c.queue, 2*c.delay, order)
}

func contests() (all []contest) {
	for _, second := range []bool{false, true} {
		for _, d := range []time.Duration{5 * ms, 12 * ms, 25 * ms} {
			all = append(all, contest{"cubic", 100 * ms, d, second}, contest{"cubic", time.Second, d, second}, contest{"bbr1", 100 * ms, d, second})
		}
		all = append(all, contest{"bbr1", time.Second, 25 * ms, second})
	}
	return all
}

type outcome struct {
	tens  []float64 // our share of each ten seconds
	whole float64   // of the whole minute
	late  float64   // of its last 40 s
	use   float64   // of the link
	queue time.Duration
	p99   time.Duration // of the queue, when the neighbour has been gone for 15 s
	reuse float64
}

func (c contest) play(seed uint64, trace bool) (o outcome) {
	n := newSimNet(link.Config{Rate: 10e6, Delay: c.delay, Queue: c.queue}, link.Config{Delay: c.delay}, seed)
	ours := New(Config{MSS: packetSize}, rand.New(rand.NewPCG(seed, 3)))
	var other controller = newCubic()
	if c.kind == "bbr1" {
		other = newBBR1()
	}
	starts := [2]time.Duration{0, 3 * time.Second}
	if c.second {
		starts = [2]time.Duration{3 * time.Second, 0}
	}
	f, g := n.add(ours, starts[0]), n.add(other, starts[1])
	var last [2]uint64
	n.each = func(now time.Duration) {
		if trace {
			fmt.Printf("%6.1f %-9s rate %6.2f got %6.2f/%6.2f window %6.1fK in flight %6.1fK queue %5.1f stand %5.1f rtt %4.0f+%3.0f low %4.1f %s\n",
				now.Seconds(), ours.State(), ours.Rate()*8/1e6, float64(f.gotBytes-last[0])*80/1e6, float64(g.gotBytes-last[1])*80/1e6,
				float64(ours.Window())/1e3, float64(f.inflight)/1e3, inMs(n.fwd.QueueDelay(now)), inMs(ours.stand), inMs(ours.base), inMs(ours.noise), inMs(ours.low()), ours.debug())
			last = [2]uint64{f.gotBytes, g.gotBytes}
		}
		if now == 63*time.Second {
			g.app = func(time.Duration) (int, time.Duration) { return 0, never }
			n.from, n.queue = 78*time.Second, nil
		}
	}
	n.run(88100 * ms)
	share := func(from, to time.Duration) float64 {
		a, b := f.rate(from, to), g.rate(from, to)
		return a / (a + b)
	}
	for s := 3 * time.Second; s < 63*time.Second; s += 10 * time.Second {
		o.tens = append(o.tens, share(s, s+10*time.Second))
	}
	o.whole, o.late = share(3*time.Second, 63*time.Second), share(23*time.Second, 63*time.Second)
	o.use = (f.rate(3*time.Second, 63*time.Second) + g.rate(3*time.Second, 63*time.Second)) / 10e6
	o.queue, o.p99 = mean(n.queue), quantile(n.queue, .99)
	o.reuse = f.rate(78*time.Second, 88*time.Second) / 10e6
	return o
}

func inMs(d time.Duration) float64 { return d.Seconds() * 1e3 }

// A fair neighbour: between 30 and 70 % against one flow of CUBIC or BBR, and
// back to a short queue when it has gone.
func TestFairNeighbour(t *testing.T) {
	only := os.Getenv("CC_CONTEST") // a row's name: print its trace
	for _, c := range contests() {
		if only != "" && only != c.String() {
			continue
		}
		o := c.play(1, only != "")
		tens := ""
		for _, s := range o.tens {
			tens += fmt.Sprintf(" %2.0f", 100*s)
		}
		t.Logf("%-44s %% per 10 s:%s  whole %2.0f  last 40 s %2.0f  use %3.0f | alone: use %3.0f queue %v, p99 %v", c, tens, 100*o.whole, 100*o.late, 100*o.use, 100*o.reuse, o.queue.Round(ms/10), o.p99.Round(ms))
		if o.late < 0.30 || o.late > 0.70 {
			t.Errorf("%v: share %.2f of the last 40 s", c, o.late)
		}
		if o.whole < 0.30 || o.whole > 0.70 {
			t.Errorf("%v: share %.2f of the minute", c, o.whole)
		}
		if o.use < 0.95 || o.reuse < 0.95 {
			t.Errorf("%v: the link is used to %.2f, and to %.2f afterwards", c, o.use, o.reuse)
		}
		if o.queue > 25*ms {
			t.Errorf("%v: a queue of %v is left when the neighbour has gone", c, o.queue)
		}
	}
}

// Where the link's rate is known and ours is a small part of it, the window is lifted, not cut to find out what is known. Else it is held for the probe.
func TestSmallShareIsNotProbed(t *testing.T) {
	for _, c := range []struct {
		share float64
		phase int
		lift  bool
	}{{.1, elasticIdle, true}, {.4, elasticIdle, true}, {.6, elasticHold, false}} {
		ours := New(Config{MSS: packetSize}, rand.New(rand.NewPCG(1, 3)))
		r := &ours.rival
		ours.base = 24 * ms
		r.level, r.peak, r.cubic.window = greedy, 1.25e6, 100_000
		for i := range r.laps.past {
			r.laps.past[i] = lap{rate: c.share * r.peak, queue: 500 * ms, trip: 524 * ms, inflight: 100_000}
		}
		ours.onGreedy(10*time.Second, Ack{Delivered: packetSize, Inflight: 100_000 - packetSize}, true)
		if r.elastic.phase != c.phase || r.cubic.window > 105_000 != c.lift {
			t.Errorf("share %.1f: probe in phase %d, window %.0f", c.share, r.elastic.phase, r.cubic.window)
		}
	}
}

// What waits for a path in the contest may wait for nearly twice the neighbour's queue, when the controller has found its share.
func TestCrowd(t *testing.T) {
	ours := New(Config{MSS: packetSize}, rand.New(rand.NewPCG(1, 3)))
	r := &ours.rival
	r.laps.past[0].queue = 600 * ms
	if c := ours.Crowd(); c != 0 {
		t.Errorf("polite: %v", c)
	}
	r.level = greedy
	if c := ours.Crowd(); c != 1100*ms {
		t.Errorf("greedy: %v", c)
	}
	if r.laps.past[0].queue = 80 * ms; ours.Crowd() != 80*ms {
		t.Errorf("greedy in a short queue: %v", ours.Crowd())
	}
	r.laps.past[0].queue = 600 * ms
	if r.cubic.slow = true; ours.Crowd() != 600*ms+squeezeTime {
		t.Errorf("greedy, growing: %v", ours.Crowd())
	}
}
