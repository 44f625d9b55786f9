package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/bondd/bondd/bench/sim"
)

// simApart is between the starts of two short downloads in the simulator: the
// satellite alone takes about 5 s for 1 MB, thin lossy lines up to twice that.
const simApart = 10 * time.Second

// transfers is --transfers in virtual time.
func (p *simPlan) transfers(ctx context.Context, set Set, settle time.Duration, r *Result) error {
	for _, size := range transferSizes {
		t := Transfer{Bytes: size.bytes}
		for i, u := range set.Uplinks {
			flows := p.shorts(sim.TCP, size.bytes, size.count, simProven, simApart)
			res, err := sim.Plain(u.Link, flows, simProven+time.Duration(size.count)*simApart+fetchTimeout, p.seed+uint64(i)<<32)
			if err != nil {
				return err
			}
			if took, err := took(res); err == nil {
				t.chooseBest(u.Name, took)
			}
		}
		if t.Over == "" {
			return fmt.Errorf("no uplink alone carries %s in time", size.name)
		}
		r.Transfers = append(r.Transfers, t)
	}
	kind := sim.TCP
	if p.service == "stream" {
		kind = sim.Stream
	}
	sc := p.scenario(set)
	at := simProven
	for _, size := range transferSizes {
		sc.Flows = append(sc.Flows, p.shorts(kind, size.bytes, size.count, at, simApart)...)
		at += time.Duration(size.count) * simApart
	}
	sc.Flows = append(sc.Flows, p.shorts(kind, requestBytes, requestCount, at, requestEvery)...)
	at += requestCount*requestEvery + simIdle
	bulk := p.transfer(set, "down", at)
	at += settle
	sc.Flows = append(sc.Flows, p.shorts(kind, requestBytes, requestCount, at, requestEvery)...)
	sc.Flows = append(sc.Flows, bulk...)
	run, err := sim.New(sc)
	if err != nil {
		return err
	}
	if err := advance(ctx, run, at+requestCount*requestEvery+simIdle); err != nil {
		return err
	}
	rest := run.Flows
	next := func(n int) (spread Spread) {
		ds, e := took(rest[:n])
		if e != nil && err == nil {
			err = e
		}
		rest = rest[n:]
		return spreadOf(ds)
	}
	for i, size := range transferSizes {
		r.Transfers[i].Bond = next(size.count)
	}
	q := &Requests{Bytes: requestBytes, Count: requestCount}
	q.Idle, q.Loaded = next(requestCount), next(requestCount)
	r.Requests = q
	return err
}

// shorts are count downloads, each of its own connection or stream.
func (p *simPlan) shorts(kind sim.Kind, bytes int64, count int, start, every time.Duration) []sim.Flow {
	flows := make([]sim.Flow, count)
	for i := range flows {
		flows[i] = sim.Flow{Kind: kind, Down: true, Bytes: uint64(bytes), Start: start + time.Duration(i)*every, TCP: sim.TCPConfig{BBR: p.traffic == "bbr"}}
	}
	return flows
}

// took is how long each flow took.
func took(flows []*sim.FlowResult) ([]time.Duration, error) {
	ds := make([]time.Duration, len(flows))
	for i, f := range flows {
		if f.Done == 0 {
			return nil, fmt.Errorf("a download of %d bytes has brought only %d in %v", f.Bytes, f.Received, f.Start)
		}
		ds[i] = f.Done - f.Start
	}
	return ds, nil
}
