package tun

import "fmt"

func checkMTU(name string, mtu int) error {
	if mtu < minMTU || mtu > maxMTU {
		return fmt.Errorf("set MTU of interface %q: %d is out of range: use %d to %d", name, mtu, minMTU, maxMTU)
	}
	return nil
}
