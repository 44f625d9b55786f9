package tun

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// control asks and sets what only a socket can: the MTU. The socket is made together with the device because it
// belongs to the network namespace of the thread that makes it.
type control struct {
	name string
	mu   sync.Mutex // holds the socket open while it is in use
	fd   int        // -1 after close
}

func newControl(name string) (*control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("make the control socket of interface %q: %w", name, err)
	}
	return &control{name: name, fd: fd}, nil
}

func (c *control) mtu() (int, error) {
	req, err := unix.NewIfreq(c.name)
	if err != nil {
		return 0, err
	}
	if err := c.ioctl(unix.SIOCGIFMTU, req); err != nil {
		return 0, fmt.Errorf("read MTU of interface %q: %w", c.name, err)
	}
	return int(req.Uint32()), nil
}

func (c *control) setMTU(mtu int) error {
	if err := checkMTU(c.name, mtu); err != nil {
		return err
	}
	req, err := unix.NewIfreq(c.name)
	if err != nil {
		return err
	}
	req.SetUint32(uint32(mtu))
	if err := c.ioctl(unix.SIOCSIFMTU, req); err != nil {
		return fmt.Errorf("set MTU of interface %q to %d: %w", c.name, mtu, err)
	}
	return nil
}

func (c *control) ioctl(op uint, req *unix.Ifreq) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return errClosed
	}
	return unix.IoctlIfreq(c.fd, op, req)
}

func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}
