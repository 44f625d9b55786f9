//go:build !linux

package intercept

import (
	"fmt"
	"net/netip"
	"runtime"
)

// Interceptor cannot be opened on this system.
type Interceptor struct{}

func unsupported() error {
	return fmt.Errorf("%w: transparent interception is on Linux only, not on %s", ErrUnsupported, runtime.GOOS)
}

// Open always fails with ErrUnsupported.
func Open(Config) (*Interceptor, error) { return nil, unsupported() }

// Sweep has nothing to remove.
func Sweep(Config) error { return nil }

// Restore always fails with ErrUnsupported.
func (*Interceptor) Restore() error { return unsupported() }

// Update always fails with ErrUnsupported.
func (*Interceptor) Update(Config) error { return unsupported() }

// Accept always fails with ErrUnsupported.
func (*Interceptor) Accept() (Connection, error) { return Connection{}, unsupported() }

// Refused always fails with ErrUnsupported.
func (*Interceptor) Refused(netip.AddrPort) error { return unsupported() }

// Unreachable always fails with ErrUnsupported.
func (*Interceptor) Unreachable(netip.AddrPort) error { return unsupported() }

// SetIPv6 always fails with ErrUnsupported.
func (*Interceptor) SetIPv6(bool) error { return unsupported() }

// Close does nothing.
func (*Interceptor) Close() error { return nil }
