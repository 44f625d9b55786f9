package tun

import "encoding/binary"

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20

	udpHeaderLen = 8

	protoTCP = 6
	protoUDP = 17

	tcpChecksumAt = 16 // offset of the checksum in a TCP header (RFC 9293 §3.1)
	udpChecksumAt = 6  // and in a UDP header (RFC 768)
)

// TCP flags, byte 13 of the header (RFC 9293 §3.1).
const (
	flagFIN = 0x01
	flagPSH = 0x08
	flagACK = 0x10
	flagECE = 0x40
	flagCWR = 0x80
)

// ipHeader is what the network header of a packet says.
type ipHeader struct {
	v6     bool
	len    int   // bytes of network header: IPv4 with options, IPv6 without extension headers
	total  int   // bytes of the whole packet
	proto  uint8 // IPv4 protocol, IPv6 next header
	pieces bool  // an IPv4 fragment
}

// parseIP reads the network header. ok is false for anything but a sound IPv4 or IPv6 header; total may exceed len(b).
func parseIP(b []byte) (h ipHeader, ok bool) {
	if len(b) == 0 {
		return h, false
	}
	switch b[0] >> 4 {
	case 4:
		if len(b) < ipv4HeaderLen {
			return h, false
		}
		h.len = int(b[0]&0x0f) * 4
		h.total = int(binary.BigEndian.Uint16(b[2:]))
		h.proto = b[9]
		h.pieces = binary.BigEndian.Uint16(b[6:])&0x3fff != 0 // more fragments, or an offset
		return h, h.len >= ipv4HeaderLen && h.len <= len(b) && h.total >= h.len
	case 6:
		if len(b) < ipv6HeaderLen {
			return h, false
		}
		h.v6 = true
		h.len = ipv6HeaderLen
		h.total = ipv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
		h.proto = b[6]
		return h, true
	}
	return h, false
}

// addrs is the source and destination address of a packet with header h.
func (h ipHeader) addrs(b []byte) []byte {
	if h.v6 {
		return b[8:40]
	}
	return b[12:20]
}

// setTotal writes the length of the whole packet, and for IPv4 the header checksum that depends on it.
func (h ipHeader) setTotal(b []byte, total int) {
	if h.v6 {
		binary.BigEndian.PutUint16(b[4:], uint16(total-ipv6HeaderLen))
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^sum16(b[:h.len]))
}

// validate checks a packet that is to be written: a sound header, not cut short, and checksum offsets inside it. It cuts
// off bytes behind the packet's own length.
func (p *Packet) validate() (ipHeader, bool) {
	h, ok := parseIP(p.Data)
	if !ok || h.total > len(p.Data) {
		return h, false
	}
	p.Data = p.Data[:h.total]
	return h, checkPartial(h, int(p.CsumStart), int(p.CsumOffset))
}

// checkPartial tells whether a checksum to be taken from start, and to be put at start+offset, stays behind the network header and
// inside the packet. 0, 0 is a finished one.
func checkPartial(h ipHeader, start, offset int) bool {
	if start == 0 && offset == 0 {
		return true
	}
	return start >= h.len && !h.pieces && start+offset+2 <= h.total
}

// The verdicts of checkRead.
type verdict uint8

const (
	sound verdict = iota
	tooLong
	malformed
)

// checkRead judges n bytes that a device without virtio headers read into room, and returns the packet's length. The kernel cuts a
// packet to the room without a word; the packet's own length tells.
func checkRead(room []byte, n int) (int, verdict) {
	h, ok := parseIP(room[:n])
	switch {
	case ok && h.total <= n:
		return h.total, sound
	case n == len(room) && (ok || n < ipv6HeaderLen):
		return 0, tooLong
	}
	return 0, malformed
}
