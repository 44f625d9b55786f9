package wire

import "errors"

// Reasons to refuse a datagram or a frame. They carry no detail: whoever drops
// the datagram counts them.
var (
	// ErrShort says that the input ends before the format does.
	ErrShort = errors.New("wire: input is too short")
	// ErrVersion says that the datagram has another version of the header.
	ErrVersion = errors.New("wire: unknown datagram version")
	// ErrMalformed says that a field has a value the format does not allow, or
	// that bytes are left over behind the last field.
	ErrMalformed = errors.New("wire: malformed")
)
