package udp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// sockaddrLen holds struct sockaddr_in6, the larger of the two.
const sockaddrLen = unix.SizeofSockaddrInet6

// parseSockaddr reads what the kernel wrote as the peer of a datagram.
func parseSockaddr(b []byte, zones *zoneNames) (netip.AddrPort, bool) {
	if len(b) < 2 {
		return netip.AddrPort{}, false
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		if len(b) < unix.SizeofSockaddrInet4 {
			break
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), true
	case unix.AF_INET6:
		if len(b) < unix.SizeofSockaddrInet6 {
			break
		}
		a := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
		if scope := binary.NativeEndian.Uint32(b[24:]); scope != 0 && a.Is6() {
			a = a.WithZone(zones.name(scope))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[2:])), true
	}
	return netip.AddrPort{}, false
}

// putSockaddr writes a peer for a socket of the family given into b, which has sockaddrLen bytes, and returns how many it took.
func putSockaddr(b []byte, v6 bool, peer netip.AddrPort) (int, error) {
	a := peer.Addr()
	if !a.IsValid() {
		return 0, fmt.Errorf("send: the peer address is not set: %w", unix.EDESTADDRREQ)
	}
	if !v6 {
		if a = a.Unmap(); !a.Is4() {
			return 0, fmt.Errorf("send to %v: the socket is for IPv4 only: %w", peer, unix.EAFNOSUPPORT)
		}
		clear(b[:unix.SizeofSockaddrInet4])
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], peer.Port())
		a4 := a.As4()
		copy(b[4:], a4[:])
		return unix.SizeofSockaddrInet4, nil
	}
	clear(b[:unix.SizeofSockaddrInet6])
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], peer.Port())
	a16 := a.As16()
	copy(b[8:], a16[:])
	if zone := a.Zone(); zone != "" {
		scope, err := zoneIndex(zone)
		if err != nil {
			return 0, fmt.Errorf("send to %v: %w", peer, err)
		}
		binary.NativeEndian.PutUint32(b[24:], scope)
	}
	return unix.SizeofSockaddrInet6, nil
}

// zoneNames remembers the text of the zone last seen, so that a link-local peer costs no allocation per datagram.
type zoneNames struct {
	scope uint32
	text  string
}

// name is the interface index as text: an index needs no look-up, and names can change hands.
func (z *zoneNames) name(scope uint32) string {
	if z.scope != scope || z.text == "" {
		z.scope, z.text = scope, strconv.FormatUint(uint64(scope), 10)
	}
	return z.text
}

// zoneIndex is the interface index of a zone, given as a number or as a name. Names are looked up every time.
func zoneIndex(zone string) (uint32, error) {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("zone %q: %w", zone, unix.ENODEV)
	}
	return uint32(ifi.Index), nil
}
