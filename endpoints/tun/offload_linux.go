package tun

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload flags of linux/if_tun.h, what the reader of the device is ready to take.
const (
	tunCsum   = 0x01 // unfinished checksums
	tunTSO4   = 0x02 // TCP over IPv4 super-packets
	tunTSO6   = 0x04 // TCP over IPv6 super-packets
	tunTSOECN = 0x08 // also such whose first segment carries CWR
	tunUSO4   = 0x20 // UDP super-packets, Linux 6.2
	tunUSO6   = 0x40
)

// scratchLen holds the largest super-packet.
const scratchLen = maxSuper + 1

// tellEvery is how often the runtime is told of a call: a reader that finds something each time never waits, and then the runtime's monitor has to be awake, to
// let others run beside it and to look at the network.
const tellEvery = 64

// offload is a TUN device of our own with virtio headers. The splitter keeps what a Read had no room for.
type offload struct {
	*descriptor
	counters

	readMu   sync.Mutex
	scratch  []byte // the last packet read into too little room for a super-packet
	head     [virtioLen]byte
	readIov  [2]unix.Iovec
	reads    uint32 // calls of readv
	split    splitter
	read     []Packet
	readN    int
	readErr  error
	readStep func(fd uintptr) bool

	uso bool // the kernel gives and takes UDP super-packets

	writeMu   sync.Mutex
	write     []Packet // what the Write under way has left
	writeErr  error
	writeStep func(fd uintptr) bool
	single    int          // so many packets go down unjoined: the super-packet of them was refused
	headers   []byte       // virtio header and the headers of a super-packet
	iov       []unix.Iovec // of one system call
}

func openOffload(name string, opts Options) (Device, error) {
	uso := true
	fd, err := openDescriptor(name, unix.IFF_VNET_HDR, opts.MTU, func(fd int) error {
		const tcp = tunCsum | tunTSO4 | tunTSO6 | tunTSOECN
		err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|tunUSO4|tunUSO6)
		if err != nil {
			uso = false
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
		}
		if err != nil {
			return fmt.Errorf("set offloads of interface %q: %w", name, err)
		}
		// A device that existed may have been told another header length.
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, virtioLen); err != nil {
			return fmt.Errorf("set virtio header length of interface %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d := &offload{
		descriptor: fd,
		uso:        uso,
		scratch:    make([]byte, scratchLen),
		headers:    make([]byte, virtioLen+ipv6HeaderLen+15*4), // the longest TCP header is 15 words
		iov:        make([]unix.Iovec, 0, 1+maxRun),
	}
	d.readStep, d.writeStep = d.stepRead, d.stepWrite
	return d, nil
}

// Read implements Device. One system call's super-packet ends the batch; small packets are gathered while the kernel has more.
func (d *offload) Read(ps []Packet) (int, error) {
	if len(ps) == 0 {
		return 0, nil
	}
	d.readMu.Lock()
	defer d.readMu.Unlock()
	d.read, d.readN, d.readErr = ps, 0, nil
	d.drain()
	var err error
	if d.readN == 0 {
		err = d.raw.Read(d.readStep)
	}
	d.read = nil
	if d.readN > 0 {
		return d.readN, nil
	}
	if d.readErr != nil {
		err = d.readErr
	}
	if err != nil {
		return 0, d.ioError("read from", err)
	}
	return 0, nil
}

// drain cuts packets from the splitter into the batch while both last.
func (d *offload) drain() {
	for d.split.more && d.readN < len(d.read) {
		p := &d.read[d.readN]
		if d.split.size() > len(p.Data) {
			d.dropTooLong.Add(1)
			d.split.skip()
			continue
		}
		d.split.cut(p)
		d.readPackets.Add(1)
		d.readN++
	}
}

func (d *offload) stepRead(fd uintptr) bool {
	for d.readN < len(d.read) {
		p := &d.read[d.readN]
		room, whole := d.scratch, len(p.Data) >= SuperRoom
		if whole {
			room = p.Data
		}
		n, err := d.readv(fd, room)
		switch err {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return d.readN > 0
		default:
			d.readErr = err
			return true
		}
		d.readCalls.Add(1)
		if n < virtioLen {
			d.dropMalformed.Add(1)
			continue
		}
		v := parseVirtio(d.head[:])
		if !d.split.load(v, room[:n-virtioLen]) {
			d.dropMalformed.Add(1)
			continue
		}
		if whole {
			d.readPackets.Add(uint64(d.split.whole(p)))
			d.readN++
		} else {
			d.drain()
		}
		if d.readN > 0 && v.gsoType != virtioGSONone {
			return true
		}
	}
	return true
}

// readv reads one packet, its virtio header into d.head. The call never blocks, so the runtime need not know of it: it would wake its monitor
// each time, which costs more than a packet. Now and then it has to (tellEvery).
func (d *offload) readv(fd uintptr, room []byte) (int, syscall.Errno) {
	d.readIov[0].Base, d.readIov[1].Base = &d.head[0], &room[0]
	d.readIov[0].SetLen(virtioLen)
	d.readIov[1].SetLen(len(room))
	var n uintptr
	var errno syscall.Errno
	if d.reads++; d.reads%tellEvery == 0 {
		n, _, errno = unix.Syscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&d.readIov)), 2)
	} else {
		n, _, errno = unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&d.readIov)), 2)
	}
	d.readIov[1].Base = nil // holds no buffer of the caller's
	return int(n), errno
}

// Write implements Device.
func (d *offload) Write(ps []Packet) (int, error) {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	d.write, d.writeErr, d.single = ps, nil, 0
	err := d.raw.Write(d.writeStep)
	n := len(ps) - len(d.write)
	d.write = nil
	clear(d.iov[:cap(d.iov)]) // holds no buffer of the caller's
	if d.writeErr != nil {
		err = d.writeErr
	}
	if err != nil {
		return n, d.ioError("write to", err)
	}
	return n, nil
}

// stepWrite writes run by run until all is written; false asks the poller to wait for room.
func (d *offload) stepWrite(fd uintptr) bool {
	for len(d.write) > 0 {
		if _, ok := d.write[0].validate(); !ok {
			d.dropMalformed.Add(1)
			d.write = d.write[1:]
			continue
		}
		r := nextRun(d.write, d.uso)
		if d.single > 0 {
			r = run{packets: d.write[:1]}
		}
		err := d.writeRun(int(fd), &r)
		switch {
		case err == nil:
			d.writeCalls.Add(1)
			d.writePackets.Add(uint64(len(r.packets)))
		case err == unix.EAGAIN:
			return false
		case fatalWrite(err):
			d.writeErr = err
			return true
		case len(r.packets) > 1 && tooMuchAtOnce(err):
			d.single = len(r.packets)
			continue
		default:
			d.dropRefused.Add(uint64(len(r.packets)))
		}
		d.write = d.write[len(r.packets):]
		d.single = max(0, d.single-1)
	}
	return true
}

// tooMuchAtOnce tells whether a super-packet was refused for what it is, or for want of 64 KB at that moment: its packets
// one by one may still be welcome.
func tooMuchAtOnce(err error) bool {
	switch err {
	case unix.EINVAL, unix.EMSGSIZE, unix.ENOMEM, unix.ENOBUFS:
		return true
	}
	return false
}

// writeRun hands one run to the kernel, by a call that never blocks, as readv. A retry starts from the packets again, which are unchanged.
func (d *offload) writeRun(fd int, r *run) error {
	iov := d.iov[:0]
	if len(r.packets) == 1 {
		p := &r.packets[0]
		var v virtioHeader
		if p.CsumStart != 0 {
			v = virtioHeader{flags: virtioNeedsCsum, csumStart: p.CsumStart, csumOffset: p.CsumOffset}
		}
		v.put(d.headers)
		iov = appendIovec(iov, d.headers[:virtioLen])
		iov = appendIovec(iov, p.Data)
	} else {
		n := r.putHeaders(d.headers)
		iov = appendIovec(iov, d.headers[:n])
		for i := range r.packets {
			iov = appendIovec(iov, r.packets[i].Data[r.headers:])
		}
	}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}

// appendIovec adds b, which is not empty.
func appendIovec(iov []unix.Iovec, b []byte) []unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return append(iov, v)
}
