//go:build unix

package endpoints

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// newBlockReader reads a socket with no memory set aside while there is nothing to read.
func newBlockReader(c net.Conn) blockReader {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			r := &rawReader{raw: raw}
			r.try = r.attempt
			return r
		}
	}
	return &plainReader{conn: c}
}

type rawReader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // attempt, made once

	block *[maxBlock]byte
	n     int
	err   error
}

// attempt reads if there is something; if not, the runtime waits and calls again.
func (r *rawReader) attempt(fd uintptr) bool {
	b := blocks.Get().(*[maxBlock]byte)
	for {
		n, err := syscall.Read(int(fd), b[:])
		switch err {
		case nil:
			r.block, r.n, r.err = b, n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			blocks.Put(b)
			return false
		default:
			blocks.Put(b)
			r.err = os.NewSyscallError("read", err)
		}
		return true
	}
}

func (r *rawReader) read() ([]byte, error) {
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	b := r.block
	r.block = nil
	if r.n == 0 {
		blocks.Put(b)
		return nil, io.EOF
	}
	return keep(b, r.n), nil
}

// watch waits for the connection to break. The kernel wakes who waits to read, and its keep-alives find a client that has vanished.
func (r *rawReader) watch() error {
	var broke error
	err := r.raw.Read(func(fd uintptr) bool {
		code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		switch {
		case err != nil:
			broke = os.NewSyscallError("getsockopt", err)
		case code != 0:
			broke = syscall.Errno(code)
		}
		return broke != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return errors.Join(err, broke)
}
