package wire

import "encoding/binary"

// fields reads the fields of a frame body one after the other. After the first
// that is missing all are 0, and err is ErrShort.
type fields struct {
	rest []byte
	err  error
}

// take returns the next n bytes, or nil when they are not there.
func (f *fields) take(n int) []byte {
	if f.err != nil || len(f.rest) < n {
		f.rest, f.err = nil, ErrShort
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) uint8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) varint() uint64 {
	v, n := ParseVarint(f.rest)
	if n == 0 {
		f.rest, f.err = nil, ErrShort
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// end returns the error of the fields read so far, or ErrMalformed when bytes
// are left over.
func (f *fields) end() error {
	if f.err == nil && len(f.rest) != 0 {
		return ErrMalformed
	}
	return f.err
}
