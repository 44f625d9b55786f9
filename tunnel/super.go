package tunnel

import (
	"encoding/binary"

	"github.com/bondd/bondd/tunnel/buf"
)

// A super-packet is TCP or UDP payload of many packets behind one header, as the kernel hands it over (TSO, USO): one read,
// one buffer, one look at its headers. It is cut where it goes into datagrams, piece by piece, and never before, so
// that a path takes as much of it as fits its pace. What goes on the wire are complete packets with unfinished
// checksums, like all others: a lost one costs itself only, and the far kernel finishes the sums of those it joins again.

const (
	tcpChecksumAt = 16 // offset of the checksum in a TCP header (RFC 9293 §3.1)
	udpChecksumAt = 6  // and in a UDP header (RFC 768)
	minTCP        = 20
	udpHeader     = 8

	tcpFlags = 13 // offset
	flagFIN  = 0x01
	flagPSH  = 0x08
	flagCWR  = 0x80
)

// soundSuper reports whether the fields of a super-packet agree with its headers, so that it can be cut.
func soundSuper(b *buf.Buf, x parsed) bool {
	start, headers := int(b.CsumStart), int(b.Headers)
	if start != x.l4 || x.fragment || headers >= b.Len() {
		return false
	}
	switch {
	case x.proto == protoTCP && b.CsumOffset == tcpChecksumAt:
		return start+minTCP <= b.Len() && headers == start+int(b.Bytes()[start+12]>>4)*4 && headers >= start+minTCP
	case x.proto == protoUDP && b.CsumOffset == udpChecksumAt:
		return headers == start+udpHeader
	}
	return false
}

// pieces is how many packets b stands for.
func pieces(b *buf.Buf) int {
	return (b.Len() - int(b.Headers) + int(b.Segment) - 1) / int(b.Segment)
}

// pieceLen is the length of the packet made of piece i.
func pieceLen(b *buf.Buf, i int) int {
	return int(b.Headers) + min(int(b.Segment), b.Len()-int(b.Headers)-i*int(b.Segment))
}

// appendCut appends the packet made of piece i, with its checksum unfinished.
func appendCut(dg []byte, b *buf.Buf, i int) []byte {
	super := b.Bytes()
	headers, start, at := int(b.Headers), int(b.CsumStart), len(dg)
	from := headers + i*int(b.Segment)
	to := min(from+int(b.Segment), len(super))
	dg = append(dg, super[:headers]...)
	dg = append(dg, super[from:to]...)
	p := dg[at:]
	if p[0]>>4 == 4 {
		// Length and identification change, and the header checksum with them (RFC 1624); a wrong one stays wrong.
		id := binary.BigEndian.Uint16(p[4:])
		sum := add16(^binary.BigEndian.Uint16(p[10:]), ^uint16(len(super)))
		sum = add16(add16(sum, uint16(len(p))), ^id)
		binary.BigEndian.PutUint16(p[10:], ^add16(sum, id+uint16(i)))
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], id+uint16(i))
	} else {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-minIPv6))
	}
	// The pseudo header sum has the length in it; whatever address a routing header made the kernel use stays.
	t := p[start:]
	field := t[b.CsumOffset:]
	sum := add16(binary.BigEndian.Uint16(field), ^uint16(len(super)-start))
	binary.BigEndian.PutUint16(field, add16(sum, uint16(len(t))))
	if b.CsumOffset == udpChecksumAt {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		return dg
	}
	binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(from-headers))
	if i > 0 {
		t[tcpFlags] &^= flagCWR // one answer per reaction (RFC 3168 §6.1.2)
	}
	if to < len(super) {
		t[tcpFlags] &^= flagFIN | flagPSH
	}
	return dg
}

// add16 is the ones' complement sum of two folded sums.
func add16(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s) + uint16(s>>16)
}
