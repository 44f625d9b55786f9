package sim

import (
	"math/rand/v2"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// Plain runs flows over one link, the same in both directions but for the
// seed, without a bond: what a device on that uplink alone would get.
func Plain(cfg link.Config, flows []Flow, duration time.Duration, seed uint64) ([]*FlowResult, error) {
	rng := rand.New(rand.NewPCG(seed, 0x706c61696e))
	w := newWorld(rng)
	newWire(w, cfg, cfg, rng)
	var out []*FlowResult
	for _, f := range flows {
		out = append(out, w.addFlow(f))
	}
	return out, w.run(duration)
}
