package wire

// Kind says what a frame is. Kinds this version does not name are skipped.
type Kind uint8

// The kinds of frames; doc.go draws them.
const (
	KindPadding         Kind = 0
	KindPing            Kind = 1
	KindAck             Kind = 2
	KindPacket          Kind = 3
	KindPacketPartial   Kind = 4
	KindOrdered         Kind = 5
	KindOrderedPartial  Kind = 6
	KindSkip            Kind = 7
	KindChallenge       Kind = 8
	KindResponse        Kind = 9
	KindPathStatus      Kind = 10
	KindClose           Kind = 11
	KindMTUInfo         Kind = 12
	KindNumbered        Kind = 13
	KindNumberedPartial Kind = 14
	KindPathCap         Kind = 15

	KindStream    Kind = 16
	KindStreamFin Kind = 17
	KindOpen      Kind = 18
	KindWindow    Kind = 19
	KindReset     Kind = 20
	KindConnected Kind = 21

	// MaxKind is the largest kind the frame header can hold.
	MaxKind Kind = 127
)

// lastBit in the first byte of a frame says that its body runs to the end of
// the payload.
const lastBit = 0x80

var kindNames = [...]string{
	KindPadding:         "PADDING",
	KindPing:            "PING",
	KindAck:             "ACK",
	KindPacket:          "PACKET",
	KindPacketPartial:   "PACKET_PARTIAL",
	KindOrdered:         "ORDERED",
	KindOrderedPartial:  "ORDERED_PARTIAL",
	KindSkip:            "SKIP",
	KindChallenge:       "CHALLENGE",
	KindResponse:        "RESPONSE",
	KindPathStatus:      "PATH_STATUS",
	KindClose:           "CLOSE",
	KindMTUInfo:         "MTU_INFO",
	KindNumbered:        "NUMBERED",
	KindNumberedPartial: "NUMBERED_PARTIAL",
	KindPathCap:         "PATH_CAP",
	KindStream:          "STREAM",
	KindStreamFin:       "STREAM_FIN",
	KindOpen:            "OPEN",
	KindWindow:          "WINDOW",
	KindReset:           "RESET",
	KindConnected:       "CONNECTED",
}

// String returns the name of the kind as in doc.go.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "UNKNOWN"
}

// AckEliciting reports whether a datagram with such a frame is to be
// acknowledged. That is every kind, known or not, except PADDING, ACK and CLOSE
// (RFC 9000, section 13.2).
func (k Kind) AckEliciting() bool {
	return k != KindPadding && k != KindAck && k != KindClose
}

// FrameOverhead returns how many bytes AppendFrameHeader appends.
func FrameOverhead(bodyLen int, last bool) int {
	if last {
		return 1
	}
	return 1 + VarintLen(uint64(bodyLen))
}

// AppendFrameHeader appends the header of a frame whose body, of bodyLen bytes,
// is to follow. With last set the body must be the end of the payload.
func AppendFrameHeader(b []byte, kind Kind, last bool, bodyLen int) []byte {
	if kind > MaxKind || bodyLen < 0 {
		panic("wire: internal error: frame header out of range")
	}
	if last {
		return append(b, byte(kind)|lastBit)
	}
	return AppendVarint(append(b, byte(kind)), uint64(bodyLen))
}

// Reader walks over the frames of an opened payload. The zero Reader has none.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a Reader over frames, the part of a payload behind its
// timestamp.
func NewReader(frames []byte) Reader { return Reader{rest: frames} }

// Next returns the next frame, of a known or an unknown kind. The body aliases
// the payload. After the last frame, or at an error, ok is false, and stays so.
func (r *Reader) Next() (kind Kind, body []byte, ok bool) {
	b := r.rest
	if len(b) == 0 {
		return 0, nil, false
	}
	kind = Kind(b[0] &^ lastBit)
	if b[0]&lastBit != 0 {
		r.rest = nil
		return kind, b[1:], true
	}
	n, varintLen := ParseVarint(b[1:])
	b = b[1+varintLen:]
	if varintLen == 0 || n > uint64(len(b)) {
		r.rest, r.err = nil, ErrShort
		return 0, nil, false
	}
	r.rest = b[n:]
	// The capacity ends with the body, so that appending to it cannot reach the
	// next frame.
	return kind, b[:n:n], true
}

// Done reports whether the frame that Next returned last ends the payload.
func (r *Reader) Done() bool { return len(r.rest) == 0 }

// Err returns nil when the frames ended properly, or ErrShort when one of them
// was longer than the payload.
func (r *Reader) Err() error { return r.err }
