package tun

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// control asks and sets what only a socket can: the MTU.
type control struct {
	name string
	mu   sync.Mutex // holds the socket open while it is in use
	fd   int        // -1 after close
}

func newControl(name string) (*control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, fmt.Errorf("make the control socket of interface %q: %w", name, err)
	}
	unix.CloseOnExec(fd)
	return &control{name: name, fd: fd}, nil
}

func (c *control) mtu() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, errClosed
	}
	req, err := unix.IoctlGetIfreqMTU(c.fd, c.name)
	if err != nil {
		return 0, fmt.Errorf("read MTU of interface %q: %w", c.name, err)
	}
	return int(req.MTU), nil
}

func (c *control) setMTU(mtu int) error {
	if err := checkMTU(c.name, mtu); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return errClosed
	}
	req := unix.IfreqMTU{MTU: int32(mtu)}
	copy(req.Name[:len(req.Name)-1], c.name)
	if err := unix.IoctlSetIfreqMTU(c.fd, &req); err != nil {
		return fmt.Errorf("set MTU of interface %q to %d: %w", c.name, mtu, err)
	}
	return nil
}

func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}
