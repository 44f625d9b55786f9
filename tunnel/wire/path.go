package wire

import "encoding/binary"

// Token is the content of a CHALLENGE and of the RESPONSE to it: random bytes
// that an outsider cannot guess.
type Token [8]byte

// AppendPing appends a PING frame.
func AppendPing(b []byte, last bool) []byte {
	return AppendFrameHeader(b, KindPing, last, 0)
}

// AppendPadding appends a PADDING frame with a body of n zero bytes. Its length
// is FrameOverhead(n, last) + n.
func AppendPadding(b []byte, last bool, n int) []byte {
	b = AppendFrameHeader(b, KindPadding, last, n)
	for n > 0 {
		k := min(n, len(zeros))
		b = append(b, zeros[:k]...)
		n -= k
	}
	return b
}

var zeros [256]byte

// AppendChallenge appends a CHALLENGE frame.
func AppendChallenge(b []byte, last bool, t Token) []byte {
	return append(AppendFrameHeader(b, KindChallenge, last, len(t)), t[:]...)
}

// AppendResponse appends a RESPONSE frame.
func AppendResponse(b []byte, last bool, t Token) []byte {
	return append(AppendFrameHeader(b, KindResponse, last, len(t)), t[:]...)
}

// ParseToken reads the body of a CHALLENGE or a RESPONSE frame. Errors:
// ErrShort, ErrMalformed.
func ParseToken(body []byte) (t Token, err error) {
	f := fields{rest: body}
	copy(t[:], f.take(len(t)))
	return t, f.end()
}

// PathState is what a sender wants done with a path.
type PathState uint8

// The states of a path in a PATH_STATUS frame.
const (
	PathAvailable PathState = 0
	PathBackup    PathState = 1 // use it only when nothing else is there
	PathClosed    PathState = 2 // it is gone, and its id will not come back
)

// String returns the name of the state in small letters.
func (s PathState) String() string {
	switch s {
	case PathAvailable:
		return "available"
	case PathBackup:
		return "backup"
	case PathClosed:
		return "closed"
	}
	return "unknown"
}

// The flags of a PATH_STATUS frame; other bits are ignored.
const (
	pathMetered = 1
	pathFull    = 2
	pathDrain   = 4
	pathFailed  = 8
)

// PathStatus is the content of a PATH_STATUS frame. Seq grows with every change
// of the state of the path, so that an old frame is recognised.
type PathStatus struct {
	Path    uint8
	Seq     uint64
	State   PathState
	Group   uint8 // paths over one uplink of the sender share a group
	Metered bool  // every byte costs: probe rarely, send no copies
	Full    bool  // of a backup: use it also while all else is full
	Drain   bool  // send nothing new; the state is backup for those who do not know the flag
	Failed  bool  // the sender's interface for it is gone: expect nothing, whatever is still on its way
}

// AppendPathStatus appends a PATH_STATUS frame. It panics when Seq is above
// MaxVarint.
func AppendPathStatus(b []byte, last bool, s PathStatus) []byte {
	b = AppendFrameHeader(b, KindPathStatus, last, 4+VarintLen(s.Seq))
	b = AppendVarint(append(b, s.Path), s.Seq)
	var flags byte
	if s.Metered {
		flags |= pathMetered
	}
	if s.Full {
		flags |= pathFull
	}
	if s.Drain {
		flags |= pathDrain
	}
	if s.Failed {
		flags |= pathFailed
	}
	return append(b, byte(s.State), s.Group, flags)
}

// ParsePathStatus reads the body of a PATH_STATUS frame. Errors: ErrShort, and
// ErrMalformed, also for a state that is not one of the three.
func ParsePathStatus(body []byte) (PathStatus, error) {
	f := fields{rest: body}
	s := PathStatus{Path: f.uint8(), Seq: f.varint(), State: PathState(f.uint8()), Group: f.uint8()}
	flags := f.uint8()
	s.Metered, s.Full, s.Drain, s.Failed = flags&pathMetered != 0, flags&pathFull != 0, flags&pathDrain != 0, flags&pathFailed != 0
	if err := f.end(); err != nil {
		return PathStatus{}, err
	}
	if s.State > PathClosed {
		return PathStatus{}, ErrMalformed
	}
	return s, nil
}

// PathCap is the content of a PATH_CAP frame: how fast the sender of the frame wants to receive on a path at most, in bytes/s
// of UDP payload; 0 is no limit. Seq is that of the PATH_STATUS frame of the same change.
type PathCap struct {
	Path uint8
	Seq  uint64
	Rate uint64
}

// AppendPathCap appends a PATH_CAP frame. It panics when Seq or Rate is above
// MaxVarint.
func AppendPathCap(b []byte, last bool, c PathCap) []byte {
	b = AppendFrameHeader(b, KindPathCap, last, 1+VarintLen(c.Seq)+VarintLen(c.Rate))
	return AppendVarint(AppendVarint(append(b, c.Path), c.Seq), c.Rate)
}

// ParsePathCap reads the body of a PATH_CAP frame. Errors: ErrShort,
// ErrMalformed.
func ParsePathCap(body []byte) (PathCap, error) {
	f := fields{rest: body}
	c := PathCap{Path: f.uint8(), Seq: f.varint(), Rate: f.varint()}
	return c, f.end()
}

// MTUInfo is the content of an MTU_INFO frame: the largest datagram received on
// a path so far, in bytes of UDP payload.
type MTUInfo struct {
	Path uint8
	Size uint16
}

const mtuInfoLen = 3

// AppendMTUInfo appends an MTU_INFO frame.
func AppendMTUInfo(b []byte, last bool, m MTUInfo) []byte {
	b = AppendFrameHeader(b, KindMTUInfo, last, mtuInfoLen)
	return binary.BigEndian.AppendUint16(append(b, m.Path), m.Size)
}

// ParseMTUInfo reads the body of an MTU_INFO frame. Errors: ErrShort,
// ErrMalformed.
func ParseMTUInfo(body []byte) (MTUInfo, error) {
	f := fields{rest: body}
	m := MTUInfo{Path: f.uint8(), Size: f.uint16()}
	return m, f.end()
}
