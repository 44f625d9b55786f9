package tun

import (
	"errors"
	"os"
	"syscall"
)

// fatalWrite tells whether a write error is of the device and not of the one packet. An interface that is down answers
// EIO, which is no reason to end: it may come up again.
func fatalWrite(err error) bool {
	return gone(err) || errors.Is(err, syscall.EBADF) || errors.Is(err, os.ErrClosed)
}
