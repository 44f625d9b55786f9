package scheduler

import (
	"math"
	"time"
)

// A flow is deaf when its sender goes on well above what its paths carry, whatever is dropped or marked: by measure, not by its protocol (Floyd and
// Fall, "Promoting the Use of End-to-End Congestion Control in the Internet", 1999; RFC 8290 §5.5 leaves such flows to themselves). What it sends too
// much is lost to it in any case. If a path idles that is too slow for its class, the surplus takes that: late is better than never.
//
// The late ones are not numbered: they are delivered as they come, and the others do not wait for them. A QUIC sender has taken them for lost by then
// (RFC 9002 §6.1), as if they had been dropped, and its receiver takes whichever copy comes first; an RTP receiver discards what comes behind its
// playout, as if it had been dropped; a receiver with a buffer of a second has everything.
const (
	// deafWindow is how long arrivals and surplus are counted: many round trips of the near paths, so that an answer would show.
	deafWindow = time.Second
	// deafProof windows in a row make a flow deaf, deafLapse without surplus undo it. The end of a slow start, and a picture of a video, last one.
	deafProof = 3
	deafLapse = 3
	// deafShare of what arrives, and more, is surplus: refused, or sent late.
	deafShare = .01
	// deafFall: a sender that falls below this part of the rate that it had at first has answered. CUBIC goes to 0.7 (RFC 9438 §4.6).
	deafFall = .8
	// deafTimes the rate of a TCP of the same loss is what no flow has that answers as TCP does; CUBIC has up to twice that rate on short paths.
	deafTimes = 3
)

// hearing is what is known of how a flow answers. The zero value has heard nothing.
type hearing struct {
	since   time.Duration // start of the window
	arrived int           // bytes in it
	proof   int           // windows in a row that speak for deafness
	lapse   int           // that speak against it
	first   float64       // rate in the first of them, bytes/s
	deaf    bool
}

// due reports whether the next packet ends a window.
func (h *hearing) due(now time.Duration) bool { return now-h.since >= deafWindow }

// arrive notes a packet of size bytes. surplus is what was refused or sent late since the last window ended, bytes; it is taken over, and the rest is
// returned. rtt is the shortest round trip that the flow can have; it is needed at the end of a window only.
func (h *hearing) arrive(now time.Duration, size, surplus int, rtt time.Duration) int {
	switch lasted := now - h.since; {
	case lasted >= 2*deafWindow:
		*h = hearing{since: now} // a pause; or the first packet
		surplus = 0
	case lasted >= deafWindow:
		h.judge(float64(h.arrived)/lasted.Seconds(), float64(surplus)/float64(max(h.arrived, 1)), rtt)
		h.since, h.arrived, surplus = now, 0, 0
	}
	h.arrived += size
	return surplus
}

// judge looks at one window: the rate that came, bytes/s, and the share of it that was surplus.
func (h *hearing) judge(rate, share float64, rtt time.Duration) {
	if share < deafShare || rate < deafTimes*friendly(share, rtt) {
		h.proof = 0
		if h.lapse++; h.lapse >= deafLapse {
			h.deaf = false
		}
		return
	}
	h.lapse = 0
	if h.proof == 0 || rate < deafFall*h.first {
		h.proof, h.first, h.deaf = 0, rate, false
	}
	if h.proof++; h.proof >= deafProof {
		h.deaf = true
	}
}

// friendly is the rate of a TCP of full packets that sees this loss and round trip, bytes/s (Mathis et al. 1997).
func friendly(loss float64, rtt time.Duration) float64 {
	return math.Sqrt(1.5/loss) * maxPacket / max(rtt, timerGranularity).Seconds()
}

// pickLate chooses the path for the surplus of a deaf flow, whose class would not take it: the fastest that is ready, nil for none. What waits for
// less than half of what CoDel tolerates is no surplus: with that the near paths are kept busy.
func (b *Bond) pickLate(now time.Duration, f *flow, size int) *Path {
	if !f.hearing.deaf || f.q.len() == 0 || now-f.q.at(0).at < b.limits(now, f).target/2 {
		return nil
	}
	size += overhead
	minD := Never
	for _, p := range b.active {
		if d, _ := p.Delay(); p.mtu >= size {
			minD = min(minD, d)
		}
	}
	var chosen *Path
	chosenD := minD + spreadStream
	for _, p := range b.active {
		if d, _ := p.Delay(); p.ready(now, size) && p.mtu >= size && d-minD > spreadOrdered && d < chosenD {
			chosen, chosenD = p, d
		}
	}
	return chosen
}

// grantLate takes the next packet of f past CoDel, for a path beyond what its class takes.
func (b *Bond) grantLate(p *Path, f *flow) Grant {
	it := b.queue.take(f)
	f.granted++
	f.surplus += int(it.size)
	b.stats.SentLate++
	return Grant{Path: p, Handle: it.handle, Size: int(it.size)}
}
