package wire

import "encoding/binary"

// MaxRanges is how many ranges one ACK can hold. Ranges are needed as long as
// something may still be done about a hole; 32 holes within one round trip are
// far beyond what a usable path makes, and an ACK of 32 ranges still fits into
// 200 bytes as a rule.
const MaxRanges = 32

// ackFixed is the length in bytes of the fields of an ACK that are not varints.
const ackFixed = 1 + 4

// Range is a run of packet numbers, both ends included.
type Range struct{ First, Last uint64 }

// Ack tells which datagrams of one path have arrived.
type Ack struct {
	Path     uint8
	DelayUS  uint64 // time from the arrival of the largest pn to this ACK, in us
	OneWayUS int32  // OneWayDelay of the largest pn, in us
	CE       uint64 // datagrams that arrived marked CE
	ECT      uint64 // datagrams that arrived marked ECT(0) or ECT(1)

	// Count is how many Ranges are in use, at least 1. They are newest first,
	// and between two of them at least one pn is missing. Ranges[0].Last is the
	// largest pn acknowledged.
	Count  int
	Ranges [MaxRanges]Range
}

// Largest returns the largest packet number acknowledged.
func (a *Ack) Largest() uint64 { return a.Ranges[0].Last }

// bodyLen returns the length in bytes of the body with the first count ranges.
func (a *Ack) bodyLen(count int) int {
	r := &a.Ranges[0]
	n := ackFixed + VarintLen(r.Last) + VarintLen(a.DelayUS) + VarintLen(a.CE) + VarintLen(a.ECT) +
		VarintLen(r.Last-r.First) + VarintLen(uint64(count-1))
	for i := 1; i < count; i++ {
		n += VarintLen(a.Ranges[i-1].First-a.Ranges[i].Last-2) + VarintLen(a.Ranges[i].Last-a.Ranges[i].First)
	}
	return n
}

// FrameLen returns the length in bytes of the whole frame as AppendAck makes
// it.
func (a *Ack) FrameLen(last bool) int {
	n := a.bodyLen(a.Count)
	return FrameOverhead(n, last) + n
}

// Fit forgets the oldest ranges until the frame is at most room bytes long. It
// reports whether that was possible with at least one range left; otherwise
// one range is left.
func (a *Ack) Fit(room int, last bool) bool {
	for a.FrameLen(last) > room {
		if a.Count == 1 {
			return false
		}
		a.Count--
	}
	return true
}

// AppendAck appends an ACK frame. It panics when Count or the ranges are not as
// documented, or a number is above MaxVarint.
func AppendAck(b []byte, last bool, a *Ack) []byte {
	a.validate()
	b = AppendFrameHeader(b, KindAck, last, a.bodyLen(a.Count))
	b = append(b, a.Path)
	b = AppendVarint(b, a.Largest())
	b = AppendVarint(b, a.DelayUS)
	b = binary.BigEndian.AppendUint32(b, uint32(a.OneWayUS))
	b = AppendVarint(b, a.CE)
	b = AppendVarint(b, a.ECT)
	b = AppendVarint(b, a.Ranges[0].Last-a.Ranges[0].First)
	b = AppendVarint(b, uint64(a.Count-1))
	for i := 1; i < a.Count; i++ {
		b = AppendVarint(b, a.Ranges[i-1].First-a.Ranges[i].Last-2)
		b = AppendVarint(b, a.Ranges[i].Last-a.Ranges[i].First)
	}
	return b
}

func (a *Ack) validate() {
	ok := a.Count >= 1 && a.Count <= MaxRanges
	for i := 0; ok && i < a.Count; i++ {
		r := a.Ranges[i]
		ok = r.First <= r.Last && (i == 0 || r.Last < a.Ranges[i-1].First && a.Ranges[i-1].First-r.Last >= 2)
	}
	if !ok {
		panic("wire: internal error: ranges of an ACK out of order")
	}
}

// ParseAck reads the body of an ACK frame into a. Errors: ErrShort and
// ErrMalformed; a is then undefined. Ranges beyond Count keep what they had.
func ParseAck(body []byte, a *Ack) error {
	f := fields{rest: body}
	a.Path = f.uint8()
	largest := f.varint()
	a.DelayUS = f.varint()
	a.OneWayUS = int32(f.uint32())
	a.CE = f.varint()
	a.ECT = f.varint()
	length := f.varint()
	further := f.varint()
	if f.err != nil {
		return f.err
	}
	if length > largest || further >= MaxRanges {
		return ErrMalformed
	}
	a.Ranges[0] = Range{largest - length, largest}
	a.Count = 1 + int(further)
	for i := 1; i < a.Count; i++ {
		gap, length := f.varint(), f.varint()
		if f.err != nil {
			return f.err
		}
		// All numbers are below 2^62, so these sums cannot overflow.
		newer := a.Ranges[i-1].First
		if gap+2+length > newer {
			return ErrMalformed
		}
		last := newer - gap - 2
		a.Ranges[i] = Range{last - length, last}
	}
	return f.end()
}
