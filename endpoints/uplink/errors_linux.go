package uplink

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// explain makes one sentence of an errno: what was to be done, why it failed,
// and what the user can do, typed where the cause is rights or a lacking feature.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s: %w (%w)", what, ErrRights, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%s: %w (%w)", what, ErrUnsupported, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// gone tells whether a removal failed because the thing, or its device, is not
// there any more.
func gone(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	var nf netlink.LinkNotFoundError
	return errors.As(err, &nf)
}
