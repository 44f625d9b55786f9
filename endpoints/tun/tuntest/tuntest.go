package tuntest

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/bondd/bondd/endpoints/tun"
)

// Depth is how many packets a Device holds in each direction.
const Depth = 4096

// Device is the fake. It implements tun.Device.
type Device struct {
	name    string
	mtu     atomic.Int64
	toRead  chan tun.Packet
	written chan tun.Packet
	closed  chan struct{}
	once    sync.Once
	hook    atomic.Pointer[func(tun.Packet) bool]

	readPackets, readCalls, writePackets, writeCalls atomic.Uint64
	dropTooLong, dropRefused                         atomic.Uint64
}

var _ tun.Device = (*Device)(nil)

// New makes a device with a name and an MTU in bytes.
func New(name string, mtu int) *Device {
	d := &Device{
		name:    name,
		toRead:  make(chan tun.Packet, Depth),
		written: make(chan tun.Packet, Depth),
		closed:  make(chan struct{}),
	}
	d.mtu.Store(int64(mtu))
	return d
}

// Inject makes the daemon read a copy of p. It waits while Depth packets are unread, and returns net.ErrClosed after Close.
// The size is not held against the MTU.
func (d *Device) Inject(p tun.Packet) error {
	p.Data = bytes.Clone(p.Data)
	select {
	case <-d.closed:
		return net.ErrClosed
	default:
	}
	select {
	case d.toRead <- p:
		return nil
	case <-d.closed:
		return net.ErrClosed
	}
}

// InjectBytes is Inject of a packet with finished checksums.
func (d *Device) InjectBytes(b []byte) error { return d.Inject(tun.Packet{Data: b}) }

// Written delivers copies of what the daemon wrote, in order. When Depth packets wait in it, further ones are dropped and
// counted as refused. It is never closed.
func (d *Device) Written() <-chan tun.Packet { return d.written }

// OnWrite passes every packet written to f first, in the writer's goroutine; f owns it. False keeps it from Written.
// Nil takes the hook away.
func (d *Device) OnWrite(f func(tun.Packet) bool) {
	if f == nil {
		d.hook.Store(nil)
		return
	}
	d.hook.Store(&f)
}

// Read implements tun.Device.
func (d *Device) Read(ps []tun.Packet) (int, error) {
	n := 0
	for n < len(ps) {
		var p tun.Packet
		if n == 0 {
			select {
			case <-d.closed:
				return 0, net.ErrClosed
			default:
			}
			select {
			case p = <-d.toRead:
			case <-d.closed:
				return 0, net.ErrClosed
			}
		} else {
			select {
			case p = <-d.toRead:
			default:
				d.readCalls.Add(1)
				return n, nil
			}
		}
		if len(p.Data) > len(ps[n].Data) {
			d.dropTooLong.Add(1)
			continue
		}
		ps[n].Data = ps[n].Data[:copy(ps[n].Data, p.Data)]
		ps[n].CsumStart, ps[n].CsumOffset, ps[n].Segment, ps[n].Headers = p.CsumStart, p.CsumOffset, p.Segment, p.Headers
		d.readPackets.Add(1)
		n++
	}
	d.readCalls.Add(1)
	return n, nil
}

// Write implements tun.Device. It never waits.
func (d *Device) Write(ps []tun.Packet) (int, error) {
	select {
	case <-d.closed:
		return 0, net.ErrClosed
	default:
	}
	d.writeCalls.Add(1)
	for _, p := range ps {
		p.Data = bytes.Clone(p.Data)
		d.writePackets.Add(1)
		if f := d.hook.Load(); f != nil && !(*f)(p) {
			continue
		}
		select {
		case d.written <- p:
		default:
			d.writePackets.Add(^uint64(0))
			d.dropRefused.Add(1)
		}
	}
	return len(ps), nil
}

// Name implements tun.Device.
func (d *Device) Name() string { return d.name }

// MTU implements tun.Device.
func (d *Device) MTU() (int, error) { return int(d.mtu.Load()), nil }

// SetMTU implements tun.Device.
func (d *Device) SetMTU(mtu int) error {
	if mtu < 68 || mtu > 65535 {
		return fmt.Errorf("set MTU of interface %q: %d is out of range: use 68 to 65535", d.name, mtu)
	}
	d.mtu.Store(int64(mtu))
	return nil
}

// BatchSize implements tun.Device.
func (d *Device) BatchSize() int { return 128 }

// Stats implements tun.Device.
func (d *Device) Stats() tun.Stats {
	return tun.Stats{
		ReadPackets:  d.readPackets.Load(),
		ReadCalls:    d.readCalls.Load(),
		WritePackets: d.writePackets.Load(),
		WriteCalls:   d.writeCalls.Load(),
		DropTooLong:  d.dropTooLong.Load(),
		DropRefused:  d.dropRefused.Load(),
	}
}

// Close implements tun.Device.
func (d *Device) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}
