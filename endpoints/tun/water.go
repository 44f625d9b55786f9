package tun

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/songgao/water"
)

// waterDevice is a TUN device opened by github.com/songgao/water: one packet per Read.
type waterDevice struct {
	counters
	ifce    *water.Interface
	control *control
	closed  atomic.Bool
	readMu  sync.Mutex
	writeMu sync.Mutex
}

func openWater(name string, opts Options) (Device, error) {
	cfg := water.Config{DeviceType: water.TUN}
	setWaterName(&cfg, name)
	ifce, err := water.New(cfg)
	if err != nil {
		return nil, err
	}
	d := &waterDevice{ifce: ifce}
	if d.control, err = newControl(ifce.Name()); err != nil {
		ifce.Close()
		return nil, err
	}
	if opts.MTU != 0 {
		if err := d.control.setMTU(opts.MTU); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// Read implements Device.
func (d *waterDevice) Read(ps []Packet) (int, error) {
	if len(ps) == 0 {
		return 0, nil
	}
	d.readMu.Lock()
	defer d.readMu.Unlock()
	for {
		p := &ps[0]
		n, err := d.ifce.Read(p.Data)
		if err != nil {
			return 0, d.ioError("read from", err)
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
		return 1, nil
	}
}

// Write implements Device.
func (d *waterDevice) Write(ps []Packet) (int, error) {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	for i := range ps {
		p := &ps[i]
		if _, ok := p.validate(); !ok {
			d.dropMalformed.Add(1)
			continue
		}
		if p.CsumStart != 0 {
			finishChecksum(p)
		}
		if _, err := d.ifce.Write(p.Data); err != nil {
			if d.closed.Load() || fatalWrite(err) {
				return i, d.ioError("write to", err)
			}
			d.dropRefused.Add(1)
			continue
		}
		d.writeCalls.Add(1)
		d.writePackets.Add(1)
	}
	return len(ps), nil
}

// Name implements Device.
func (d *waterDevice) Name() string { return d.ifce.Name() }

// MTU implements Device.
func (d *waterDevice) MTU() (int, error) { return d.control.mtu() }

// SetMTU implements Device.
func (d *waterDevice) SetMTU(mtu int) error { return d.control.setMTU(mtu) }

// BatchSize implements Device.
func (d *waterDevice) BatchSize() int { return 1 }

// Close implements Device.
func (d *waterDevice) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.control.close()
	return d.ifce.Close()
}

func (d *waterDevice) ioError(op string, err error) error {
	if d.closed.Load() || errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	return fmt.Errorf("%s interface %q: %w", op, d.Name(), err)
}
