package tun

import "encoding/binary"

// virtioLen is the length of the header before every packet of a device with IFF_VNET_HDR (virtio 1.2 §5.1.6, the
// legacy form without num_buffers, which is what Linux gives unless told otherwise).
const virtioLen = 10

const (
	virtioNeedsCsum = 1 // flags: the checksum at csumStart+csumOffset is unfinished

	virtioGSONone  = 0
	virtioGSOTCPv4 = 1
	virtioGSOTCPv6 = 4
	virtioGSOUDP   = 5    // USO, Linux 6.2
	virtioGSOECN   = 0x80 // added to the type: the first segment carries CWR
)

// virtioHeader says how a packet may be cut up and what is unfinished in it.
type virtioHeader struct {
	flags      uint8
	gsoType    uint8
	hdrLen     uint16 // bytes of all headers; a hint, not trusted on reading
	gsoSize    uint16 // bytes of payload per segment
	csumStart  uint16
	csumOffset uint16
}

// parseVirtio reads the header; b has at least virtioLen bytes. The kernel uses its own byte order.
func parseVirtio(b []byte) virtioHeader {
	return virtioHeader{
		flags:      b[0],
		gsoType:    b[1],
		hdrLen:     binary.NativeEndian.Uint16(b[2:]),
		gsoSize:    binary.NativeEndian.Uint16(b[4:]),
		csumStart:  binary.NativeEndian.Uint16(b[6:]),
		csumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// put writes the header into the first virtioLen bytes of b.
func (h virtioHeader) put(b []byte) {
	b[0], b[1] = h.flags, h.gsoType
	binary.NativeEndian.PutUint16(b[2:], h.hdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.gsoSize)
	binary.NativeEndian.PutUint16(b[6:], h.csumStart)
	binary.NativeEndian.PutUint16(b[8:], h.csumOffset)
}
