package tun

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// clonePath is where the kernel hands out TUN descriptors.
const clonePath = "/dev/net/tun"

// descriptor is an attached, non-blocking TUN descriptor in the runtime's poller.
type descriptor struct {
	file    *os.File
	raw     syscall.RawConn
	name    string
	control *control
	closed  atomic.Bool
}

// openDescriptor attaches to name with the flags given beside IFF_TUN and IFF_NO_PI. setup, if there is one, runs on the attached descriptor.
func openDescriptor(name string, flags uint16, mtu int, setup func(fd int) error) (*descriptor, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
			hint = ": load the kernel module tun, or give the container this device"
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			hint = ": run as root, or give the user access to it"
		}
		return nil, fmt.Errorf("open %s: %w%s", clonePath, err, hint)
	}
	d, err := attach(fd, name, flags, mtu, setup)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	// Only an attached descriptor can be polled, so the file is made last; it owns fd from here.
	d.file = os.NewFile(uintptr(fd), clonePath)
	if d.raw, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		d.control.close()
		return nil, err
	}
	return d, nil
}

func attach(fd int, name string, flags uint16, mtu int, setup func(fd int) error) (*descriptor, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("interface name %q is too long: use at most %d bytes", name, unix.IFNAMSIZ-1)
	}
	want := unix.IFF_TUN | unix.IFF_NO_PI | flags
	req.SetUint16(want)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EPERM):
			hint = ": this needs CAP_NET_ADMIN in the network namespace, run as root"
		case errors.Is(err, unix.EBUSY):
			hint = ": another process holds it, stop that one or choose another name"
		case errors.Is(err, unix.EINVAL):
			hint = ": an interface of another kind has this name, or the kernel refuses the device flags"
		}
		return nil, fmt.Errorf("attach to interface %q: %w%s", name, err, hint)
	}
	// A device that existed keeps its own flags and the call succeeds all the same, so ask what we got.
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
		return nil, fmt.Errorf("read flags of interface %q: %w", name, err)
	}
	if got := req.Uint16(); got&want != want {
		return nil, fmt.Errorf("interface %q exists with flags %#x and does not take %#x: remove it with `ip link del`", req.Name(), got, want)
	}
	d := &descriptor{name: req.Name()}
	if setup != nil {
		if err := setup(fd); err != nil {
			return nil, err
		}
	}
	if d.control, err = newControl(d.name); err != nil {
		return nil, err
	}
	if mtu != 0 {
		if err := d.control.setMTU(mtu); err != nil {
			d.control.close()
			return nil, err
		}
	}
	return d, nil
}

// Name implements Device.
func (d *descriptor) Name() string { return d.name }

// MTU implements Device.
func (d *descriptor) MTU() (int, error) { return d.control.mtu() }

// SetMTU implements Device.
func (d *descriptor) SetMTU(mtu int) error { return d.control.setMTU(mtu) }

// BatchSize implements Device.
func (d *descriptor) BatchSize() int { return batchSize }

// Close implements Device.
func (d *descriptor) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.control.close()
	return d.file.Close()
}

// ioError gives the error of a finished wait or system call the form the caller sees.
func (d *descriptor) ioError(op string, err error) error {
	switch {
	case d.closed.Load(), errors.Is(err, os.ErrClosed):
		return errClosed
	case errors.Is(err, unix.EBADFD):
		return fmt.Errorf("%s interface %q: it was removed from the system: %w", op, d.name, err)
	}
	return fmt.Errorf("%s interface %q: %w", op, d.name, err)
}
