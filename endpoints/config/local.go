package config

import (
	"fmt"
	"net/netip"
)

// localTo reads an address to listen on that is not one of the internet.
func localTo(to *[]netip.AddrPort) func(string) error {
	read := listenTo(to)
	return func(s string) error {
		if err := read(s); err != nil {
			return err
		}
		return checkLocal((*to)[len(*to)-1])
	}
}

// checkLocal holds an address to listen on to this machine and the networks behind it: what listens there asks nobody who they are, so it must
// not be reachable from the internet.
func checkLocal(a netip.AddrPort) error {
	switch ip := a.Addr(); {
	case !a.IsValid() || a.Port() == 0:
		return fmt.Errorf("%s is not an address to listen on; write \"127.0.0.1:8080\"", a)
	case ip.IsUnspecified():
		return fmt.Errorf("%s is every address of this machine, those of the uplinks too; write \"127.0.0.1:%d\" or the address in the LAN", a, a.Port())
	case !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast():
		return fmt.Errorf("%s is an address of the internet; write one of this machine's inside, like \"127.0.0.1:%d\" or \"192.168.1.1:%d\"", a, a.Port(), a.Port())
	}
	return nil
}

// local checks a list of addresses that are not for the internet, each of which is there once.
func (v *validator) local(field string, list []netip.AddrPort) {
	for i, a := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := checkLocal(a); err != nil {
			v.problem(at, "%s: %v", field, err)
			continue
		}
		for _, b := range list[:i] {
			if a == b {
				v.problem(at, "%s: %s is listed twice; remove one", field, a)
				break
			}
		}
	}
}
