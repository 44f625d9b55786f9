package wire

import "unicode/utf8"

// MaxReason is the longest reason in a CLOSE frame, in bytes: a sentence, and
// no place to hide a datagram in.
const MaxReason = 200

// CloseFrameMax is an upper bound of the length in bytes of a CLOSE frame.
const CloseFrameMax = 1 + 2 + 8 + MaxReason

// AppendClose appends a CLOSE frame. A reason that is longer than MaxReason is
// cut between two characters; bytes that are not UTF-8 become '?'. It panics
// when code is above MaxVarint.
func AppendClose(b []byte, last bool, code uint64, reason string) []byte {
	n := 0
	for _, r := range reason {
		k := closeRuneLen(r)
		if n+k > MaxReason {
			break
		}
		n += k
	}
	b = AppendFrameHeader(b, KindClose, last, VarintLen(code)+n)
	b = AppendVarint(b, code)
	for _, r := range reason {
		k := closeRuneLen(r)
		if n -= k; n < 0 {
			break
		}
		if r == utf8.RuneError {
			r = '?'
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

func closeRuneLen(r rune) int {
	if r == utf8.RuneError {
		return 1
	}
	return utf8.RuneLen(r)
}

// ParseClose reads the body of a CLOSE frame; reason aliases it. Errors:
// ErrShort, and ErrMalformed for a reason that is too long or not UTF-8. The
// reason may contain control characters: quote it before showing it.
func ParseClose(body []byte) (code uint64, reason []byte, err error) {
	f := fields{rest: body}
	code = f.varint()
	if f.err != nil {
		return 0, nil, f.err
	}
	if len(f.rest) > MaxReason || !utf8.Valid(f.rest) {
		return 0, nil, ErrMalformed
	}
	return code, f.rest, nil
}
