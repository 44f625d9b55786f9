package wire

import (
	"errors"
	"math/rand/v2"
	"testing"
)

func TestAckRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		a := randomAck(rng)
		frame := AppendAck(nil, false, &a)
		if len(frame) != a.FrameLen(false) {
			t.Fatalf("frame is %d long, FrameLen says %d", len(frame), a.FrameLen(false))
		}
		r := NewReader(frame)
		kind, body, ok := r.Next()
		if !ok || kind != KindAck {
			t.Fatalf("frame came as %v, %v", kind, ok)
		}
		var got Ack
		if err := ParseAck(body, &got); err != nil || got != a {
			t.Fatalf("%+v became %+v, %v", a, got, err)
		}
	}
}

func randomAck(rng *rand.Rand) Ack {
	a := Ack{
		Path:     uint8(rng.Uint32()),
		DelayUS:  rng.Uint64N(1 << rng.IntN(62)),
		OneWayUS: int32(rng.Uint32()),
		CE:       rng.Uint64N(1 << rng.IntN(62)),
		ECT:      rng.Uint64N(1 << rng.IntN(62)),
	}
	top := rng.Uint64N(1 << rng.IntN(62))
	for want := 1 + rng.IntN(MaxRanges); a.Count < want; {
		first := top - rng.Uint64N(min(top, 1<<rng.IntN(20))+1)
		a.Ranges[a.Count] = Range{first, top}
		a.Count++
		gap := 2 + rng.Uint64N(1<<rng.IntN(20))
		if first < gap {
			break
		}
		top = first - gap
	}
	return a
}

func TestAckRefused(t *testing.T) {
	// path, largest, delay, one-way delay, CE, ECT, then the ranges
	start := []byte{0, 10, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name   string
		ranges []byte
		want   error
	}{
		{"down to 0", []byte{10, 0}, nil},
		{"first range below 0", []byte{11, 0}, ErrMalformed},
		{"second range down to 0", []byte{0, 1, 4, 4}, nil},
		{"second range below 0", []byte{0, 1, 4, 5}, ErrMalformed},
		{"gap below 0", []byte{0, 1, 9, 0}, ErrMalformed},
		{"no room for a gap", []byte{10, 1, 0, 0}, ErrMalformed},
		{"gap of 2^62-1", append([]byte{0, 1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0), ErrMalformed},
		{"length of 2^62-1", append([]byte{0, 1, 0}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrMalformed},
		{"more ranges than there are", []byte{0, 2, 0, 0}, ErrShort},
		{"bytes left over", []byte{0, 0, 0}, ErrMalformed},
	} {
		var a Ack
		body := exact(append(start[:len(start):len(start)], c.ranges...))
		if err := ParseAck(body, &a); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// As many ranges as an Ack holds, and one more.
func TestAckHoldsMaxRanges(t *testing.T) {
	body := func(further byte) []byte {
		b := []byte{0, 0x40, 200, 0, 0, 0, 0, 0, 0, 0, 0, further}
		return append(b, make([]byte, 2*int(further))...)
	}
	var a Ack
	if err := ParseAck(body(MaxRanges-1), &a); err != nil || a.Count != MaxRanges || a.Ranges[MaxRanges-1].Last != 200-2*(MaxRanges-1) {
		t.Errorf("%d ranges: %+v, %v", MaxRanges, a, err)
	}
	if err := ParseAck(body(MaxRanges), &a); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d ranges: %v", MaxRanges+1, err)
	}
}

func TestAckFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2_000 {
		a := randomAck(rng)
		full := a
		room := rng.IntN(300)
		fits := a.Fit(room, true)
		if fits != (a.FrameLen(true) <= room) {
			t.Fatalf("Fit(%d) = %v, frame is %d long", room, fits, a.FrameLen(true))
		}
		if !fits && a.Count != 1 {
			t.Fatalf("does not fit, but has %d ranges", a.Count)
		}
		for i := range a.Count {
			if a.Ranges[i] != full.Ranges[i] {
				t.Fatal("Fit changed a range it kept")
			}
		}
		if a.Count < full.Count && fits {
			a.Count++
			if a.FrameLen(true) <= room {
				t.Fatal("Fit dropped a range that had room")
			}
		}
	}
}

func TestAppendAckRefusesRangesOutOfOrder(t *testing.T) {
	for name, ranges := range map[string][]Range{
		"none":     {},
		"backward": {{5, 4}},
		"touching": {{5, 6}, {3, 4}},
		"rising":   {{5, 6}, {8, 9}},
	} {
		a := Ack{Count: len(ranges)}
		copy(a.Ranges[:], ranges)
		t.Run(name, func(t *testing.T) { mustPanic(t, func() { AppendAck(nil, true, &a) }) })
	}
	mustPanic(t, func() { AppendAck(nil, true, &Ack{Count: MaxRanges + 1}) })
}

func FuzzAck(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 10))
	for range 20 {
		a := randomAck(rng)
		f.Add(AppendAck(nil, true, &a)[1:])
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkAck(t, exact(body)) })
}

func checkAck(t *testing.T, body []byte) {
	t.Helper()
	var a Ack
	if ParseAck(body, &a) != nil {
		return
	}
	again := AppendAck(nil, true, &a)
	if len(again)-1 > len(body) || len(again) != a.FrameLen(true) {
		t.Fatalf("% x became % x", body, again[1:])
	}
	var b Ack
	if err := ParseAck(again[1:], &b); err != nil || a != b {
		t.Fatalf("%+v became %+v, %v", a, b, err)
	}
}
