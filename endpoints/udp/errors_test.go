package udp

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err        error
		long, down bool
	}{
		{nil, false, false},
		{net.ErrClosed, false, false},
		{errors.New("other"), false, false},
		{syscall.EMSGSIZE, true, false},
		{fmt.Errorf("send: %w", syscall.EMSGSIZE), true, false},
		{fmt.Errorf("send: %w", syscall.ENETUNREACH), false, true},
		{syscall.ENETDOWN, false, true},
		{syscall.EHOSTUNREACH, false, true},
		{syscall.ENODEV, false, true},
		{syscall.EADDRNOTAVAIL, false, true},
		{syscall.EPERM, false, true},
		{syscall.EACCES, false, true},
		{syscall.EINVAL, false, false},
		{syscall.ENOBUFS, false, false},
	} {
		if IsMessageTooLong(c.err) != c.long || IsPathDown(c.err) != c.down {
			t.Errorf("%v: too long %v, path down %v", c.err, IsMessageTooLong(c.err), IsPathDown(c.err))
		}
	}
}
