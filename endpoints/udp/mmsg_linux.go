package udp

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received or sent
}

// tellEvery is how often the runtime is told of a call that does not block. In a process that is mostly idle it wakes its monitor thread for each call
// it is told of, which costs more than a datagram. Goroutines that never wait need the monitor, though: it lets others run beside them, and looks at
// the network. So it is woken within 64 calls, which are a few milliseconds where that much is going on.
const tellEvery = 64

// calls counts those of all sockets.
var calls atomic.Uint32

// mmsg calls recvmmsg or sendmmsg without waiting and returns how many messages were moved; 0 is never returned without an error.
func mmsg(call uintptr, fd uintptr, msgs []mmsghdr) (int, error) {
	for {
		var n uintptr
		var errno syscall.Errno
		if calls.Add(1)%tellEvery == 0 {
			n, _, errno = unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		} else {
			n, _, errno = unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		}
		runtime.KeepAlive(msgs)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}
