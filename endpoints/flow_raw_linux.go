package endpoints

import (
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/bondd/bondd/tunnel/buf"
)

// readInto fills rooms, one after the other, with what a socket has. The socket is in the runtime's poller, so the call never blocks, and the
// runtime need not know of it.
func readInto(fd int, rooms [][]byte) (int, error) {
	var iov [maxBlocks]syscall.Iovec
	for i, room := range rooms {
		iov[i].Base = &room[0]
		iov[i].SetLen(len(room))
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&iov)), uintptr(len(rooms)))
	runtime.KeepAlive(rooms)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// maxPieces bounds what one call writes, in buffers: UIO_MAXIOV.
const maxPieces = 1024

// newChainWriter writes a socket without a word to the runtime, as readInto.
func newChainWriter(c net.Conn) chainWriter {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			w := &rawWriter{raw: raw}
			w.try = w.attempt
			return w
		}
	}
	return &plainWriter{conn: c}
}

type rawWriter struct {
	raw  syscall.RawConn
	try  func(fd uintptr) bool // attempt, made once
	iov  []syscall.Iovec
	left []syscall.Iovec // what of iov is to be written
	err  error
}

// attempt writes as much as the socket takes. If that is not all, the runtime waits and calls again.
func (w *rawWriter) attempt(fd uintptr) bool {
	for len(w.left) > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.left[0])), uintptr(min(len(w.left), maxPieces)))
		switch errno {
		case 0:
			w.advance(int(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			w.err = os.NewSyscallError("writev", errno)
			return true
		}
	}
	return true
}

// advance notes that n bytes have been written.
func (w *rawWriter) advance(n int) {
	for n > 0 {
		v := &w.left[0]
		if size := int(v.Len); n < size {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
			v.SetLen(size - n)
			return
		}
		n -= int(v.Len)
		w.left = w.left[1:]
	}
}

// write implements chainWriter.
func (w *rawWriter) write(chain []*buf.Buf) (n int, err error) {
	w.iov, w.err = w.iov[:0], nil
	for _, b := range chain {
		if b.Len() == 0 {
			continue
		}
		v := syscall.Iovec{Base: &b.Bytes()[0]}
		v.SetLen(b.Len())
		w.iov = append(w.iov, v)
		n += b.Len()
	}
	w.left = w.iov
	err = w.raw.Write(w.try)
	w.left = nil
	clear(w.iov) // holds no buffer of the chain
	return n, errors.Join(err, w.err)
}
