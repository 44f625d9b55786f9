package endpoints

import (
	"math"
	"time"
)

// never is the deadline of something that wants no call.
const never = time.Duration(math.MaxInt64)

// clock is the origin of a node's time. All sessions of a node count from the same origin, so that an arrival that was
// stamped by a socket means the same to each.
type clock struct{ origin time.Time }

func newClock() clock { return clock{time.Now()} }

// now is the monotonic time since the origin.
func (c clock) now() time.Duration { return time.Since(c.origin) }

// at converts a stamp that was taken with time.Now.
func (c clock) at(t time.Time) time.Duration { return t.Sub(c.origin) }

// alarm is the one place where an engine sleeps. It belongs to one goroutine.
//
// The runtime rounds a wait of less than a millisecond up to about one when the process is idle. A finer alarm would
// go here, behind the same method.
type alarm struct{ timer *time.Timer }

// sleep waits for a wake, or until the deadline has come. It reads the clock for itself, because the turn before it took time.
func (a *alarm) sleep(c clock, deadline time.Duration, wake <-chan struct{}) {
	if deadline == never {
		<-wake
		return
	}
	wait := deadline - c.now()
	if wait <= 0 {
		return
	}
	if a.timer == nil {
		a.timer = time.NewTimer(wait)
	} else {
		a.timer.Reset(wait)
	}
	select {
	case <-wake:
		a.timer.Stop()
	case <-a.timer.C:
	}
}
