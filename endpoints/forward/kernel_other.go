//go:build !linux

package forward

import (
	"fmt"
	"runtime"
)

// Apply always fails with ErrUnsupported.
func Apply(Config) error { return unsupported() }

// Remove always fails with ErrUnsupported.
func Remove(Config) error { return unsupported() }

func unsupported() error {
	return fmt.Errorf("%w: nftables is on Linux only, not on %s", ErrUnsupported, runtime.GOOS)
}
