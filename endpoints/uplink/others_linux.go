package uplink

import (
	"maps"
	"slices"
)

// currentOthers lists link and addresses of the devices of exits. One that is not there has none.
func (s *System) currentOthers(want Plan) ([]Item, error) {
	for _, it := range want.Items {
		if l, ok := it.(Link); ok && l.Dev != s.tun {
			s.others[l.Dev] = true
		}
	}
	var items []Item
	for _, dev := range slices.Sorted(maps.Keys(s.others)) {
		link, err := s.h.main.LinkByName(dev)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, explain("look at device "+dev, err)
		}
		if isUp(link) {
			items = append(items, Link{Dev: dev})
		}
		addrs, err := s.h.addressesOf(link)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if !a.Addr().IsLinkLocalUnicast() {
				items = append(items, Address{Dev: dev, Prefix: a})
			}
		}
	}
	return items, nil
}

func (s *System) applyOtherLink(l Link, remove bool) error {
	link, err := s.h.main.LinkByName(l.Dev)
	switch {
	case err != nil && remove && gone(err):
		return nil
	case err != nil:
		return err
	case remove:
		return s.h.main.LinkSetDown(link)
	}
	return s.h.main.LinkSetUp(link)
}

// applyOtherAddress: with an address that goes, the kernel forgets the flows that were given it.
func (s *System) applyOtherAddress(a Address, remove bool) error {
	link, err := s.h.main.LinkByName(a.Dev)
	switch {
	case err != nil && remove && gone(err):
		return nil
	case err != nil:
		return err
	case !remove:
		return s.h.main.AddrReplace(link, toNetlinkAddr(a))
	}
	if err := s.h.main.AddrDel(link, toNetlinkAddr(a)); err != nil && !gone(err) {
		return err
	}
	return nil
}
