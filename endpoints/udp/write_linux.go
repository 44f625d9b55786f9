package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// sendSlots messages per system call.
	sendSlots = 64
	// sendParts datagrams per system call, over all its messages.
	sendParts = 256
	// maxSegments datagrams in a run: UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
	// maxRunBytes keeps a run with all headers below the 65535 bytes of an IP packet, extension headers included.
	maxRunBytes = 65000
)

// writer is the sending half of a socket.
type writer struct {
	s     *socket
	mu    sync.Mutex
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names [][sockaddrLen]byte
	ctrls [][controlLen]byte
	parts []int // datagrams in each message
	step  func(fd uintptr) bool
	now   func(fd uintptr) bool // step without waiting

	// Of the WriteBatch under way.
	ds     []Datagram // what is left
	err    error
	single int  // so many datagrams go out one by one: the run of them was refused
	doubt  bool // ... for a reason that may be the segmenting itself
}

func (w *writer) init(s *socket) {
	w.s = s
	w.msgs = make([]mmsghdr, sendSlots)
	w.iovs = make([]unix.Iovec, sendParts)
	w.names = make([][sockaddrLen]byte, sendSlots)
	w.ctrls = make([][controlLen]byte, sendSlots)
	w.parts = make([]int, sendSlots)
	w.step = w.send // made once: a closure per call would be an allocation per call
	w.now = func(fd uintptr) bool { w.send(fd); return true }
}

// WriteBatch implements Socket.
func (s *socket) WriteBatch(ds []Datagram) (int, error) { return s.write(ds, s.writer.step) }

// WriteNow implements Prompt.
func (s *socket) WriteNow(ds []Datagram) (int, error) { return s.write(ds, s.writer.now) }

func (s *socket) write(ds []Datagram, step func(fd uintptr) bool) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ds, w.err, w.single, w.doubt = ds, nil, 0, false
	err := s.raw.Write(step)
	n := len(ds) - len(w.ds)
	w.ds = nil
	clear(w.iovs) // holds no buffer of the caller's
	s.writeDatagrams.Add(uint64(n))
	switch {
	case w.err != nil:
		return n, w.err
	case err != nil:
		return n, s.waitError(err)
	}
	return n, nil
}

// send sends until all is sent or one is refused; false asks the poller to wait for room in the send buffer.
func (w *writer) send(fd uintptr) bool {
	for len(w.ds) > 0 {
		msgs, err := w.build()
		if len(msgs) == 0 {
			w.err = err
			return true
		}
		n, err := mmsg(unix.SYS_SENDMMSG, fd, msgs)
		switch {
		case err == unix.EAGAIN:
			return false
		case err != nil && w.parts[0] > 1:
			// It may be the run that is refused, or a datagram in it. Piece by piece will tell.
			w.single = w.parts[0]
			w.doubt = err == unix.EIO || err == unix.EINVAL
			continue
		case err != nil:
			w.err = w.s.sendError(&w.ds[0], err)
			return true
		}
		w.s.writeCalls.Add(1)
		for _, parts := range w.parts[:n] {
			w.ds = w.ds[parts:]
			if w.single > 0 {
				w.single--
			}
		}
		if w.doubt {
			// The same datagrams went out alone: this device or route cannot do runs (no checksum offload, IPsec).
			w.doubt = false
			w.s.gso.Store(false)
		}
	}
	return true
}

// build lays out messages for the front of w.ds. It returns none only with an error about the first datagram.
func (w *writer) build() ([]mmsghdr, error) {
	gso := w.s.gso.Load() && w.single == 0
	limit := len(w.ds)
	if w.single > 0 {
		limit = w.single
	}
	msgs, iovs, next := 0, 0, 0
	for next < limit && msgs < sendSlots && iovs < sendParts {
		first := &w.ds[next]
		parts := 1
		if gso {
			parts = runLength(w.ds[next:limit], min(maxSegments, sendParts-iovs))
		}
		namelen, err := putSockaddr(w.names[msgs][:], w.s.v6, first.Peer)
		if err != nil {
			return w.msgs[:msgs], err
		}
		segment := 0
		if parts > 1 {
			segment = len(first.Data)
		}
		v4 := first.Peer.Addr().Is4() || first.Peer.Addr().Is4In6()
		h := &w.msgs[msgs].hdr
		h.Name, h.Namelen = &w.names[msgs][0], uint32(namelen)
		h.Control, h.Iov = nil, &w.iovs[iovs]
		h.SetIovlen(parts)
		control := putControl(w.ctrls[msgs][:], v4, first.Local, first.ECN, segment)
		if control > 0 {
			h.Control = &w.ctrls[msgs][0]
		}
		h.SetControllen(control)
		for i := range parts {
			v := &w.iovs[iovs]
			v.Base = nil
			if data := w.ds[next+i].Data; len(data) > 0 {
				v.Base = &data[0]
			}
			v.SetLen(len(w.ds[next+i].Data))
			iovs++
		}
		w.parts[msgs] = parts
		next += parts
		msgs++
	}
	return w.msgs[:msgs], nil
}

// runLength is how many datagrams at the front of ds can leave as one segmented send: same way, same size, the last may be shorter.
func runLength(ds []Datagram, limit int) int {
	first := &ds[0]
	size := len(first.Data)
	if size == 0 {
		return 1
	}
	total, n := size, 1
	for n < min(len(ds), limit) {
		d := &ds[n]
		if len(d.Data) == 0 || len(d.Data) > size || total+len(d.Data) > maxRunBytes ||
			d.Peer != first.Peer || d.Local != first.Local || d.ECN != first.ECN {
			break
		}
		total += len(d.Data)
		n++
		if len(d.Data) < size {
			break
		}
	}
	return n
}

// sendError is the error of a refused datagram, classified for IsPathDown and IsMessageTooLong.
func (s *socket) sendError(d *Datagram, err error) error {
	if s.closed.Load() {
		return errClosed
	}
	if errors.Is(err, unix.EINVAL) && d.Local.IsValid() {
		// What Linux answers to a packet info with an address that is not, or no longer, ours.
		return &sourceError{local: d.Local, peer: d.Peer}
	}
	return fmt.Errorf("send %d bytes to %v: %w", len(d.Data), d.Peer, err)
}

func (s *socket) readError(err error) error {
	if s.closed.Load() {
		return errClosed
	}
	return fmt.Errorf("receive on %v: %w", s.local, err)
}

// sourceError says that the source address asked for cannot be used.
type sourceError struct {
	local netip.Addr
	peer  netip.AddrPort
}

func (e *sourceError) Error() string {
	return fmt.Sprintf("send to %v: the source address %v is not on this host", e.peer, e.local)
}

func (e *sourceError) Unwrap() error { return unix.EADDRNOTAVAIL }
