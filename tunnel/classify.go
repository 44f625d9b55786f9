package tunnel

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/bondd/bondd/scheduler"
)

// IP protocol numbers that matter here.
const (
	protoHopByHop = 0
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoDestOpts = 60
)

const (
	minIPv4 = 20
	minIPv6 = 40
)

// parsed is what the session wants to know of an inner IP packet.
type parsed struct {
	source   netip.Addr
	class    scheduler.Class
	key      scheduler.FlowKey
	ecn      uint8
	proto    uint8
	l4       int // offset of the transport header
	fragment bool
	data     bool   // a TCP segment with data
	seq      uint32 // of their first byte; valid with data
	length   int    // of them, bytes
}

// parsePacket looks at an IP packet. It reports false for what is not one, or not whole. seed keys the flow hash, so
// that a stranger cannot make flows collide.
func parsePacket(p []byte, seed uint64) (x parsed, ok bool) {
	if len(p) < minIPv4 {
		return x, false
	}
	var addrs []byte
	var total int
	switch p[0] >> 4 {
	case 4:
		ihl := int(p[0]&15) * 4
		total = int(binary.BigEndian.Uint16(p[2:]))
		if ihl < minIPv4 || total < ihl || total != len(p) {
			return x, false
		}
		x.ecn = p[1] & 3
		x.proto, x.l4 = p[9], ihl
		x.fragment = binary.BigEndian.Uint16(p[6:])&0x3fff != 0
		addrs = p[12:20]
		x.source = netip.AddrFrom4([4]byte(p[12:16]))
	case 6:
		if len(p) < minIPv6 {
			return x, false
		}
		total = minIPv6 + int(binary.BigEndian.Uint16(p[4:]))
		if total != len(p) {
			return x, false
		}
		x.ecn = p[1] >> 4 & 3
		addrs = p[8:40]
		x.source = netip.AddrFrom16([16]byte(p[8:24]))
		x.proto, x.l4, x.fragment = skipExtensions(p[:total])
	default:
		return x, false
	}
	h := seed ^ uint64(x.proto)
	for i := 0; i+8 <= len(addrs); i += 8 {
		h = mix(h, binary.LittleEndian.Uint64(addrs[i:]))
	}
	if !x.fragment && (x.proto == protoTCP || x.proto == protoUDP) && x.l4+4 <= total {
		h = mix(h, uint64(binary.LittleEndian.Uint32(p[x.l4:])))
	}
	if x.proto == protoTCP && !x.fragment {
		x.class = scheduler.Ordered
		x.data, x.seq, x.length = segmentData(p[x.l4:])
		if pureAck(p[x.l4:]) {
			// A flow of its own, which overtakes the data of the same direction.
			x.class = scheduler.Loose
			h = mix(h, 1)
		}
	}
	x.key = scheduler.FlowKey(mix(h, seed))
	return x, true
}

// segmentData says which data a TCP segment carries.
func segmentData(t []byte) (has bool, seq uint32, length int) {
	if len(t) < minTCP {
		return false, 0, 0
	}
	length = len(t) - int(t[12]>>4)*4
	return length > 0, binary.BigEndian.Uint32(t[4:]), length
}

// pureAck reports whether a TCP segment carries an acknowledgement and nothing else.
func pureAck(t []byte) bool {
	const (
		ack       = 0x10
		ecn       = 0xc0 // CWR, ECE
		minHeader = 20
	)
	return len(t) >= minHeader && len(t) == int(t[12]>>4)*4 && t[13]&^ecn == ack
}

// skipExtensions finds the transport header of an IPv6 packet (RFC 8200 §4).
func skipExtensions(p []byte) (proto uint8, off int, fragment bool) {
	proto, off = p[6], minIPv6
	for {
		switch proto {
		case protoHopByHop, protoRouting, protoDestOpts:
			if off+8 > len(p) {
				return proto, off, false
			}
			next := off + 8 + int(p[off+1])*8
			if next > len(p) {
				return proto, off, false
			}
			proto, off = p[off], next
		case protoFragment:
			return proto, off, true
		default:
			return proto, off, false
		}
	}
}

// mix folds v into h: the 128-bit product of both, each scattered by an odd constant (the golden ratio and the fraction
// of the square root of two), its halves added without carry.
func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, v^0x6a09e667f3bcc909)
	return hi ^ lo ^ bits.RotateLeft64(h, 23)
}

// markCE sets congestion-experienced in an ECN-capable packet, and mends the IPv4 header checksum (RFC 1624).
func markCE(p []byte) {
	switch p[0] >> 4 {
	case 4:
		old := binary.BigEndian.Uint16(p)
		p[1] |= 3
		sum := uint32(^binary.BigEndian.Uint16(p[10:])) + uint32(^old) + uint32(binary.BigEndian.Uint16(p))
		sum = sum&0xffff + sum>>16
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	case 6:
		p[1] |= 0x30
	}
}

// partialOffsets returns where the unfinished transport checksum of a packet begins and stands, for a packet that
// arrived as PARTIAL; false if it has none.
func partialOffsets(p []byte, x parsed) (start, offset uint16, ok bool) {
	switch {
	case x.fragment:
		return 0, 0, false
	case x.proto == protoTCP && x.l4+20 <= len(p):
		return uint16(x.l4), 16, true
	case x.proto == protoUDP && x.l4+8 <= len(p):
		return uint16(x.l4), 6, true
	}
	return 0, 0, false
}
