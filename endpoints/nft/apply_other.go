//go:build !linux

package nft

import (
	"fmt"
	"runtime"
)

// Apply always fails with ErrUnsupported.
func Apply(c Config) error { return unsupported(c) }

// Remove always fails with ErrUnsupported.
func Remove(c Config) error { return unsupported(c) }

func unsupported(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	return fmt.Errorf("%w: nftables is on Linux only, not on %s", ErrUnsupported, runtime.GOOS)
}
