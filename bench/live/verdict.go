package live

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/endpoints"
)

// snapshot is what is compared before and after.
type snapshot struct {
	at          time.Time
	status      *endpoints.Status
	busy, total uint64 // of the processors, in ticks
}

func (o Options) snapshot(ctx context.Context) (s snapshot, err error) {
	if s.status, err = endpoints.ReadStatus(ctx, o.Control); err != nil {
		return s, err
	}
	s.at = time.Now()
	s.busy, s.total, err = lab.Processors()
	return s, err
}

// compare fills in what the uplinks and the processors did in between.
func (t *Transfer) compare(a, b snapshot) {
	if b.total > a.total {
		t.Busy = float64(b.busy-a.busy) / float64(b.total-a.total)
	}
	passed := b.at.Sub(a.at)
	if len(a.status.Sessions) == 0 || len(b.status.Sessions) == 0 || a.status.Sessions[0].Index != b.status.Sessions[0].Index ||
		a.status.Sessions[0].Stats == nil || b.status.Sessions[0].Stats == nil {
		return // another session by now: its counters begin anew
	}
	type sum struct {
		Uplink
		sent, lost uint64
		rate       float64
	}
	var list []*sum
	for _, p := range b.status.Sessions[0].Stats.Paths {
		name := uplinkOf(p.Name)
		i := slices.IndexFunc(list, func(u *sum) bool { return u.Name == name })
		if i < 0 {
			i, list = len(list), append(list, &sum{Uplink: Uplink{Name: name, State: p.State, RTT: float64(p.RTT) / 1e6}})
		}
		u := list[i]
		was := p.PathStats
		was.SentBytes, was.RecvBytes, was.SentDatagrams, was.LostDatagrams = 0, 0, 0, 0
		for _, q := range a.status.Sessions[0].Stats.Paths {
			if q.ID == p.ID {
				was = q.PathStats
			}
		}
		if t.Direction == "down" {
			u.Carried += mbps(int64(p.RecvBytes-was.RecvBytes), passed)
			continue
		}
		u.Carried += mbps(int64(p.SentBytes-was.SentBytes), passed)
		u.sent += p.SentDatagrams - was.SentDatagrams
		u.lost += p.LostDatagrams - was.LostDatagrams
		u.rate = max(u.rate, p.Rate*8/1e6) // paths of one uplink share its line
	}
	for _, u := range list {
		if t.Direction == "up" {
			u.Rate = &u.rate
			if u.sent > 0 {
				lost := float64(u.lost) / float64(u.sent)
				u.Lost = &lost
			}
		}
		t.Uplinks = append(t.Uplinks, u.Uplink)
	}
}

// Thresholds of the verdict.
const (
	busyLimit = 0.85 // of all processors: what is left is in pieces too short to use
	idleShare = 0.7  // an uplink that carried less of what it is taken for was not needed, or not fed
	lossNamed = 0.02 // above this loss the uplink is worth a look
	clearly   = 1.15 // by so much one service has to be faster to be called so
)

// Verdict says in words what the transfers show.
func Verdict(list []Transfer) (out []string) {
	rate := map[string]float64{}
	for _, t := range list {
		name := t.String()
		if t.Error != "" {
			out = append(out, fmt.Sprintf("%s: not measured: %s.", name, t.Error))
			continue
		}
		if t.Mbps == nil || t.Alone != "" {
			continue
		}
		rate[name] = *t.Mbps
		limited := false
		if t.Busy >= busyLimit {
			out = append(out, fmt.Sprintf("%s: this box is the limit: its processors were busy for %.0f %% of the time.", name, t.Busy*100))
			limited = true
		}
		for _, u := range t.Uplinks {
			switch {
			case u.State != "up":
				out = append(out, fmt.Sprintf("%s: uplink %s is %s and carries nothing new.", name, u.Name, u.State))
				limited = true
			case u.Rate != nil && u.Carried < idleShare**u.Rate && !limited:
				out = append(out, fmt.Sprintf("%s: uplink %s was not full: it carried %.1f of the %.1f Mb/s it is taken for.", name, u.Name, u.Carried, *u.Rate))
				limited = true
			case u.Carried == 0:
				out = append(out, fmt.Sprintf("%s: uplink %s carried nothing.", name, u.Name))
				limited = true
			}
			if u.Lost != nil && *u.Lost > lossNamed {
				out = append(out, fmt.Sprintf("%s: uplink %s lost %.1f %% of its datagrams.", name, u.Name, *u.Lost*100))
			}
		}
		if !limited && len(t.Uplinks) > 0 {
			worst := t.Uplinks[0]
			for _, u := range t.Uplinks {
				if u.Carried < worst.Carried {
					worst = u
				}
			}
			if t.Direction == "up" {
				out = append(out, fmt.Sprintf("%s: the uplinks are the limit, all were full; the slowest is %s with %.1f Mb/s.", name, worst.Name, worst.Carried))
			} else {
				out = append(out, fmt.Sprintf("%s: the box was not the limit; least came over %s, %.1f Mb/s.", name, worst.Name, worst.Carried))
			}
		}
	}
	for _, d := range []string{"down", "up"} {
		p, s := rate["packet, "+d], rate["stream, "+d]
		switch {
		case p == 0 || s == 0:
		case s > clearly*p:
			out = append(out, fmt.Sprintf("%s: streams carry %.0f %% more than packets; TCP that is not intercepted is limited by its service.", d, (s/p-1)*100))
		case p > clearly*s:
			out = append(out, fmt.Sprintf("%s: packets carry %.0f %% more than streams, which should not be.", d, (p/s-1)*100))
		}
	}
	return append(out, gains(list)...)
}
