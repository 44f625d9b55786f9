package udp

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received or sent
}

// mmsg calls recvmmsg or sendmmsg without waiting and returns how many messages were moved; 0 is never returned without an error. The runtime is not told:
// in a process that is mostly idle it would wake its monitor thread for each call, which costs more than the datagram.
func mmsg(call uintptr, fd uintptr, msgs []mmsghdr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
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
