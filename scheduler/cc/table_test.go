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
	name     string
	rate     float64 // Mb/s
	delay    time.Duration
	jitter   time.Duration
	loss     float64
	queue    time.Duration
	mutate   func(fwd, rev *link.Config)
	flows    int
	run      time.Duration // 0: 20 s
	from     time.Duration // measured from here; 0: 2 s
	limit    func(from, to time.Duration) float64
	prepare  func(f *flow)
	util     float64       // at least
	meanQ    time.Duration // at most
	p99Q     time.Duration
	overflow float64 // share of packets lost to a full queue, at most
}

func scenarios() []scenario {
	s := []scenario{
		{name: "V", rate: 50, delay: 8 * ms, queue: 100 * ms},
		{name: "A", rate: 10, delay: 12 * ms, queue: 300 * ms},
		{name: "L", rate: 30, delay: 25 * ms, jitter: 8 * ms, loss: .005, queue: 200 * ms},
		{name: "L2", rate: 20, delay: 20 * ms, jitter: 10 * ms, loss: .01},
		{name: "L3", rate: 20, delay: 35 * ms, jitter: 10 * ms, loss: .01},
		{name: "G", rate: 20, delay: 300 * ms, loss: .002, queue: 300 * ms, from: 8 * time.Second, run: 40 * time.Second},
		{name: "T", rate: 2, delay: 60 * ms, jitter: 20 * ms, queue: 2 * time.Second, from: 3 * time.Second},
		{name: "S", rate: 100, delay: 20 * ms, jitter: 5 * ms, loss: .008, queue: 100 * ms, run: 10 * time.Second},
		{name: "jitter 20, 1 % loss", rate: 20, delay: 20 * ms, jitter: 20 * ms, loss: .01},
		{name: "loss 5 %", rate: 20, delay: 20 * ms, loss: .05},
		{name: "loss 15 %", rate: 20, delay: 20 * ms, loss: .15},
		{name: "bloat: 2 Mb/s, 2 s", rate: 2, delay: 20 * ms, queue: 2 * time.Second},
		{name: "0.5 Mb/s, 1 ms", rate: .5, delay: 500 * time.Microsecond, queue: time.Second},
		{name: "0.5 Mb/s, 700 ms", rate: .5, delay: 350 * ms, queue: time.Second, from: 10 * time.Second, run: 40 * time.Second},
		{name: "1 Gb/s, 1 ms", rate: 1000, delay: 500 * time.Microsecond, queue: 20 * ms, run: 2 * time.Second, from: time.Second},
		{name: "1 Gb/s, 40 ms", rate: 1000, delay: 20 * ms, queue: 50 * ms, run: 4 * time.Second},
		{name: "200 Mb/s, 700 ms", rate: 200, delay: 350 * ms, queue: 100 * ms, from: 10 * time.Second, run: 25 * time.Second},
		{name: "ACK loss 30 %", rate: 20, delay: 20 * ms, mutate: func(_, r *link.Config) { r.Loss = .3 }},
		{name: "ACKs in heaps", rate: 20, delay: 20 * ms, prepare: func(f *flow) { f.ackEvery, f.ackDelay = 1000, 25*ms }},
		{name: "halved at 10 s", rate: 20, delay: 20 * ms, from: 13 * time.Second, mutate: func(f, _ *link.Config) { f.Steps = []link.Step{{At: 10 * time.Second, Rate: 10e6}} },
			limit: func(a, b time.Duration) float64 { return 10e6 }},
		{name: "doubled at 10 s", rate: 10, delay: 20 * ms, from: 13 * time.Second, mutate: func(f, _ *link.Config) { f.Steps = []link.Step{{At: 10 * time.Second, Rate: 20e6}} },
			limit: func(a, b time.Duration) float64 { return 20e6 }},
		{name: "outage 8..10 s", rate: 20, delay: 20 * ms, from: 11 * time.Second, mutate: func(f, r *link.Config) {
			f.Outages = []link.Span{{From: 8 * time.Second, To: 10 * time.Second}}
			r.Outages = f.Outages
		}},
		{name: "policer 10 of 50", rate: 50, delay: 20 * ms, mutate: func(f, _ *link.Config) { f.Policer = &link.Policer{Rate: 10e6, Burst: 64000} },
			limit: func(a, b time.Duration) float64 { return 10e6 }},
		{name: "shallow queue 5 ms", rate: 20, delay: 20 * ms, queue: 5 * ms},
		{name: "4 on A", rate: 10, delay: 12 * ms, queue: 300 * ms, flows: 4},
		{name: "longer road at 10 s", rate: 20, delay: 20 * ms, from: 15 * time.Second},
		{name: "ACK road +300 ms at 10 s", rate: 20, delay: 20 * ms, from: 12 * time.Second},
		{name: "50 to 2 Mb/s at 10 s", rate: 50, delay: 20 * ms, from: 13 * time.Second, mutate: func(f, _ *link.Config) { f.Steps = []link.Step{{At: 10 * time.Second, Rate: 2e6}} },
			limit: func(a, b time.Duration) float64 { return 2e6 }},
		{name: "2 to 50 Mb/s at 10 s", rate: 2, delay: 20 * ms, queue: time.Second, from: 13 * time.Second, mutate: func(f, _ *link.Config) { f.Steps = []link.Step{{At: 10 * time.Second, Rate: 50e6}} },
			limit: func(a, b time.Duration) float64 { return 50e6 }},
		{name: "radio, 5..40 Mb/s", rate: 20, delay: 25 * ms, jitter: 8 * ms, queue: 500 * ms, run: 30 * time.Second, mutate: func(f, _ *link.Config) { f.Steps = radio(30 * time.Second) },
			limit: func(a, b time.Duration) float64 { return average(radio(30*time.Second), a, b) }},
		{name: "burst loss", rate: 20, delay: 20 * ms, mutate: func(f, _ *link.Config) {
			f.Gilbert = &link.GilbertElliott{ToBad: .002, ToGood: .1, LossBad: .5}
		}},
		{name: "web: 1 MB each 2 s", rate: 20, delay: 20 * ms, prepare: func(f *flow) { f.app = bursts(1<<20, 2*time.Second) }, limit: func(a, b time.Duration) float64 { return 8 * (1 << 20) / 2 }},
		{name: "idle 15 s, then bulk", rate: 20, delay: 20 * ms, from: 17500 * ms, run: 25 * time.Second, prepare: func(f *flow) {
			f.app = func(now time.Duration) (int, time.Duration) {
				switch {
				case now < 2*time.Second:
					return 1 << 40, never
				case now < 17*time.Second:
					return 0, 17 * time.Second
				}
				return 1 << 41, never
			}
		}},
	}
	return s
}

// radio is a rate that wanders by up to a third every 200 ms.
func radio(until time.Duration) (steps []link.Step) {
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
	util, overflow, lost float64
	meanQ, p99Q          time.Duration
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
		if s.name == "longer road at 10 s" && now == 10*time.Second {
			n.fwd.Set(now, func(c *link.Config) { c.Delay += 50 * ms })
		}
		if s.name == "ACK road +300 ms at 10 s" && now == 10*time.Second {
			n.rev.Set(now, func(c *link.Config) { c.Delay += 300 * ms })
		}
		if trace {
			fmt.Printf("%6.1f", now.Seconds())
			for i, f := range n.flows {
				c := f.cc.(*BBR)
				fmt.Printf(" | %-8s bw %6.2f got %6.2f w %6.1fK infl %6.1fK q %5.1f stand %5.1f rtt %4.0f+%3.0f low %4.1f loss %.3f", c.State(), c.Rate()*8/1e6, float64(f.gotBytes-last[i])*80/1e6, float64(c.Window())/1e3, float64(f.inflight)/1e3,
					float64(n.fwd.QueueDelay(now))/1e6, float64(c.stand)/1e6, float64(c.base)/1e6, float64(c.noise)/1e6, float64(c.low())/1e6, c.loss)
				last[i] = f.gotBytes
			}
			fmt.Println()
		}
	}
	n.run(s.run + 100*ms)
	got := 0.0
	for _, f := range n.flows {
		got += f.rate(s.from, s.run)
	}
	limit := s.rate * 1e6 * (1 - s.loss)
	if s.limit != nil {
		limit = s.limit(s.from, s.run)
	}
	st := n.fwd.Stats()
	var lost uint64
	for _, f := range n.flows {
		lost += f.lostBytes
	}
	return result{util: got / limit, overflow: float64(st.Verdicts[link.DroppedQueue]+st.Verdicts[link.DroppedPolicer]) / float64(st.Sent), lost: float64(lost) / float64(st.Sent*packetSize),
		meanQ: mean(n.queue), p99Q: quantile(n.queue, .99)}
}

func TestTable(t *testing.T) {
	only := os.Getenv("ROW")
	fmt.Printf("%-22s %6s %9s %9s %9s %8s\n", "scenario", "use", "queue", "p99", "overflow", "lost")
	for _, s := range scenarios() {
		if only != "" && only != s.name {
			continue
		}
		start := time.Now()
		r := s.play(1, only != "")
		fmt.Printf("%-22s %5.1f%% %9v %9v %8.2f%% %7.2f%% %v\n", s.name, 100*r.util, r.meanQ.Round(ms/10), r.p99Q.Round(ms/10), 100*r.overflow, 100*r.lost, time.Since(start).Round(ms))
	}
}
