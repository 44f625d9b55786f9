package tun

import (
	"strings"

	"github.com/songgao/water"
)

// setWaterName asks for a certain utunN. This system knows no other names, so any other lets it choose.
func setWaterName(cfg *water.Config, name string) {
	if strings.HasPrefix(name, "utun") {
		cfg.Name = name
	}
}
