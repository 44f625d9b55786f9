package wire

import "encoding/binary"

// MaxVarint is the largest number a varint can hold, 2^62-1 (RFC 9000, section
// 16).
const MaxVarint = 1<<62 - 1

// VarintLen returns how many bytes AppendVarint appends for v: 1, 2, 4 or 8. It
// panics when v is above MaxVarint.
func VarintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	case v <= MaxVarint:
		return 8
	}
	panic("wire: internal error: number too large for a varint")
}

// AppendVarint appends v to b in its shortest form. It panics when v is above
// MaxVarint.
func AppendVarint(b []byte, v uint64) []byte {
	switch VarintLen(v) {
	case 1:
		return append(b, byte(v))
	case 2:
		return binary.BigEndian.AppendUint16(b, uint16(v)|1<<14)
	case 4:
		return binary.BigEndian.AppendUint32(b, uint32(v)|2<<30)
	}
	return binary.BigEndian.AppendUint64(b, v|3<<62)
}

// ParseVarint reads a varint from the beginning of b and returns it with the
// number of bytes it took; that number is 0 when b is too short. Forms longer
// than necessary are accepted, as in RFC 9000.
func ParseVarint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, 0
	}
	switch n {
	case 1:
		return uint64(b[0]), 1
	case 2:
		return uint64(binary.BigEndian.Uint16(b) & (1<<14 - 1)), 2
	case 4:
		return uint64(binary.BigEndian.Uint32(b) & (1<<30 - 1)), 4
	}
	return binary.BigEndian.Uint64(b) & MaxVarint, 8
}
