package tun

import (
	"errors"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

var openers = map[Driver]opener{
	DriverOffload: openOffload,
	DriverPlain:   openPlain,
	DriverWater:   openWater,
}

// gone tells whether the interface was removed from the system.
func gone(err error) bool { return errors.Is(err, unix.EBADFD) }

func setWaterName(cfg *water.Config, name string) { cfg.Name = name }
