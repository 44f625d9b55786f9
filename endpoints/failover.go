package endpoints

import "time"

const (
	// settleTime is how long another exit has to answer before it takes over: when the uplinks were what was dead, all exits come back
	// within a moment, and the one in use shall be among them.
	settleTime = 2 * time.Second
	// calmFirst is how long a better exit has to answer before it is used again: each change costs every connection that does not end by
	// itself. It doubles, up to calmLast, each time the exit fails within relapseTime of its return.
	calmFirst   = time.Minute
	calmLast    = time.Hour
	relapseTime = 15 * time.Minute
)

// failover decides by which of several exits everything leaves. They are numbered in the order in which they are preferred. It is a pure machine:
// see is called once per healthTick, and when an exit has come or gone.
type failover struct {
	after   []time.Duration // how long each may be out of reach
	current int
	reach   int // the exits up to this one shall have a session

	wellAt []time.Duration // since when each answers
	well   []bool
	downAt time.Duration // since when the current one does not answer; meaningful if down
	down   bool

	calm       time.Duration // what a better one has to last now
	returnedAt time.Duration // when a better one was used again; meaningful if returned
	returned   bool
}

func newFailover(after []time.Duration) failover {
	return failover{after: after, wellAt: make([]time.Duration, len(after)), well: make([]bool, len(after)), calm: calmFirst}
}

// see takes which exits answer, and whether any uplink could reach one; while none could, no exit is to blame. It tells whether current has changed.
func (f *failover) see(now time.Duration, linked bool, up []bool) (moved bool) {
	for i := range up {
		if up[i] && !f.well[i] {
			f.wellAt[i] = now
		}
		f.well[i] = up[i]
	}
	if up[f.current] {
		f.down, f.reach = false, f.current
		if i := f.lasting(now, f.current, f.calm); i >= 0 {
			f.returned, f.returnedAt = true, now
			f.use(i)
			return true
		}
		return false
	}
	if !f.down || !linked {
		f.down, f.downAt = true, now
	}
	silent, after := now-f.downAt, f.after[f.current]
	if silent < after {
		return false
	}
	// One more is tried each time that much has passed.
	f.reach = min(len(up)-1, f.current+int(silent/after))
	i := f.lasting(now, len(up), settleTime)
	if i < 0 {
		return false
	}
	if f.returned && now-f.returnedAt < relapseTime {
		f.calm = min(2*f.calm, calmLast)
	} else {
		f.calm = calmFirst
	}
	f.returned = false
	f.use(i)
	return true
}

// lasting is the first exit before end that answers and has done so for the given time; -1 if there is none.
func (f *failover) lasting(now time.Duration, end int, least time.Duration) int {
	for i := range end {
		if f.well[i] && now-f.wellAt[i] >= least {
			return i
		}
	}
	return -1
}

func (f *failover) use(i int) { f.current, f.reach, f.down = i, i, false }
