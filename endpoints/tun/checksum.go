package tun

import (
	"encoding/binary"
	"math/bits"
)

// sum16 is the folded, uncomplemented Internet checksum of b (RFC 1071), an odd last byte padded with zero.
func sum16(b []byte) uint16 {
	// Words are added as little-endian ones, 8 bytes at a time: the sum of swapped words is the swapped sum (RFC 1071 §2 B).
	var acc, carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[0:8]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:16]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:24]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:32]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(tail[:]), carry)
	}
	acc, carry = bits.Add64(acc, 0, carry)
	acc += carry
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return bits.ReverseBytes16(uint16(acc))
}

// add16 is the ones' complement sum of two folded sums.
func add16(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s) + uint16(s>>16)
}

// pseudoSum is the folded sum of the pseudo header for a transport part of length bytes (RFC 9293 §3.1, RFC 8200 §8.1).
// addrs are source and destination as they stand in the header.
func pseudoSum(addrs []byte, proto uint8, length int) uint16 {
	s := sum16(addrs)
	s = add16(s, uint16(proto))
	s = add16(s, uint16(length>>16))
	return add16(s, uint16(length))
}

// finishChecksum completes the transport checksum of a packet whose CsumStart and CsumOffset have been checked by validate.
func finishChecksum(p *Packet) {
	start, at := int(p.CsumStart), int(p.CsumStart)+int(p.CsumOffset)
	c := ^sum16(p.Data[start:])
	if c == 0 && p.CsumOffset == udpChecksumAt {
		c = 0xffff // 0 would mean "no checksum" (RFC 768)
	}
	binary.BigEndian.PutUint16(p.Data[at:], c)
	p.CsumStart, p.CsumOffset = 0, 0
}
