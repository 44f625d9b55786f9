package scheduler

import (
	"slices"
	"time"
)

// When a path that lags far behind is worth less than it costs. The kernel's MPTCP gives each path its share by rate alone and never sends again by another
// what waits on a slow one, so that every burst on a satellite stops all others for as long as it takes: beside VDSL it made 21 to 35 of the 48 Mb/s
// that VDSL has alone. Beside ADSL, which has half the satellite's rate, it gained as much as it cost.
const (
	// holdLag is how much longer its round trip is than the shortest one.
	holdLag = 250 * time.Millisecond
	// holdShare is how many times its rate the others have together, at least. It is more than one because the rate of a satellite shows late.
	holdShare = 2
	// holdLooks is how many looks with traffic, a second apart or so, it takes to tell: BBR needs ten seconds to find a satellite's rate beside another path.
	holdLooks = 10
	// holdMoved is what makes a look one with traffic, in bytes/s of all paths together: 4 Mbit/s.
	holdMoved = 500e3
	// holdLeast is what is between two looks at least, for a rate to mean something.
	holdLeast = 500 * time.Millisecond
	// holdFor is when it is tried again: the others may have become slower, and the looks that it takes cost something.
	holdFor = 10 * time.Minute
)

// HeldPath is a path as Holdback sees it.
type HeldPath struct {
	Name  string
	RTT   time.Duration // without queues of our own; 0: unknown
	Rate  float64       // bytes/s, as the bond has measured it; 0: not
	Moved uint64        // bytes that the kernel has moved by it; it may also go down
}

// Holdback decides which paths the kernel's MPTCP gets for emergencies only, where it has to take all paths. The zero value holds back none.
type Holdback struct {
	seen  []heldPath
	looks int // with traffic
	last  time.Duration
	held  []string
	since time.Duration
}

type heldPath struct {
	name  string
	moved uint64
	peak  float64 // bytes/s
}

// Held tells whether a path is held back.
func (h *Holdback) Held(name string) bool { return slices.Contains(h.held, name) }

// Judge looks at the situation. It is to be called every second or so. Another set of paths begins it anew.
func (h *Holdback) Judge(now time.Duration, paths []HeldPath) {
	if !slices.EqualFunc(h.seen, paths, func(s heldPath, p HeldPath) bool { return s.name == p.Name }) || len(h.held) > 0 && now-h.since >= holdFor {
		*h = Holdback{last: now}
		for _, p := range paths {
			h.seen = append(h.seen, heldPath{name: p.Name, moved: p.Moved})
		}
		return
	}
	d := now - h.last
	if len(h.held) > 0 || d < holdLeast {
		return
	}
	h.last = now
	rates := make([]float64, len(paths))
	sum := 0.0
	for i, p := range paths {
		s := &h.seen[i]
		if p.Moved > s.moved {
			rates[i] = float64(p.Moved-s.moved) / d.Seconds()
		}
		s.moved = p.Moved
		sum += rates[i]
	}
	if sum < holdMoved {
		return
	}
	for i := range rates {
		h.seen[i].peak = max(h.seen[i].peak, rates[i])
	}
	if h.looks++; h.looks >= holdLooks {
		h.decide(now, paths)
	}
}

// decide holds back what lags, if it is not worth it.
func (h *Holdback) decide(now time.Duration, paths []HeldPath) {
	var quickest time.Duration
	for _, p := range paths {
		if p.RTT > 0 && (quickest == 0 || p.RTT < quickest) {
			quickest = p.RTT
		}
	}
	var near, far float64
	var lag []string
	for i, p := range paths {
		rate := max(h.seen[i].peak, p.Rate)
		if quickest > 0 && p.RTT > quickest+holdLag {
			far += rate
			lag = append(lag, p.Name)
		} else {
			near += rate
		}
	}
	if len(lag) > 0 && near >= holdShare*far {
		h.held, h.since = lag, now
	}
}
