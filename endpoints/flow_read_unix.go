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
	raw  syscall.RawConn
	try  func(fd uintptr) bool // attempt, made once
	want int                   // blocks of the next read: more than one only where the last read filled all it had

	rooms [maxBlocks][]byte // of one attempt
	most  int               // of the read under way
	n     int
	err   error
}

// attempt reads if there is something; if not, the runtime waits and calls again. It takes memory for as long as there is something in it.
func (r *rawReader) attempt(fd uintptr) bool {
	rooms := r.rooms[:max(1, min(r.want, r.most))]
	for i := range rooms {
		rooms[i] = blocks.Get().(*[maxBlock]byte)[:]
	}
	for {
		n, err := readInto(int(fd), rooms)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			r.n = 0
			freeBlocks(rooms)
			if err == syscall.EAGAIN {
				return false
			}
			r.err = os.NewSyscallError("read", err)
		default:
			r.n = n
			used := (n + maxBlock - 1) / maxBlock
			freeBlocks(rooms[used:])
			r.want = max(1, used)
			if n == len(rooms)*maxBlock {
				r.want = maxBlocks
			}
		}
		return true
	}
}

// freeBlocks gives back whole blocks.
func freeBlocks(rooms [][]byte) {
	for i := range rooms {
		reuse(rooms[i])
		rooms[i] = nil
	}
}

func (r *rawReader) read(most int) ([][]byte, error) {
	r.most = most
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	switch {
	case r.err != nil:
		return nil, r.err
	case r.n == 0:
		return nil, io.EOF
	}
	last := (r.n - 1) / maxBlock
	r.rooms[last] = keep((*[maxBlock]byte)(r.rooms[last]), r.n-last*maxBlock, last > 0)
	return r.rooms[:last+1], nil
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
