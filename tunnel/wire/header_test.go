package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestHeaderLayout(t *testing.T) {
	h := Header{Epoch: 2, Index: 0x0a0b0c, Path: 0xfe, PN: 0x010203}
	got := make([]byte, HeaderLen)
	h.Put(got)
	want := []byte{0x12, 0x0a, 0x0b, 0x0c, 0xfe, 0x01, 0x02, 0x03}
	if !bytes.Equal(got, want) {
		t.Fatalf("header is % x, want % x", got, want)
	}
	back, err := ParseHeader(got)
	if err != nil || back != h {
		t.Fatalf("parsed %+v, %v; want %+v", back, err, h)
	}
}

func TestHeaderTakesLowBits(t *testing.T) {
	b := make([]byte, HeaderLen)
	Header{Epoch: 0xff, Index: MaxIndex, PN: 0xff000001}.Put(b)
	h, err := ParseHeader(b)
	if err != nil || h.Epoch != 3 || h.Index != MaxIndex || h.PN != 1 || h.Path != 0 {
		t.Fatalf("parsed %+v, %v", h, err)
	}
}

func TestHeaderRefused(t *testing.T) {
	good := []byte{0x10, 0, 0, 1, 0, 0, 0, 0}
	if _, err := ParseHeader(good); err != nil {
		t.Fatalf("good header: %v", err)
	}
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"empty", func(b []byte) []byte { return nil }, ErrShort},
		{"one byte less", func(b []byte) []byte { return b[:HeaderLen-1] }, ErrShort},
		{"version 0", func(b []byte) []byte { b[0] = 0x00; return b }, ErrVersion},
		{"version 2", func(b []byte) []byte { b[0] = 0x20; return b }, ErrVersion},
		{"reserved bit 2", func(b []byte) []byte { b[0] |= 4; return b }, ErrMalformed},
		{"reserved bit 3", func(b []byte) []byte { b[0] |= 8; return b }, ErrMalformed},
		{"index 0", func(b []byte) []byte { b[3] = 0; return b }, ErrMalformed},
	} {
		if _, err := ParseHeader(c.edit(bytes.Clone(good))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestHeaderPutPanicsOnIndex(t *testing.T) {
	for _, index := range []uint32{0, MaxIndex + 1} {
		mustPanic(t, func() { Header{Index: index}.Put(make([]byte, HeaderLen)) })
	}
}

func TestReconstructPN(t *testing.T) {
	for _, c := range []struct {
		expected uint64
		low24    uint32
		want     uint64
	}{
		{0, 0, 0},
		{1, 0, 0},
		{0, 0xffffff, 0xffffff}, // nothing below 0 to choose
		{0x1000000, 0xffffff, 0xffffff},
		{0xffffff, 0, 0x1000000},
		{0xa82f30eb, 0x2f30ea, 0xa82f30ea},
		{0x5000000, 0x800000, 0x5800000}, // half a window ahead
		{0x5000000, 0x800001, 0x4800001}, // more than half ahead is behind
		{0x5800000, 0, 0x6000000},        // half a window behind is ahead
		{MaxPN, 0xffffff, MaxPN},
		{MaxPN, 0, MaxPN - 0xffffff}, // the next one would be out of range
		{MaxPN + 1, 0xfffffe, MaxPN - 1},
	} {
		if got := ReconstructPN(c.expected, c.low24); got != c.want {
			t.Errorf("ReconstructPN(%#x, %#x) = %#x, want %#x", c.expected, c.low24, got, c.want)
		}
	}
}

// Any pn within half a window of the expected one survives the cut to 24 bits.
func TestReconstructPNRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		expected := rng.Uint64N(MaxPN - pnWindow)
		if rng.IntN(4) == 0 {
			expected = rng.Uint64N(1 << 26)
		}
		pn := expected + rng.Uint64N(pnWindow-1)
		if back := uint64(pnWindow/2 - 1); pn >= back {
			pn -= back
		}
		if got := ReconstructPN(expected, uint32(pn)&pnMask); got != pn {
			t.Fatalf("ReconstructPN(%#x, %#x) = %#x, want %#x", expected, uint32(pn)&pnMask, got, pn)
		}
	}
}

func TestTimestamp(t *testing.T) {
	b := AppendTimestamp(nil, Timestamp(0x123456*16+15))
	if !bytes.Equal(b, []byte{0x12, 0x34, 0x56}) {
		t.Fatalf("timestamp is % x", b)
	}
	ts, frames, err := ParseTimestamp(append(b, 9, 8))
	if err != nil || ts != 0x123456 || !bytes.Equal(frames, []byte{9, 8}) {
		t.Fatalf("parsed %#x, % x, %v", ts, frames, err)
	}
	if _, _, err := ParseTimestamp(b[:2]); !errors.Is(err, ErrShort) {
		t.Fatalf("two bytes: %v", err)
	}
	if got := Timestamp(-16); got != timestampMask {
		t.Fatalf("one tick before the origin is %#x", got)
	}
}

// The clocks of two nodes have any origins, and the timestamp wraps after
// 268 s; the difference of two delays is right all the same.
func TestDelayDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		offset := rng.Int64N(1<<40) - 1<<39
		sent1 := rng.Int64N(1 << 40)
		sent2 := sent1 + rng.Int64N(1<<30)
		delay1, delay2 := rng.Int64N(60e6), rng.Int64N(60e6)
		owd1 := OneWayDelay(sent1+delay1+offset, Timestamp(sent1))
		owd2 := OneWayDelay(sent2+delay2+offset, Timestamp(sent2))
		if owd1%16 != 0 || owd1 < -1<<27 || owd1 >= 1<<27 {
			t.Fatalf("delay %d is out of range", owd1)
		}
		got, want := int64(DelayDiff(owd2, owd1)), delay2-delay1
		if got-want > 32 || want-got > 32 {
			t.Fatalf("offset %d, delays %d and %d: difference is %d", offset, delay1, delay2, got)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{0x10, 0, 0, 1, 0, 0, 0, 0}, uint64(0))
	f.Add([]byte{0x13, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}, uint64(MaxPN))
	f.Add([]byte{0x20, 1}, uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, expected uint64) {
		h, err := ParseHeader(exact(b))
		if err != nil {
			if h != (Header{}) {
				t.Fatalf("refused, but returns %+v", h)
			}
			return
		}
		again := make([]byte, HeaderLen)
		h.Put(again)
		if !bytes.Equal(again, b[:HeaderLen]) {
			t.Fatalf("% x became % x", b[:HeaderLen], again)
		}
		pn := ReconstructPN(expected, h.PN)
		if uint32(pn)&pnMask != h.PN || pn > MaxPN {
			t.Fatalf("ReconstructPN(%#x, %#x) = %#x", expected, h.PN, pn)
		}
	})
}

// exact copies b to memory of exactly its size, so that a parser that looks
// beyond the end panics.
func exact(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c[:len(b):len(b)]
}

func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}
