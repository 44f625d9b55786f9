package udp

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// groSlots receives per system call, each of up to 64 datagrams: a run of 64 KB is 0.5 ms at 1 Gbit/s, so 16 of them are more than
	// gathers while the engine is away, and they cost 1 MiB at most.
	groSlots = 16
	// groRoom holds the largest run.
	groRoom = RunRoom
	// plainSlots receives per system call where each is one datagram.
	plainSlots = 64
)

// reader is the receiving half of a socket.
type reader struct {
	s     *socket
	mu    sync.Mutex
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names [][sockaddrLen]byte
	ctrls [][controlLen]byte
	rooms [][]byte // one per slot with GRO, else nil: the kernel writes into the caller's room
	zones zoneNames
	step  func(fd uintptr) bool
	whole func(fd uintptr) bool // the step for rooms that take runs

	// Of the ReadBatch under way.
	ds  []Datagram
	n   int
	err error

	// With GRO: what the last system call brought and is not handed out yet.
	filled int // slots received
	slot   int // the one being cut
	run    run
	at     time.Time

	drops uint32 // last overflow count the kernel told
}

// run is a received run while it is being cut. more is also true for one empty datagram.
type run struct {
	peer    netip.AddrPort
	local   netip.Addr
	ecn     uint8
	segment int
	rest    []byte
	more    bool
}

func (r *reader) init(s *socket) {
	r.s = s
	slots := plainSlots
	if s.gro {
		slots = groSlots
	}
	r.msgs = make([]mmsghdr, slots)
	r.iovs = make([]unix.Iovec, slots)
	r.names = make([][sockaddrLen]byte, slots)
	r.ctrls = make([][controlLen]byte, slots)
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		h.Name, h.Iov, h.Control = &r.names[i][0], &r.iovs[i], &r.ctrls[i][0]
		h.SetIovlen(1)
	}
	// Made once: a closure per call would be an allocation per call.
	r.step, r.whole = r.stepPlain, r.stepWhole
	if s.gro {
		r.step = r.stepGRO
	}
}

// aim makes the kernel write the next datagram of a slot into room.
func (r *reader) aim(slot int, room []byte) {
	r.iovs[slot].Base = nil
	if len(room) > 0 {
		r.iovs[slot].Base = &room[0]
	}
	r.iovs[slot].SetLen(len(room))
}

// ReadBatch implements Socket.
func (s *socket) ReadBatch(ds []Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	r := &s.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ds, r.n, r.err = ds, 0, nil
	var err error
	if s.gro {
		r.drain()
	}
	if r.n == 0 {
		step := r.step
		if s.gro && roomForRuns(ds) {
			step = r.whole
		}
		err = s.raw.Read(step)
	}
	r.ds = nil
	s.readDatagrams.Add(uint64(count(ds[:r.n])))
	switch {
	case r.n > 0:
		return r.n, nil // an error comes again next time
	case r.err != nil:
		return 0, s.readError(r.err)
	case err != nil:
		return 0, s.waitError(err)
	}
	return 0, nil
}

// receive makes one system call with the first slots. done tells that the step is over, with ok as its result.
func (r *reader) receive(fd uintptr, slots int) (n int, done, ok bool) {
	for i := range r.msgs[:slots] {
		h := &r.msgs[i].hdr
		h.Namelen, h.Flags = sockaddrLen, 0
		h.SetControllen(controlLen)
	}
	n, err := mmsg(unix.SYS_RECVMMSG, fd, r.msgs[:slots])
	r.at = time.Now()
	switch {
	case err == unix.EAGAIN:
		return 0, true, false
	case err != nil:
		r.err = err
		return 0, true, true
	}
	r.s.readCalls.Add(1)
	return n, false, false
}

// origin reads where the datagram or run in a slot came from, and judges it.
func (r *reader) origin(slot int) (peer netip.AddrPort, a arrival, ok bool) {
	h := &r.msgs[slot].hdr
	a = parseControl(r.ctrls[slot][:min(int(h.Controllen), controlLen)])
	if a.hasDrop {
		r.s.kernelDrops.Add(uint64(a.drops - r.drops)) // the kernel's count wraps, the difference does not
		r.drops = a.drops
	}
	peer, ok = parseSockaddr(r.names[slot][:min(int(h.Namelen), sockaddrLen)], &r.zones)
	if !ok {
		r.s.dropMalformed.Add(1)
		return peer, a, false
	}
	if h.Flags&unix.MSG_TRUNC != 0 {
		r.s.dropTooLong.Add(1)
		return peer, a, false
	}
	return peer, a, true
}

// count is how many datagrams are in ds.
func count(ds []Datagram) (n int) {
	for i := range ds {
		n++
		if s := ds[i].Segment; s > 0 {
			n += (len(ds[i].Data) - 1) / s
		}
	}
	return n
}

func roomForRuns(ds []Datagram) bool {
	for i := range ds {
		if len(ds[i].Data) < RunRoom {
			return false
		}
	}
	return true
}

// stepWhole receives runs straight into the caller's rooms; false asks the poller to wait.
func (r *reader) stepWhole(fd uintptr) bool { return r.direct(fd, min(len(r.ds), groSlots)) }

// stepGRO receives runs into the socket's own rooms and cuts them into the batch; false asks the poller to wait.
func (r *reader) stepGRO(fd uintptr) bool {
	if r.rooms == nil {
		r.rooms = make([][]byte, groSlots)
		for i := range r.rooms {
			r.rooms[i] = make([]byte, groRoom)
		}
	}
	for i, room := range r.rooms {
		r.aim(i, room)
	}
	for r.n == 0 {
		n, done, ok := r.receive(fd, groSlots)
		if done {
			return ok
		}
		r.filled, r.slot = n, -1
		r.drain()
	}
	return true
}

// drain cuts received runs into the batch while both last.
func (r *reader) drain() {
	for r.n < len(r.ds) {
		if !r.run.more {
			if r.slot++; r.slot >= r.filled {
				r.slot, r.filled = 0, 0
				return
			}
			peer, a, ok := r.origin(r.slot)
			if !ok {
				continue
			}
			size := min(int(r.msgs[r.slot].len), groRoom)
			r.run = run{peer: peer, local: a.local, ecn: a.ecn, segment: a.segment, rest: r.rooms[r.slot][:size], more: true}
			if r.run.segment == 0 {
				r.run.segment = size
			}
		}
		size := min(r.run.segment, len(r.run.rest))
		part := r.run.rest[:size]
		r.run.rest = r.run.rest[size:]
		r.run.more = len(r.run.rest) > 0
		d := &r.ds[r.n]
		if size > len(d.Data) {
			r.s.dropTooLong.Add(1)
			continue
		}
		d.Data = d.Data[:copy(d.Data, part)]
		d.Peer, d.Local, d.ECN, d.Segment, d.At = r.run.peer, r.run.local, r.run.ecn, 0, r.at
		r.n++
	}
}

// stepPlain receives single datagrams straight into the caller's rooms; false asks the poller to wait.
func (r *reader) stepPlain(fd uintptr) bool { return r.direct(fd, min(len(r.ds), plainSlots)) }

// direct receives into so many of the caller's rooms.
func (r *reader) direct(fd uintptr, slots int) bool {
	for r.n == 0 {
		for i := range slots {
			r.aim(i, r.ds[i].Data)
		}
		n, done, ok := r.receive(fd, slots)
		for i := range slots {
			r.iovs[i].Base = nil // holds no buffer of the caller's
		}
		if done {
			return ok
		}
		for i := range n {
			peer, a, ok := r.origin(i)
			if !ok {
				continue
			}
			// A datagram behind a dropped one moves up; the rooms stay where the caller put them.
			from, to := &r.ds[i], &r.ds[r.n]
			size := min(int(r.msgs[i].len), len(from.Data))
			if r.n != i && size > len(to.Data) {
				r.s.dropTooLong.Add(1)
				continue
			}
			if r.n != i {
				copy(to.Data, from.Data[:size])
			}
			to.Data = to.Data[:size]
			to.Peer, to.Local, to.ECN, to.Segment, to.At = peer, a.local, a.ecn, 0, r.at
			if a.segment > 0 && a.segment < size {
				to.Segment = a.segment
			}
			r.n++
		}
	}
	return true
}

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
