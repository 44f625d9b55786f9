package udp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlLen holds every control message a received datagram can bring: packet info, TOS or traffic class, segment size,
// drop count, each padded (at most 40 + 24 + 24 + 24), with room to spare. What is sent takes less.
const controlLen = 160

// cmsgHeader is the padded length of struct cmsghdr: size_t, int, int.
const cmsgHeader = (unix.SizeofPtr + 8 + unix.SizeofPtr - 1) &^ (unix.SizeofPtr - 1)

func cmsgAlign(n int) int { return (n + unix.SizeofPtr - 1) &^ (unix.SizeofPtr - 1) }

// arrival is what the control messages of one receive say.
type arrival struct {
	local   netip.Addr
	ecn     uint8
	segment int    // bytes per datagram of a run; 0: not a run
	drops   uint32 // receive buffer overflows of the socket so far
	hasDrop bool
}

// parseControl reads the control messages in b. Unknown ones and those cut short are passed over.
func parseControl(b []byte) (a arrival) {
	for len(b) >= cmsgHeader {
		n := 0
		if unix.SizeofPtr == 8 {
			n64 := binary.NativeEndian.Uint64(b)
			if n64 > uint64(len(b)) {
				return a
			}
			n = int(n64)
		} else {
			n32 := binary.NativeEndian.Uint32(b)
			if uint64(n32) > uint64(len(b)) {
				return a
			}
			n = int(n32)
		}
		if n < cmsgHeader {
			return a
		}
		level := int32(binary.NativeEndian.Uint32(b[unix.SizeofPtr:]))
		typ := int32(binary.NativeEndian.Uint32(b[unix.SizeofPtr+4:]))
		data := b[cmsgHeader:n]
		switch {
		case level == unix.SOL_IP && typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// ifindex, spec_dst (ours to answer from, also for broadcasts), addr
			a.local = netip.AddrFrom4([4]byte(data[4:8]))
		case level == unix.SOL_IPV6 && typ == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.local = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		case level == unix.SOL_IP && typ == unix.IP_TOS && len(data) >= 1:
			a.ecn = data[0] & 3
		case level == unix.SOL_IPV6 && typ == unix.IPV6_TCLASS && len(data) >= 4:
			a.ecn = uint8(binary.NativeEndian.Uint32(data)) & 3
		case level == unix.SOL_UDP && typ == unix.UDP_GRO && len(data) >= 4:
			a.segment = max(0, int(int32(binary.NativeEndian.Uint32(data))))
		case level == unix.SOL_SOCKET && typ == unix.SO_RXQ_OVFL && len(data) >= 4:
			a.drops, a.hasDrop = binary.NativeEndian.Uint32(data), true
		}
		b = b[min(cmsgAlign(n), len(b)):]
	}
	return a
}

// putCmsg writes one control message header at the front of b and returns its data part and what is left of b.
func putCmsg(b []byte, level, typ, size int) (data, rest []byte) {
	n := cmsgHeader + size
	if unix.SizeofPtr == 8 {
		binary.NativeEndian.PutUint64(b, uint64(n))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(n))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr:], uint32(level))
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr+4:], uint32(typ))
	data = b[cmsgHeader:n]
	clear(b[n:cmsgAlign(n)])
	return data, b[cmsgAlign(n):]
}

// putControl writes what a send has to say into b, which has controlLen bytes, and returns how many it took. v4 is about the peer,
// whatever the family of the socket; segment 0 is a single datagram.
func putControl(b []byte, v4 bool, local netip.Addr, ecn uint8, segment int) int {
	free := b
	var data []byte
	if local.IsValid() && !local.IsUnspecified() {
		if v4 && local.Unmap().Is4() {
			data, free = putCmsg(free, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
			a := local.Unmap().As4()
			clear(data)
			copy(data[4:8], a[:])
		} else {
			// Also for a source of the other family: the kernel refuses it as no address of ours.
			data, free = putCmsg(free, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
			a := local.As16()
			clear(data)
			copy(data, a[:])
		}
	}
	if ecn &= 3; ecn != 0 {
		if v4 {
			data, free = putCmsg(free, unix.SOL_IP, unix.IP_TOS, 4)
		} else {
			data, free = putCmsg(free, unix.SOL_IPV6, unix.IPV6_TCLASS, 4)
		}
		binary.NativeEndian.PutUint32(data, uint32(ecn))
	}
	if segment > 0 {
		data, free = putCmsg(free, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(segment))
	}
	return len(b) - len(free)
}
