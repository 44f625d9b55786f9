package tun

import (
	"sync"

	"golang.org/x/sys/unix"
)

// plain is a TUN device of our own without virtio headers: one packet per system call, batched up as long as the kernel
// has packets ready.
type plain struct {
	*descriptor
	counters

	readMu   sync.Mutex
	read     []Packet // of the Read under way
	readN    int
	readErr  error
	readStep func(fd uintptr) bool

	writeMu   sync.Mutex
	write     []Packet // what the Write under way has left
	writeErr  error
	writeStep func(fd uintptr) bool
}

func openPlain(name string, opts Options) (Device, error) {
	fd, err := openDescriptor(name, 0, opts.MTU, nil)
	if err != nil {
		return nil, err
	}
	d := &plain{descriptor: fd}
	// Made once: a closure per call would be an allocation per call.
	d.readStep, d.writeStep = d.stepRead, d.stepWrite
	return d, nil
}

// Read implements Device.
func (d *plain) Read(ps []Packet) (int, error) {
	if len(ps) == 0 {
		return 0, nil
	}
	d.readMu.Lock()
	defer d.readMu.Unlock()
	d.read, d.readN, d.readErr = ps, 0, nil
	err := d.raw.Read(d.readStep)
	d.read = nil
	if d.readN > 0 {
		return d.readN, nil // an error comes again next time
	}
	if d.readErr != nil {
		err = d.readErr
	}
	if err != nil {
		return 0, d.ioError("read from", err)
	}
	return 0, nil
}

// stepRead reads until the batch is full or the kernel has no more; false asks the poller to wait.
func (d *plain) stepRead(fd uintptr) bool {
	for d.readN < len(d.read) {
		p := &d.read[d.readN]
		n, err := unix.Read(int(fd), p.Data)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return d.readN > 0
		default:
			d.readErr = err
			return true
		}
		d.readCalls.Add(1)
		size, verdict := checkRead(p.Data, n)
		switch verdict {
		case tooLong:
			d.dropTooLong.Add(1)
			continue
		case malformed:
			d.dropMalformed.Add(1)
			continue
		}
		p.Data = p.Data[:size]
		p.CsumStart, p.CsumOffset = 0, 0
		d.readPackets.Add(1)
		d.readN++
	}
	return true
}

// Write implements Device.
func (d *plain) Write(ps []Packet) (int, error) {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	d.write, d.writeErr = ps, nil
	err := d.raw.Write(d.writeStep)
	n := len(ps) - len(d.write)
	d.write = nil
	if d.writeErr != nil {
		err = d.writeErr
	}
	if err != nil {
		return n, d.ioError("write to", err)
	}
	return n, nil
}

// stepWrite writes until all is written; false asks the poller to wait for room.
func (d *plain) stepWrite(fd uintptr) bool {
	for len(d.write) > 0 {
		p := &d.write[0]
		if _, ok := p.validate(); !ok {
			d.dropMalformed.Add(1)
			d.write = d.write[1:]
			continue
		}
		if p.CsumStart != 0 {
			finishChecksum(p)
		}
		_, err := unix.Write(int(fd), p.Data)
		switch {
		case err == nil:
			d.writeCalls.Add(1)
			d.writePackets.Add(1)
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case fatalWrite(err):
			d.writeErr = err
			return true
		default:
			d.dropRefused.Add(1)
		}
		d.write = d.write[1:]
	}
	return true
}
