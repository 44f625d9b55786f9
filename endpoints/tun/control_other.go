//go:build !linux && !darwin

package tun

import (
	"fmt"
	"net"
)

// control asks for the MTU through package net and cannot set it.
type control struct{ name string }

func newControl(name string) (*control, error) { return &control{name: name}, nil }

func (c *control) mtu() (int, error) {
	ifi, err := net.InterfaceByName(c.name)
	if err != nil {
		return 0, fmt.Errorf("read MTU of interface %q: %w", c.name, err)
	}
	return ifi.MTU, nil
}

func (c *control) setMTU(mtu int) error {
	if err := checkMTU(c.name, mtu); err != nil {
		return err
	}
	return fmt.Errorf("set MTU of interface %q to %d: %w: set it with the system's own tool", c.name, mtu, ErrUnsupported)
}

func (c *control) close() {}
