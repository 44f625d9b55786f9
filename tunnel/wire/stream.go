package wire

// Stream is the fixed part of a STREAM or STREAM_FIN frame; the data follows.
type Stream struct {
	ID     uint64
	Offset uint64 // of the first byte of the data
}

// StreamLen returns the length in bytes of what stands before the data in the
// body of a STREAM frame.
func StreamLen(s Stream) int { return VarintLen(s.ID) + VarintLen(s.Offset) }

// AppendStreamHeader appends what stands before the data, of dataLen bytes, in
// a STREAM or, with fin set, a STREAM_FIN frame. The data is to follow.
func AppendStreamHeader(b []byte, last, fin bool, s Stream, dataLen int) []byte {
	kind := KindStream
	if fin {
		kind = KindStreamFin
	}
	b = AppendFrameHeader(b, kind, last, StreamLen(s)+dataLen)
	return AppendVarint(AppendVarint(b, s.ID), s.Offset)
}

// ParseStream splits the body of a STREAM or STREAM_FIN frame; data aliases it.
// The only error is ErrShort.
func ParseStream(body []byte) (s Stream, data []byte, err error) {
	f := fields{rest: body}
	s = Stream{ID: f.varint(), Offset: f.varint()}
	return s, f.rest, f.err
}

// Open is the content of an OPEN frame: a stream of the sender's begins.
type Open struct {
	ID     uint64
	Window uint64 // how many bytes its opener takes before the first WINDOW
	Target []byte // what the stream is for; not looked at here
}

// MaxTarget is the longest target, in bytes: a name of 255 and some.
const MaxTarget = 512

// AppendOpen appends an OPEN frame. It panics for a target above MaxTarget.
func AppendOpen(b []byte, last bool, o Open) []byte {
	if len(o.Target) > MaxTarget {
		panic("wire: internal error: stream target too long")
	}
	b = AppendFrameHeader(b, KindOpen, last, VarintLen(o.ID)+VarintLen(o.Window)+len(o.Target))
	b = AppendVarint(AppendVarint(b, o.ID), o.Window)
	return append(b, o.Target...)
}

// ParseOpen reads the body of an OPEN frame; Target aliases it. Errors:
// ErrShort, and ErrMalformed for a target above MaxTarget.
func ParseOpen(body []byte) (Open, error) {
	f := fields{rest: body}
	o := Open{ID: f.varint(), Window: f.varint()}
	o.Target = f.rest
	if f.err == nil && len(o.Target) > MaxTarget {
		f.err = ErrMalformed
	}
	return o, f.err
}

// StreamValue is the content of the frames that say one number of a stream:
// WINDOW (the offset up to which the sender takes data), CONNECTED (the same, and
// the target answers), RESET (a code).
type StreamValue struct{ ID, Value uint64 }

// AppendStreamValue appends a WINDOW, CONNECTED or RESET frame.
func AppendStreamValue(b []byte, kind Kind, last bool, v StreamValue) []byte {
	b = AppendFrameHeader(b, kind, last, VarintLen(v.ID)+VarintLen(v.Value))
	return AppendVarint(AppendVarint(b, v.ID), v.Value)
}

// ParseStreamValue reads the body of a WINDOW, CONNECTED or RESET frame.
// Errors: ErrShort, ErrMalformed.
func ParseStreamValue(body []byte) (StreamValue, error) {
	f := fields{rest: body}
	v := StreamValue{ID: f.varint(), Value: f.varint()}
	return v, f.end()
}
