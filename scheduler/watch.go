package scheduler

import "time"

// probeWatched is the time between the probes of a watched path: its silence is noticed within that and a round trip. It is 12 kbit/s.
const probeWatched = 50 * time.Millisecond

// Watch makes idle paths be probed densely, or no longer: somebody else sends by the same uplinks and has to know soon when one is dead.
func (b *Bond) Watch(now time.Duration, on bool) {
	for _, p := range b.paths {
		if p.watched == on {
			continue
		}
		p.watched = on
		if p.state == Up {
			p.probeAt = min(p.probeAt, now+p.probeIdleWait())
		}
	}
}
