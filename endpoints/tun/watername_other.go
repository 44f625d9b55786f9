//go:build !linux && !darwin

package tun

import "github.com/songgao/water"

// setWaterName does nothing: water cannot choose the name here.
func setWaterName(*water.Config, string) {}
