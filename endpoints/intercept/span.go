package intercept

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// span is a range of addresses of one family, or of ports, in network byte
// order, both ends included. The kernel's interval sets want them apart
// from each other, which merge sees to.
type span struct{ first, last []byte }

// merge sorts spans of equal width and joins those that overlap or touch.
func merge(list []span) []span {
	slices.SortFunc(list, func(a, b span) int { return slices.Compare(a.first, b.first) })
	var out []span
	for _, s := range list {
		if n := len(out); n > 0 {
			// After the end there is nothing, or the first that does not touch.
			if end, more := next(out[n-1].last); !more || slices.Compare(s.first, end) <= 0 {
				if slices.Compare(s.last, out[n-1].last) > 0 {
					out[n-1].last = s.last
				}
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// next is the value after b; false if b is the last one there is.
func next(b []byte) ([]byte, bool) {
	b = slices.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]++
		if b[i] != 0 {
			return b, true
		}
	}
	return nil, false
}

// prefixSpans returns what the prefixes of one family cover.
func prefixSpans(list []netip.Prefix, v6 bool) []span {
	var out []span
	for _, p := range list {
		if p.Addr().Is6() != v6 {
			continue
		}
		first := p.Masked().Addr().AsSlice()
		last := slices.Clone(first)
		for i := p.Bits(); i < 8*len(last); i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		out = append(out, span{first, last})
	}
	return merge(out)
}

func portSpans(list []PortRange) []span {
	var out []span
	for _, r := range list {
		out = append(out, span{binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)})
	}
	return merge(out)
}

// text is how nft reads it.
func (s span) text() string {
	one := func(b []byte) string {
		if len(b) == 2 {
			return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
		}
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	}
	if slices.Equal(s.first, s.last) {
		return one(s.first)
	}
	if a, ok := netip.AddrFromSlice(s.first); ok && len(s.first) > 2 {
		for bits := range a.BitLen() {
			p := netip.PrefixFrom(a, bits)
			if p.Masked() == p && slices.Equal(prefixSpans([]netip.Prefix{p}, a.Is6())[0].last, s.last) {
				return p.String()
			}
		}
	}
	return fmt.Sprintf("%s-%s", one(s.first), one(s.last))
}
