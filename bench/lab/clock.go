package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// epoch ties this process's clock to CLOCK_MONOTONIC, which all processes of
// the lab share: instants from different hosts can be compared.
var epoch = func() (s struct {
	at   time.Time
	mono time.Duration
}) {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	s.at, s.mono = time.Now(), time.Duration(ts.Nano())
	return s
}()

// Now is CLOCK_MONOTONIC: the time base of every instant the lab reports.
func Now() time.Duration { return epoch.mono + time.Since(epoch.at) }

// exactTimers asks the kernel to end sleeps of the calling thread within a
// microsecond instead of the usual 50.
func exactTimers() { unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0) }

// sleepUntil sleeps to an instant of Now without the runtime's timers, which
// are served late when the process is busy. The caller holds a locked thread.
func sleepUntil(t time.Duration) {
	for {
		d := t - Now()
		if d <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(d))
		unix.Ppoll(nil, &ts, nil)
	}
}

// urgent gives the calling thread precedence over all ordinary threads, where
// that is allowed. Otherwise it asks for short slices, which the scheduler
// grants sooner (EEVDF, since Linux 6.12). With flags of SCHED_FLAG_RESET_ON_FORK
// new threads do not inherit it. A link does not wait for a busy processor, so
// neither may what stands for one.
func urgent(flags uint64) {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: flags}
	if unix.SchedSetAttr(0, &attr, 0) == nil {
		return
	}
	attr.Policy, attr.Priority = unix.SCHED_NORMAL, 0
	attr.Runtime = uint64(100 * time.Microsecond)
	unix.SchedSetAttr(0, &attr, 0) // older kernels ignore the slice
}

// lazy makes the calling thread run only when nothing else wants the processor.
func lazy() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
}
