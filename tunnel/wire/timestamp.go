package wire

// TimestampLen is the length in bytes of the timestamp that begins a payload.
const TimestampLen = 3

const (
	tickShift     = 4 // a tick is 16 us
	timestampBits = 24
	timestampMask = 1<<timestampBits - 1
)

// Timestamp returns the timestamp for a moment, given in microseconds since
// any fixed origin.
func Timestamp(us int64) uint32 {
	return uint32(us>>tickShift) & timestampMask
}

// AppendTimestamp appends the timestamp ts to b.
func AppendTimestamp(b []byte, ts uint32) []byte {
	return append(b, byte(ts>>16), byte(ts>>8), byte(ts))
}

// ParseTimestamp splits an opened payload into its timestamp and its frames,
// which alias it. The only error is ErrShort.
func ParseTimestamp(payload []byte) (ts uint32, frames []byte, err error) {
	if len(payload) < TimestampLen {
		return 0, nil, ErrShort
	}
	ts = uint32(payload[0])<<16 | uint32(payload[1])<<8 | uint32(payload[2])
	return ts, payload[TimestampLen:], nil
}

// OneWayDelay returns the delay in microseconds between the timestamp ts of
// the sender and the moment receivedUS, in microseconds, of the receiver's
// clock. The unknown difference of the two clocks is part of the result, which
// is a multiple of 16 in [-2^27, 2^27); see DelayDiff.
func OneWayDelay(receivedUS int64, ts uint32) int32 {
	ticks := Timestamp(receivedUS) - ts
	return signExtend(ticks<<tickShift, timestampBits+tickShift)
}

// DelayDiff returns a-b in microseconds for two results of OneWayDelay taken in
// the same direction. Such results are known modulo 2^28 us, and may lie on
// both sides of the wrap; the difference is right while the true one is below
// 134 s.
func DelayDiff(a, b int32) int32 {
	return signExtend(uint32(a)-uint32(b), timestampBits+tickShift)
}

// signExtend takes the low bits of v as a two's complement number.
func signExtend(v uint32, bits uint) int32 {
	return int32(v<<(32-bits)) >> (32 - bits)
}
