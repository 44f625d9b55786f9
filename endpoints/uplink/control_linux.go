package uplink

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Control sets the uplink's mark and binds the socket to its interface, so that
// it leaves there whatever the routing rules say. It has the type of
// net.Dialer.Control and net.ListenConfig.Control. The mark needs
// CAP_NET_ADMIN; binding needs nothing on Linux 5.7 and later.
func (u Uplink) Control(_, _ string, c syscall.RawConn) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(int32(u.Mark()))); err == nil {
			err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, u.Interface())
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return explain("bind a socket to uplink "+u.Name, err)
}
