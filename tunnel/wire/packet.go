package wire

import "encoding/binary"

// OrderedLen is how many bytes stand before the IP packet in the body of an
// ORDERED or NUMBERED frame.
const OrderedLen = 4

// AppendPacketHeader appends what stands before the IP packet, of packetLen
// bytes, in a PACKET or PACKET_PARTIAL frame. The packet is to follow. It
// panics for any other kind.
func AppendPacketHeader(b []byte, kind Kind, last bool, packetLen int) []byte {
	if kind != KindPacket && kind != KindPacketPartial {
		panic("wire: internal error: not a packet frame")
	}
	return AppendFrameHeader(b, kind, last, packetLen)
}

// AppendOrderedHeader appends what stands before the IP packet, of packetLen
// bytes, in an ORDERED or NUMBERED frame, partial or not. The packet is to follow. It
// panics for any other kind.
func AppendOrderedHeader(b []byte, kind Kind, last bool, flow, seq uint16, packetLen int) []byte {
	if kind != KindOrdered && kind != KindOrderedPartial && kind != KindNumbered && kind != KindNumberedPartial {
		panic("wire: internal error: not an ordered frame")
	}
	b = AppendFrameHeader(b, kind, last, OrderedLen+packetLen)
	b = binary.BigEndian.AppendUint16(b, flow)
	return binary.BigEndian.AppendUint16(b, seq)
}

// ParseOrdered splits the body of an ORDERED or NUMBERED frame, partial or not; packet
// aliases it. The only error is ErrShort; whether the packet is one is not
// looked at. (The body of a PACKET frame is the packet itself.)
func ParseOrdered(body []byte) (flow, seq uint16, packet []byte, err error) {
	f := fields{rest: body}
	flow, seq = f.uint16(), f.uint16()
	return flow, seq, f.rest, f.err
}

// Skip says that the packets From, From+1, ... (Count of them, modulo 2^16) of
// an ordered flow will not come.
type Skip struct{ Flow, From, Count uint16 }

const skipLen = 6

// AppendSkip appends a SKIP frame.
func AppendSkip(b []byte, last bool, s Skip) []byte {
	b = AppendFrameHeader(b, KindSkip, last, skipLen)
	b = binary.BigEndian.AppendUint16(b, s.Flow)
	b = binary.BigEndian.AppendUint16(b, s.From)
	return binary.BigEndian.AppendUint16(b, s.Count)
}

// ParseSkip reads the body of a SKIP frame. Errors: ErrShort, ErrMalformed.
func ParseSkip(body []byte) (Skip, error) {
	f := fields{rest: body}
	s := Skip{Flow: f.uint16(), From: f.uint16(), Count: f.uint16()}
	return s, f.end()
}
