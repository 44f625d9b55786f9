package cc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// scenario is one row of the table: one of our senders (or several) on a link.
type scenario struct {
	name    string
	rate    float64 // Mb/s
	delay   time.Duration
	jitter  time.Duration
	loss    float64
	queue   time.Duration
	mutate  func(fwd, rev *link.Config)
	prepare func(f *flow)
	at10    func(n *simNet) // happens at 10 s
	flows   int
	run     time.Duration                        // 0: 20 s
	from    time.Duration                        // measured from here; 0: 2 s
	limit   func(from, to time.Duration) float64 // bit/s; nil: rate × (1 − loss)

	// What must hold.
	use      float64       // of the limit, at least
	mean     time.Duration // of the link's queue, at most
	p99      time.Duration
	overflow float64 // share of packets a full queue or policer dropped, at most
}

// Links of the sets in the design, then trouble of every kind.
func scenarios() []scenario {
	s := time.Second
	constant := func(mbps float64) func(a, b time.Duration) float64 {
		return func(time.Duration, time.Duration) float64 { return mbps * 1e6 }
	}
	step := func(mbps float64) func(f, _ *link.Config) {
		return func(f, _ *link.Config) { f.Steps = []link.Step{{At: 10 * s, Rate: mbps * 1e6}} }
	}
	return []scenario{
		{name: "V", rate: 50, delay: 8 * ms, queue: 100 * ms, use: .98, mean: 4 * ms, p99: 12 * ms},
		{name: "A", rate: 10, delay: 12 * ms, queue: 300 * ms, use: .98, mean: 6 * ms, p99: 18 * ms},
		{name: "L", rate: 30, delay: 25 * ms, jitter: 8 * ms, loss: .005, queue: 200 * ms, use: .97, mean: 15 * ms, p99: 55 * ms},
		{name: "L2", rate: 20, delay: 20 * ms, jitter: 10 * ms, loss: .01, use: .96, mean: 18 * ms, p99: 60 * ms},
		{name: "L3", rate: 20, delay: 35 * ms, jitter: 10 * ms, loss: .01, use: .96, mean: 18 * ms, p99: 60 * ms},
		{name: "G", rate: 20, delay: 300 * ms, loss: .002, queue: 300 * ms, from: 8 * s, run: 40 * s, use: .97, mean: 20 * ms, p99: 80 * ms, overflow: .01},
		{name: "T", rate: 2, delay: 60 * ms, jitter: 20 * ms, queue: 2 * s, from: 3 * s, use: .96, mean: 45 * ms, p99: 150 * ms},
		{name: "S", rate: 100, delay: 20 * ms, jitter: 5 * ms, loss: .008, queue: 100 * ms, run: 10 * s, use: .97, mean: 14 * ms, p99: 50 * ms},
		{name: "jitter 0..20 ms, loss 1 %", rate: 20, delay: 20 * ms, jitter: 20 * ms, loss: .01, use: .95, mean: 20 * ms, p99: 75 * ms},
		{name: "loss 5 %", rate: 20, delay: 20 * ms, loss: .05, use: .97, mean: 10 * ms, p99: 30 * ms},
		{name: "loss 15 %", rate: 20, delay: 20 * ms, loss: .15, use: .95, mean: 12 * ms, p99: 40 * ms},
		{name: "loss 1 % in bursts", rate: 20, delay: 20 * ms, use: .96, mean: 8 * ms, p99: 25 * ms, mutate: func(f, _ *link.Config) {
			f.Gilbert = &link.GilbertElliott{ToBad: .002, ToGood: .1, LossBad: .5}
		}},
		{name: "bloat: 2 Mb/s, 2 s", rate: 2, delay: 20 * ms, queue: 2 * s, use: .96, mean: 20 * ms, p99: 49 * ms},
		{name: "0.5 Mb/s, 1 ms", rate: .5, delay: ms / 2, queue: s, use: .97, mean: 100 * ms, p99: 300 * ms},
		{name: "0.5 Mb/s, 700 ms", rate: .5, delay: 350 * ms, queue: s, from: 10 * s, run: 40 * s, use: .97, mean: 70 * ms, p99: 200 * ms},
		{name: "1 Gb/s, 1 ms", rate: 1000, delay: ms / 2, queue: 20 * ms, from: s, run: 2 * s, use: .98, mean: 3 * ms, p99: 6 * ms},
		{name: "1 Gb/s, 40 ms", rate: 1000, delay: 20 * ms, queue: 50 * ms, run: 4 * s, use: .95, mean: 6 * ms, p99: 25 * ms},
		{name: "200 Mb/s, 700 ms", rate: 200, delay: 350 * ms, queue: 100 * ms, from: 10 * s, run: 25 * s, use: .94, mean: 25 * ms, p99: 90 * ms, overflow: .05},
		{name: "ACK loss 30 %", rate: 20, delay: 20 * ms, use: .98, mean: 5 * ms, p99: 20 * ms, mutate: func(_, r *link.Config) { r.Loss = .3 }},
		{name: "ACKs in heaps of 25 ms", rate: 20, delay: 20 * ms, use: .97, mean: 5 * ms, p99: 20 * ms, prepare: func(f *flow) { f.ackEvery, f.ackDelay = 1000, 25*ms }},
		{name: "halved at 10 s", rate: 20, delay: 20 * ms, from: 13 * s, mutate: step(10), limit: constant(10), use: .98, mean: 6 * ms, p99: 25 * ms},
		{name: "doubled at 10 s", rate: 10, delay: 20 * ms, from: 13 * s, mutate: step(20), limit: constant(20), use: .98, mean: 6 * ms, p99: 25 * ms},
		{name: "50 to 2 Mb/s at 10 s", rate: 50, delay: 20 * ms, from: 13 * s, mutate: step(2), limit: constant(2), use: .95, mean: 150 * ms, p99: 700 * ms},
		{name: "2 to 50 Mb/s at 10 s", rate: 2, delay: 20 * ms, queue: s, from: 13 * s, mutate: step(50), limit: constant(50), use: .97, mean: 6 * ms, p99: 25 * ms},
		{name: "a wandering rate, 5..40", rate: 20, delay: 25 * ms, jitter: 8 * ms, queue: 500 * ms, run: 30 * s, use: .75, mean: 20 * ms, p99: 120 * ms,
			mutate: func(f, _ *link.Config) { f.Steps = wander(30 * s) },
			limit:  func(a, b time.Duration) float64 { return average(wander(30*s), a, b) }},
		{name: "outage 8..10 s", rate: 20, delay: 20 * ms, from: 11 * s, use: .98, mean: 5 * ms, p99: 20 * ms, mutate: func(f, r *link.Config) {
			f.Outages = []link.Span{{From: 8 * s, To: 10 * s}}
			r.Outages = f.Outages
		}},
		{name: "road +50 ms at 10 s", rate: 20, delay: 20 * ms, from: 13 * s, use: .95, mean: 6 * ms, p99: 30 * ms,
			at10: func(n *simNet) { n.fwd.Set(n.now, func(c *link.Config) { c.Delay += 50 * ms }) }},
		{name: "ACK road +300 ms at 10 s", rate: 20, delay: 20 * ms, from: 13 * s, use: .95, mean: 20 * ms, p99: 80 * ms,
			at10: func(n *simNet) { n.rev.Set(n.now, func(c *link.Config) { c.Delay += 300 * ms }) }},
		{name: "policer: 10 of 50 Mb/s", rate: 50, delay: 20 * ms, limit: constant(10), use: .97, mean: ms, p99: 3 * ms, overflow: .09,
			mutate: func(f, _ *link.Config) { f.Policer = &link.Policer{Rate: 10e6, Burst: 64000} }},
		{name: "queue of 5 ms", rate: 20, delay: 20 * ms, queue: 5 * ms, use: .97, mean: 3 * ms, p99: 5 * ms, overflow: .025},
		{name: "4 of ours on one A", rate: 10, delay: 12 * ms, queue: 300 * ms, flows: 4, use: .97, mean: 25 * ms, p99: 50 * ms},
		{name: "web: 1 MB every 2 s", rate: 20, delay: 20 * ms, use: .99, mean: 5 * ms, p99: 35 * ms,
			prepare: func(f *flow) { f.app = bursts(1<<20, 2*s) }, limit: constant(8 * (1 << 20) / 2 / 1e6)},
		{name: "idle 15 s, then bulk", rate: 20, delay: 20 * ms, from: 17500 * ms, run: 25 * s, use: .98, mean: 6 * ms, p99: 25 * ms, prepare: func(f *flow) {
			f.app = func(now time.Duration) (int, time.Duration) {
				switch {
				case now < 2*s:
					return 1 << 30, never
				case now < 17*s:
					return 0, 17 * s
				}
				return 1<<31 - 1, never
			}
		}},
	}
}

// wander is a rate that wanders by up to a third every 200 ms.
func wander(until time.Duration) (steps []link.Step) {
	dice := rand.New(rand.NewPCG(77, 1))
	rate := 20e6
	for t := time.Duration(0); t < until; t += 200 * ms {
		rate = min(max(rate*(0.67+0.76*dice.Float64()), 5e6), 40e6)
		steps = append(steps, link.Step{At: t, Rate: rate})
	}
	return steps
}

// average is the mean rate of steps of equal length.
func average(steps []link.Step, from, to time.Duration) (sum float64) {
	n := 0.0
	for _, s := range steps {
		if s.At >= from && s.At < to {
			sum += s.Rate
			n++
		}
	}
	return sum / n
}

// bursts is an application that has size bytes ready every period.
func bursts(size int, period time.Duration) func(time.Duration) (int, time.Duration) {
	return func(now time.Duration) (int, time.Duration) {
		n := int(now/period) + 1
		return n * size, time.Duration(n) * period
	}
}

type result struct {
	use, overflow, lost float64
	mean, p99           time.Duration
}

func (s scenario) play(seed uint64, trace bool) result {
	fwd := link.Config{Rate: s.rate * 1e6, Delay: s.delay, Jitter: s.jitter, Loss: s.loss, Queue: s.queue}
	rev := link.Config{Delay: s.delay, Jitter: s.jitter, Loss: s.loss}
	if s.mutate != nil {
		s.mutate(&fwd, &rev)
	}
	if s.run == 0 {
		s.run = 20 * time.Second
	}
	if s.from == 0 {
		s.from = 2 * time.Second
	}
	n := newSimNet(fwd, rev, seed)
	for i := range max(1, s.flows) {
		c := New(Config{MSS: packetSize}, rand.New(rand.NewPCG(seed, uint64(i+10))))
		c.ProbeRTTAt(time.Duration(i) * 2500 * ms)
		f := n.add(c, time.Duration(i)*100*ms)
		if s.prepare != nil {
			s.prepare(f)
		}
	}
	n.from = s.from
	last := make([]uint64, len(n.flows))
	n.each = func(now time.Duration) {
		if s.at10 != nil && now == 10*time.Second {
			s.at10(n)
		}
		if !trace {
			return
		}
		fmt.Printf("%6.1f queue %5.1f", now.Seconds(), inMs(n.fwd.QueueDelay(now)))
		for i, f := range n.flows {
			c := f.cc.(*BBR)
			fmt.Printf(" | %-9s rate %7.2f got %7.2f window %7.1fK in flight %7.1fK stand %5.1f rtt %4.0f+%3.0f low %4.1f loss %.3f", c.State(), c.Rate()*8/1e6, float64(f.gotBytes-last[i])*80/1e6,
				float64(c.Window())/1e3, float64(f.inflight)/1e3, inMs(c.stand), inMs(c.base), inMs(c.noise), inMs(c.low()), c.loss)
			last[i] = f.gotBytes
		}
		fmt.Println()
	}
	n.run(s.run + 100*ms)
	got, lost := 0.0, uint64(0)
	for _, f := range n.flows {
		got += f.rate(s.from, s.run)
		lost += f.lostBytes
	}
	limit := s.rate * 1e6 * (1 - s.loss)
	if s.limit != nil {
		limit = s.limit(s.from, s.run)
	}
	st := n.fwd.Stats()
	return result{
		use:      got / limit,
		overflow: float64(st.Verdicts[link.DroppedQueue]+st.Verdicts[link.DroppedPolicer]) / float64(st.Sent),
		lost:     float64(lost) / float64(st.Sent*packetSize),
		mean:     mean(n.queue), p99: quantile(n.queue, .99),
	}
}

// The table: how much of the link is used, and what queue stands in it.
func TestTable(t *testing.T) {
	only := os.Getenv("CC_ROW") // a row's name: print its trace
	t.Logf("%-26s %6s %9s %9s %9s %8s", "scenario", "use", "queue", "p99", "overflow", "lost")
	for _, s := range scenarios() {
		if only != "" && only != s.name || testing.Short() && s.rate >= 200 {
			continue
		}
		r := s.play(1, only != "")
		t.Logf("%-26s %5.1f%% %9v %9v %8.2f%% %7.2f%%", s.name, 100*r.use, r.mean.Round(ms/10), r.p99.Round(ms/10), 100*r.overflow, 100*r.lost)
		if r.use < s.use {
			t.Errorf("%s: used %.3f of the link, want %.2f", s.name, r.use, s.use)
		}
		if r.mean > s.mean || r.p99 > s.p99 {
			t.Errorf("%s: a queue of %v in the mean and %v at 99 %%, want at most %v and %v", s.name, r.mean, r.p99, s.mean, s.p99)
		}
		if r.overflow > s.overflow {
			t.Errorf("%s: %.4f of the packets overflowed, want at most %.4f", s.name, r.overflow, s.overflow)
		}
	}
}

// Same seed, same run; another seed, another.
func TestDeterministic(t *testing.T) {
	for _, s := range scenarios() {
		if s.name != "L" {
			continue
		}
		a, b, c := s.play(5, false), s.play(5, false), s.play(6, false)
		if a != b {
			t.Errorf("equal seeds differ: %+v and %+v", a, b)
		}
		if a == c {
			t.Error("different seeds agree to the last bit")
		}
	}
}
