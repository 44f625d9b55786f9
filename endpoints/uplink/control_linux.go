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
	return bind(c, u.Mark(), u.Interface(), "uplink "+u.Name)
}

// Control is Uplink.Control for datagrams that are to go into the exit's TUN device and nowhere else.
func (e ExitTUN) Control(_, _ string, c syscall.RawConn) error {
	return bind(c, e.Mark(), e.TUN, e.TUN)
}

func bind(c syscall.RawConn, mark uint32, device, what string) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark))); err == nil {
			err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device)
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return explain("bind a socket to "+what, err)
}
