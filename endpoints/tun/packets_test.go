package tun

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// slowSum is the Internet checksum as RFC 1071 explains it, the oracle of sum16.
func slowSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i++ {
		if i%2 == 0 {
			s += uint32(b[i]) << 8
		} else {
			s += uint32(b[i])
		}
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// tcpSpec describes a TCP packet to be built.
type tcpSpec struct {
	src, dst netip.AddrPort
	seq      uint32
	flags    byte
	id       uint16
	options  []byte // a multiple of 4 bytes
	payload  []byte
}

var (
	end4a, end4b = netip.MustParseAddrPort("10.9.0.1:1111"), netip.MustParseAddrPort("10.9.0.2:2222")
	end6a, end6b = netip.MustParseAddrPort("[fd09::1]:1111"), netip.MustParseAddrPort("[fd09::2]:2222")
)

// network makes an IP header with room for size more bytes behind it.
func network(src, dst netip.Addr, proto byte, id uint16, size int) []byte {
	if src.Is4() {
		b := make([]byte, 20+size)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], id)
		b[6], b[8], b[9] = 0x40, 64, proto
		s, d := src.As4(), dst.As4()
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		binary.BigEndian.PutUint16(b[10:], ^slowSum(b[:20]))
		return b
	}
	b := make([]byte, 40+size)
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(size))
	b[6], b[7] = proto, 64
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return b
}

// slowPseudo is the pseudo header sum by the book.
func slowPseudo(src, dst netip.Addr, proto byte, length int) uint16 {
	b := append(src.AsSlice(), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	b = append(b, 0, 0, 0, proto)
	return slowSum(b)
}

// tcp builds the packet; partial leaves the checksum at the pseudo header sum.
func (s tcpSpec) build(partial bool) Packet {
	headers := 20 + len(s.options)
	b := network(s.src.Addr(), s.dst.Addr(), protoTCP, s.id, headers+len(s.payload))
	start := len(b) - headers - len(s.payload)
	t := b[start:]
	binary.BigEndian.PutUint16(t, s.src.Port())
	binary.BigEndian.PutUint16(t[2:], s.dst.Port())
	binary.BigEndian.PutUint32(t[4:], s.seq)
	binary.BigEndian.PutUint32(t[8:], 77)
	t[12] = byte(headers/4) << 4
	t[13] = s.flags
	binary.BigEndian.PutUint16(t[14:], 500)
	copy(t[20:], s.options)
	copy(t[headers:], s.payload)
	pseudo := slowPseudo(s.src.Addr(), s.dst.Addr(), protoTCP, len(t))
	binary.BigEndian.PutUint16(t[16:], pseudo)
	if partial {
		return Packet{Data: b, CsumStart: uint16(start), CsumOffset: tcpChecksumAt}
	}
	binary.BigEndian.PutUint16(t[16:], ^slowSum(t))
	return Packet{Data: b}
}

// udpPacket builds a UDP packet, partial as above.
func udpPacket(src, dst netip.AddrPort, payload []byte, partial bool) Packet {
	b := network(src.Addr(), dst.Addr(), 17, 1, 8+len(payload))
	start := len(b) - 8 - len(payload)
	u := b[start:]
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[8:], payload)
	binary.BigEndian.PutUint16(u[6:], slowPseudo(src.Addr(), dst.Addr(), 17, len(u)))
	if partial {
		return Packet{Data: b, CsumStart: uint16(start), CsumOffset: udpChecksumAt}
	}
	binary.BigEndian.PutUint16(u[6:], ^slowSum(u))
	return Packet{Data: b}
}

// goodChecksums tells whether the header checksum of an IPv4 packet and the transport checksum are right, the latter after it was
// finished on a copy.
func goodChecksums(p Packet) bool {
	p.Data = bytes.Clone(p.Data)
	h, ok := p.validate()
	if !ok {
		return false
	}
	if p.CsumStart != 0 {
		finishChecksum(&p)
	}
	if !h.v6 && slowSum(p.Data[:h.len]) != 0xffff {
		return false
	}
	src, dst := netip.Addr{}, netip.Addr{}
	if h.v6 {
		src, dst = netip.AddrFrom16([16]byte(p.Data[8:24])), netip.AddrFrom16([16]byte(p.Data[24:40]))
	} else {
		src, dst = netip.AddrFrom4([4]byte(p.Data[12:16])), netip.AddrFrom4([4]byte(p.Data[16:20]))
	}
	t := p.Data[h.len:]
	return add16(slowSum(t), slowPseudo(src, dst, h.proto, len(t))) == 0xffff
}
