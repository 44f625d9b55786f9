package intercept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A client that is gone is found by keep-alive: in five minutes, with little
// work for a telephone's radio in between.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Minute, Interval: time.Minute, Count: 3}

// listen opens the listener of one family in the network namespace of the
// calling thread.
func listen(v6 bool, port uint16) (*net.TCPListener, error) {
	network, at := "tcp4", netip.AddrPortFrom(loopback(v6), port)
	if v6 {
		network = "tcp6"
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = prepare(int(fd), v6) }); cerr != nil {
			return cerr
		}
		return err
	}}
	// A connection of the LAN stays on the LAN: more than one way there is not
	// to be used, and plain TCP shows refusals and resets as they are.
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), network, at.String())
	switch {
	case err == nil:
		return l.(*net.TCPListener), nil
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("intercept: listen on %s: %w (%w)", at, ErrBusy, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("intercept: listen on %s: %w (%w)", at, ErrRights, err)
	case errors.Is(err, unix.ENOPROTOOPT):
		return nil, fmt.Errorf("intercept: listen on %s: %w: transparent sockets (%w)", at, ErrUnsupported, err)
	}
	return nil, fmt.Errorf("intercept: listen on %s: %w", at, err)
}

// prepare lets the socket take connections to addresses that are not ours.
func prepare(fd int, v6 bool) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if v6 {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return fmt.Errorf("make the socket transparent: %w", err)
	}
	mark := MarkSocket // a variable: its int is negative where int has 32 bits
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("mark the socket: %w", err)
	}
	return nil
}
