package endpoints

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
)

const (
	// lossSample is how many datagrams a figure of loss is of, at least.
	lossSample = 1000
	// udpPatience is how long an uplink may be without a path before datagrams count as blocked on it.
	udpPatience = 5 * time.Second
)

// carryUplink is what is known of an uplink for carrying TCP.
type carryUplink struct {
	uplink uplink.Uplink
	remote netip.AddrPort
	terms  terms
	since  time.Time

	checking bool
	check    checkResult // the last one
	checked  time.Time   // when it came
	checkAt  time.Time   // of the next one

	up       bool   // its path in the bond answers
	downs    int    // how often it has failed
	progress uint64 // when it failed last
	failing  bool   // its endpoint is gone, because it did not answer
	held     bool   // it lags too far behind: the kernel has it for emergencies only
	wellFrom time.Time

	endpoint   bool      // it has one
	endpointAt time.Time // since when
	unreached  bool      // the exit is not reached at remote
	missed     int       // carriers on which its subflow has not come
	missFrom   time.Time // since the first of them
	suspectAt  time.Time // when a check was asked for last because of subflows
	unjoined   bool      // its subflows do not come, though a connection of its own has MPTCP

	id       tunnel.PathID
	rtt      time.Duration
	rate     float64 // the best that was seen, bytes/s
	acked    uint64
	received uint64
	seenAt   time.Time
	ours     lossCount
	theirs   lossCount
}

// lossCount makes shares of counters.
type lossCount struct {
	sent, lost uint64 // when the window began
	share      float64
}

// add takes the counters as they are now.
func (l *lossCount) add(sent, lost uint64) {
	switch {
	case sent < l.sent || lost < l.lost: // another session
		l.sent, l.lost = sent, lost
	case sent-l.sent >= lossSample:
		l.share = float64(lost-l.lost) / float64(sent-l.sent)
		l.sent, l.lost = sent, lost
	}
}

// path is the uplink as the choice sees it.
func (u *carryUplink) path(now time.Time) scheduler.CarryPath {
	p := scheduler.CarryPath{Name: u.terms.Name, RTT: u.rtt, Loss: max(u.ours.share, u.theirs.share), Rate: u.rate, Acked: u.acked}
	if !u.up && !u.failing && u.check.rtt > 0 && !u.checked.Before(u.since) && now.Sub(u.since) >= udpPatience {
		p.TCPOnly, p.RTT = true, u.check.rtt
	}
	switch {
	case u.terms.Metered:
		p.Reason = "it is metered"
	case u.terms.MaxUp != 0 || u.terms.MaxDown != 0:
		p.Reason = "its rate is capped by the configuration, which the kernel cannot do"
	case u.check.name == "":
		p.Reason = "not checked yet"
	case u.check.err != nil:
		p.Reason = "the exit is not reached by TCP"
	case u.unjoined:
		p.Reason = "MPTCP is stripped on the way: its subflows do not come"
	case u.stripped():
		p.Reason = "MPTCP is stripped on the way"
	case u.failing:
		p.Reason = "it does not answer"
	case !u.up && !p.TCPOnly:
		p.Reason = "it has no path yet"
	}
	return p
}

// stripped tells that a connection by the uplink has lost MPTCP, or that no subflow comes by it.
func (u *carryUplink) stripped() bool {
	return u.unjoined || u.check.name != "" && u.check.err == nil && !(u.check.here && u.check.there)
}

// barred tells that the kernel may not, or cannot, have the uplink: it does not know what costs money, nor caps.
func (u *carryUplink) barred() bool {
	return u.stripped() || u.check.err != nil || u.terms.Metered || u.terms.Mode == config.ModeDrain || u.terms.MaxUp != 0 || u.terms.MaxDown != 0
}

// follow brings the uplinks in line with the world and what the bond knows of its paths, and lists the ways for carriers, the quickest first.
func (c *gatewayCarriers) follow(now time.Time, w *carryWorld, stats map[wayKey]tunnel.PathStats) []carryWay {
	var ways []carryWay
	seen := make(map[string]bool)
	for _, u := range w.snap.Uplinks {
		remotes := slices.DeleteFunc(slices.Clone(w.remotes), func(r netip.AddrPort) bool { return !usable(u, r.Addr()) })
		if len(remotes) == 0 {
			continue
		}
		seen[u.Name] = true
		k := c.uplinks[u.Name]
		at := 0 // the address of the exit that the uplink reaches, as far as is known
		if k != nil {
			at = max(0, slices.Index(remotes, k.remote))
			if k.unreached {
				k.unreached, at = false, (at+1)%len(remotes)
			}
		}
		remote := remotes[at]
		if k == nil || k.remote != remote || sourceOf(k.uplink, remote.Addr()) != sourceOf(u, remote.Addr()) || k.uplink.Ifindex != u.Ifindex {
			k = &carryUplink{since: now}
			c.uplinks[u.Name] = k
		}
		k.uplink, k.remote, k.terms = u, remote, w.terms[u.Name]
		if p, ok := stats[wayKey{u.Name, remote}]; ok {
			k.learn(now, p)
		} else {
			k.up = false
		}
		ways = append(ways, carryWay{u, remote, c.way.key, k.barred()})
	}
	for name := range c.uplinks {
		if !seen[name] {
			delete(c.uplinks, name)
		}
	}
	slices.SortStableFunc(ways, func(a, b carryWay) int {
		x, y := c.uplinks[a.uplink.Name], c.uplinks[b.uplink.Name]
		return cmp.Or(boolInt(x.failing)-boolInt(y.failing), boolInt(x.held)-boolInt(y.held), boolInt(x.terms.Metered)-boolInt(y.terms.Metered), boolInt(x.check.rtt == 0)-boolInt(y.check.rtt == 0), cmp.Compare(x.check.rtt, y.check.rtt))
	})
	return ways
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// learn takes the bond's statistics of the uplink's path.
func (u *carryUplink) learn(now time.Time, p tunnel.PathStats) {
	up := p.State == scheduler.Up.String()
	switch {
	case up && !u.up:
		u.wellFrom = now
	case up && u.failing && now.Sub(u.wellFrom) >= wellAfter:
		u.failing = false
	case !up && u.up:
		u.since, u.checkAt = now, now.Add(udpPatience/2) // is it dead, or are datagrams blocked?
	}
	u.up, u.id = up, p.ID
	u.rtt = max(p.RTT-p.Queue, 0)
	if p.AckedBytes > 1<<16 {
		u.rate = max(u.rate, p.Rate)
	}
	u.acked = max(u.acked, p.AckedBytes)
	if d := now.Sub(u.seenAt); d > carryTick/2 {
		if !u.seenAt.IsZero() && p.RecvBytes >= u.received {
			u.rate = max(u.rate, float64(p.RecvBytes-u.received)/d.Seconds())
		}
		u.received, u.seenAt = p.RecvBytes, now
	}
	u.ours.add(p.SentDatagrams, p.LostDatagrams)
}
