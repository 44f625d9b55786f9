//go:build !linux

package mptcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("MPTCP is used on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Check tells that there is no support.
func Check() Support { return Support{Missing: unsupported().Error()} }

// Controls lists nothing.
func Controls() []string { return nil }

// Sysctls lists nothing.
func Sysctls() map[string]string { return nil }

// Dial always fails with errors.ErrUnsupported.
func Dial(context.Context, Options, netip.AddrPort) (*net.TCPConn, error) { return nil, unsupported() }

// Listen is a listener for plain TCP.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// SetCongestion does nothing.
func SetCongestion(net.Conn, string) {}

// Read always fails with ErrPlain.
func Read(*net.TCPConn) (Info, error) { return Info{}, ErrPlain }

// Manager cannot be opened on this system.
type Manager struct{}

// Open always fails with errors.ErrUnsupported.
func Open() (*Manager, error) { return nil, unsupported() }

// Raise always fails with errors.ErrUnsupported.
func (*Manager) Raise(bool) error { return unsupported() }

// Sync always fails with errors.ErrUnsupported.
func (*Manager) Sync([]Endpoint) error { return unsupported() }

// Fail always fails with errors.ErrUnsupported.
func (*Manager) Fail(Endpoint) error { return unsupported() }

// Close does nothing.
func (*Manager) Close() error { return nil }
