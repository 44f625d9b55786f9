package cc

import "time"

// lap is what one round trip showed.
type lap struct {
	rate     float64       // bytes/s that came through
	queue    time.Duration // mean
	low      time.Duration // smallest queue
	trip     time.Duration // mean round trip, which knows no base that could move
	inflight float64       // mean, bytes
	lossy    bool          // more than doubtful was lost
}

// laps gathers round trips; the newest finished one comes first.
type laps struct {
	past [4]lap

	open         bool
	start        time.Duration
	got, lost    int
	queue, low   time.Duration
	inflight     float64
	trip         time.Duration
	samples, rtt int
}

// add files one acknowledgement and reports whether it closed a lap.
func (l *laps) add(now time.Duration, a Ack, queue time.Duration, known, round bool) bool {
	if known {
		l.queue += queue
		l.low = min(l.low, queue)
		l.inflight += float64(a.Inflight + a.Delivered)
		l.samples++
	}
	if a.RTT > 0 {
		l.trip += a.RTT
		l.rtt++
	}
	l.got += a.Delivered
	l.lost += a.Lost
	done := l.open && round && l.samples > 0 && l.rtt > 0 && now > l.start
	if done {
		copy(l.past[1:], l.past[:len(l.past)-1])
		l.past[0] = lap{
			rate:     float64(l.got) / (now - l.start).Seconds(),
			queue:    l.queue / time.Duration(l.samples),
			low:      l.low,
			trip:     l.trip / time.Duration(l.rtt),
			inflight: l.inflight / float64(l.samples),
			lossy:    float64(l.lost) > doubtful*float64(l.lost+l.got),
		}
	}
	if done || !l.open {
		*l = laps{past: l.past, open: true, start: now, low: never}
	}
	return done
}
