package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/bondd/bondd/bench/sim"
)

// fault is one further transfer, during which something happens: to the fastest
// uplink for a step, to the busiest one else, as in the lab.
func (p *simPlan) fault(ctx context.Context, set Set, name string, r *Result) error {
	b := &bench{set: set}
	start := simProven
	at := start + max(faultBefore, set.Settle)
	switch {
	case name == "step":
		return p.stepOne(ctx, set, set.Uplinks[b.victim()], start, at, r)
	case !b.canCut() || p.traffic == "udp":
		return nil
	}
	end := at + faultAfter
	happens := func(u string) sim.Fault { return sim.Cut(at, u, sim.Both) }
	if name == "unplug" {
		happens = func(u string) sim.Fault { return sim.Failed(at, u) }
	}
	busy := &busiest{set: set, up: r.Direction == "up", before: make([]uint64, len(set.Uplinks))}
	sum, err := p.during(ctx, set, r.Direction, start, end, busy.count(at-probeTime), busy.lose(at, happens))
	if err != nil {
		return err
	}
	stall := number(millis(sum.Silence(at-100*time.Millisecond, end)), 0)
	if name == "unplug" {
		r.Unplug = stall
		return nil
	}
	victim := set.Uplinks[busy.victim]
	r.Cut, r.Stall = victim.Name, stall
	r.Left = number(sum.Mbps(at+faultSettle, end), 2)
	r.LeftMax = number(set.leftMbps(victim), 2)
	r.CutSlots, r.CutAt = simSlots(sum, start), number((at-start).Seconds(), 2)
	return nil
}

// busiest takes away the uplink that carried most in the second before.
type busiest struct {
	set    Set
	up     bool
	before []uint64 // bytes of each uplink
	victim int
}

func (b *busiest) bytes(r *sim.Run, i int) uint64 {
	up, down := r.Line(b.set.Uplinks[i].Name)
	if b.up {
		return up.Bytes
	}
	return down.Bytes
}

func (b *busiest) count(at time.Duration) sim.Fault {
	return sim.Fault{At: at, What: "count", Do: func(_ time.Duration, r *sim.Run) error {
		for i := range b.before {
			b.before[i] = b.bytes(r, i)
		}
		return nil
	}}
}

func (b *busiest) lose(at time.Duration, happens func(uplink string) sim.Fault) sim.Fault {
	return sim.Fault{At: at, What: "loss of the busiest uplink", Do: func(now time.Duration, r *sim.Run) error {
		most := uint64(0)
		for i, x := range b.before {
			if n := b.bytes(r, i) - x; n > most {
				b.victim, most = i, n
			}
		}
		return happens(b.set.Uplinks[b.victim].Name).Do(now, r)
	}}
}

// stepOne halves the rate of an uplink and doubles it again, as in the lab.
func (p *simPlan) stepOne(ctx context.Context, set Set, u Uplink, start, down time.Duration, r *Result) error {
	up, end := down+stepHold, down+2*stepHold
	sum, err := p.during(ctx, set, r.Direction, start, end, sim.Rate(down, u.Name, sim.Both, u.Link.Rate/2), sim.Rate(up, u.Name, sim.Both, u.Link.Rate))
	if err != nil {
		return err
	}
	limit := set.LimitMbps()
	share := sum.Mbps(down-stepWindow, down) / limit
	r.StepDown = followed(sum, down, up, stepNear*share*(limit-u.limitMbps()/2))
	r.StepUp = followed(sum, up, end, stepNear*share*limit)
	if r.StepDown == nil || r.StepUp == nil {
		r.Notes = append(r.Notes, fmt.Sprintf("%s halved or doubled: not followed to within 5 %% in %v", u.Name, stepHold-stepWindow))
	}
	return nil
}

// during is a transfer during which something happens.
func (p *simPlan) during(ctx context.Context, set Set, direction string, start, end time.Duration, faults ...sim.Fault) (*sim.FlowResult, error) {
	sc := p.scenario(set)
	sc.Flows, sc.Faults = p.transfer(set, direction, start), faults
	run, err := sim.New(sc)
	if err != nil {
		return nil, err
	}
	if err := advance(ctx, run, end); err != nil {
		return nil, err
	}
	return sim.Sum(run.Flows), nil
}
