package lab

import (
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// spinMain keeps every processor awake with threads that run only when nothing
// else wants to. A halted virtual processor wakes up milliseconds late, which
// would show as delay and jitter of every emulated line.
func spinMain() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 1
	}
	runtime.GOMAXPROCS(set.Count() + 1) // one more, to see the end of standard input
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			go spin(cpu)
		}
	}
	untilEOF()
	os.Exit(0)
	return 0
}

// spin never ends; the process does.
func spin(cpu int) {
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(cpu)
	if unix.SchedSetaffinity(0, &one) != nil || lazy() != nil {
		return // at ordinary priority it would do harm
	}
	var never atomic.Bool
	for !never.Load() {
	}
}
