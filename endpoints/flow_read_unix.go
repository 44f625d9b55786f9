//go:build unix

package endpoints

import (
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
