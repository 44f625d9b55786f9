//go:build !linux

package tun

var openers = map[Driver]opener{
	DriverOffload: openUnsupported,
	DriverPlain:   openUnsupported,
	DriverWater:   openWater,
}

func openUnsupported(string, Options) (Device, error) { return nil, ErrUnsupported }

// gone tells whether the interface was removed from the system; here nothing says so.
func gone(error) bool { return false }
