package uplink

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link looks the TUN up. What the state says of an earlier device of that name
// is forgotten: it went with the device.
func (s *System) link() (netlink.Link, error) {
	l, err := s.h.main.LinkByName(s.tun)
	if err != nil && !gone(err) {
		return nil, explain("look at device "+s.tun, err)
	}
	d := &s.state.Device
	if d.touched() && (err != nil || d.Ifindex != l.Attrs().Index) {
		*d = deviceState{}
		if serr := s.save(); serr != nil {
			return nil, serr
		}
	}
	if err == nil {
		d.Ifindex = l.Attrs().Index
	}
	return l, err
}

// currentDevice lists the TUN's link and addresses as far as we made them or
// they are wanted. What was there before us, and what others put there, is left
// alone.
func (s *System) currentDevice(want Plan) ([]Item, error) {
	link, err := s.link()
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := s.state.Device
	var items []Item
	for _, it := range want.Items {
		if l, ok := it.(Link); ok && l.Dev == s.tun && isUp(link) {
			if l.MTU != 0 {
				l.MTU = link.Attrs().MTU
			}
			items = append(items, l)
		}
	}
	if len(items) == 0 && (d.Up || d.MTU != 0) && !slices.ContainsFunc(want.Items, isLink) {
		items = append(items, Link{Dev: s.tun})
	}
	addrs, err := s.h.addressesOf(link)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		it := Address{Dev: s.tun, Prefix: a}
		if slices.Contains(d.Addrs, a) || slices.Contains(want.Items, Item(it)) {
			items = append(items, it)
		}
	}
	return items, nil
}

func isLink(it Item) bool { _, ok := it.(Link); return ok }

func isUp(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_UP != 0 }

func (s *System) addLink(l Link) error {
	link, err := s.link()
	if err != nil {
		return err
	}
	d := &s.state.Device
	if old := link.Attrs().MTU; l.MTU != 0 && old != l.MTU {
		if d.MTU == 0 {
			d.MTU = old
			if err := s.save(); err != nil {
				return err
			}
		}
		if err := s.h.main.LinkSetMTU(link, l.MTU); err != nil {
			return err
		}
	}
	if isUp(link) {
		return nil
	}
	d.Up = true
	if err := s.save(); err != nil {
		return err
	}
	return s.h.main.LinkSetUp(link)
}

// removeLink puts the device back to the state found; usually it is about to
// vanish with its last file descriptor, or has.
func (s *System) removeLink() error {
	link, err := s.link()
	d := &s.state.Device
	if err == nil && d.Up {
		err = s.h.main.LinkSetDown(link)
	}
	if err == nil && d.MTU != 0 {
		err = s.h.main.LinkSetMTU(link, d.MTU)
	}
	if err != nil && !gone(err) {
		return err
	}
	d.Up, d.MTU = false, 0
	return s.save()
}

func (s *System) addAddress(a Address) error {
	link, err := s.link()
	if err != nil {
		return err
	}
	if d := &s.state.Device; !slices.Contains(d.Addrs, a.Prefix) {
		d.Addrs = append(d.Addrs, a.Prefix)
		if err := s.save(); err != nil {
			return err
		}
	}
	return s.h.main.AddrReplace(link, toNetlinkAddr(a))
}

func (s *System) removeAddress(a Address) error {
	link, err := s.link()
	if err == nil {
		err = s.h.main.AddrDel(link, toNetlinkAddr(a))
	}
	if err != nil && !gone(err) {
		return err
	}
	d := &s.state.Device
	d.Addrs = slices.DeleteFunc(d.Addrs, func(p netip.Prefix) bool { return p == a.Prefix })
	return s.save()
}
