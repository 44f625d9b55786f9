package wire

import "encoding/binary"

const (
	// Version is the version of the datagram header made and understood here.
	Version = 1
	// HeaderLen is the length of the clear header in bytes.
	HeaderLen = 8
	// MaxIndex is the largest session index; the smallest is 1.
	MaxIndex = 1<<24 - 1
	// MaxPN is the largest packet number: what a varint in an ACK can hold.
	MaxPN = MaxVarint

	pnMask   = 1<<24 - 1
	pnWindow = 1 << 24
)

// Header is the part of a datagram that is in the clear. Only an AEAD that
// opens makes it believable.
type Header struct {
	Epoch uint8  // low two bits of the key epoch
	Index uint32 // session index of the receiver, 1..MaxIndex
	Path  uint8
	PN    uint32 // low 24 bits; see ReconstructPN
}

// ParseHeader reads the header from the beginning of a datagram. Errors:
// ErrShort, ErrVersion, and ErrMalformed for a reserved bit that is set or for
// session index 0.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrShort
	}
	v := binary.BigEndian.Uint64(b)
	if v>>60 != Version {
		return Header{}, ErrVersion
	}
	h := Header{
		Epoch: uint8(v>>56) & 3,
		Index: uint32(v>>32) & MaxIndex,
		Path:  uint8(v >> 24),
		PN:    uint32(v) & pnMask,
	}
	if v>>58&3 != 0 || h.Index == 0 {
		return Header{}, ErrMalformed
	}
	return h, nil
}

// Put writes the header to the first HeaderLen bytes of b. Of Epoch the low two
// bits are used, of PN the low 24, so that the full numbers may be given. It
// panics when b is shorter, or when Index is 0 or above MaxIndex.
func (h Header) Put(b []byte) {
	if h.Index == 0 || h.Index > MaxIndex {
		panic("wire: internal error: session index out of range")
	}
	binary.BigEndian.PutUint64(b, Version<<60|uint64(h.Epoch&3)<<56|
		uint64(h.Index)<<32|uint64(h.Path)<<24|uint64(h.PN&pnMask))
}

// ReconstructPN returns the packet number nearest to expected whose low 24 bits
// are low24 (RFC 9000, A.3). Expected is one more than the highest number
// received on the path so far, 0 at first. The result is at most MaxPN.
func ReconstructPN(expected uint64, low24 uint32) uint64 {
	const half = pnWindow / 2
	expected = min(expected, MaxPN)
	pn := expected&^pnMask | uint64(low24&pnMask)
	switch {
	case pn+half <= expected && pn <= MaxPN-pnWindow:
		return pn + pnWindow
	case pn > expected+half && pn >= pnWindow:
		return pn - pnWindow
	}
	return pn
}
