package udp

import (
	"errors"
	"net"
	"syscall"
)

// IsMessageTooLong tells whether a datagram was refused because it does not fit the interface or the route (EMSGSIZE).
// The path is well; the datagram has to be smaller. With a segmented send the datagram named is the first one of its run.
func IsMessageTooLong(err error) bool { return errors.Is(err, syscall.EMSGSIZE) }

// pathDown are the errors that mean "not this way, now": the interface or the source address is gone, there is no
// route, or a filter forbids it. Sending another datagram the same way would fail the same way.
var pathDown = [...]error{
	syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL,
	syscall.EPERM, syscall.EACCES, syscall.ENODEV,
}

// IsPathDown tells whether the error of a write or of Listen means that the way out is gone, so that its path is to be suspected at once.
func IsPathDown(err error) bool {
	for _, e := range pathDown {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errClosed is what a closed socket answers.
var errClosed = net.ErrClosed
