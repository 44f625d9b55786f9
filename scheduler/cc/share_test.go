package cc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

func TestShare(t *testing.T) {
	kinds := map[string]func() controller{
		"cubic": func() controller { return newCubic() },
		"bbr1":  func() controller { return newBBR1() },
	}
	trace := os.Getenv("TRACE")
	for _, kind := range []string{"cubic", "bbr1"} {
		for _, q := range []time.Duration{100 * ms, time.Second} {
			for _, d := range []time.Duration{5 * ms, 12 * ms, 25 * ms} {
				for first := range 2 {
					name := fmt.Sprintf("%s/%v/%v/%d", kind, q, d, first)
					if trace != "" && trace != name {
						continue
					}
					n := newSimNet(link.Config{Rate: 10e6, Delay: d, Queue: q}, link.Config{Delay: d}, 1)
					c := New(Config{MSS: packetSize}, rand.New(rand.NewPCG(1, 3)))
					starts := [2]time.Duration{0, 3 * time.Second}
					f := n.add(c, starts[first])
					g := n.add(kinds[kind](), starts[1-first])
					var last [2]uint64
					n.each = func(now time.Duration) {
						if trace != "" {
							fmt.Printf("%6.1f %-8s bw %6.2f got %6.2f/%6.2f w %6.1fK infl %6.1fK q %5.1f stand %5.1f rtt %4.0f+%3.0f low %4.1f loss %.3f %s\n", now.Seconds(), c.State(), c.Rate()*8/1e6, float64(f.gotBytes-last[0])*80/1e6,
								float64(g.gotBytes-last[1])*80/1e6, float64(c.Window())/1e3, float64(f.inflight)/1e3,
								float64(n.fwd.QueueDelay(now))/1e6, float64(c.stand)/1e6, float64(c.base)/1e6, float64(c.noise)/1e6, float64(c.low())/1e6, c.loss, c.debug())
							last = [2]uint64{f.gotBytes, g.gotBytes}
						}
						if now == 63*time.Second {
							g.app = func(time.Duration) (int, time.Duration) { return 0, never }
							n.from, n.queue = 73*time.Second, nil
						}
					}
					n.run(83100 * ms)
					fmt.Printf("%-22s share:", name)
					for s := time.Duration(3); s < 60; s += 10 {
						fmt.Printf(" %3.0f", f.rate(s*time.Second, (s+10)*time.Second)/1e5)
					}
					fmt.Printf(" all %3.0f use %3.0f afterwards: queue %v p99 %v\n", f.rate(3*time.Second, 63*time.Second)/1e5, (f.rate(3*time.Second, 63*time.Second)+g.rate(3*time.Second, 63*time.Second))/1e5, mean(n.queue).Round(ms), quantile(n.queue, .99).Round(ms))
				}
			}
		}
	}
}
