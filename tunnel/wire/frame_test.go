package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVarint(t *testing.T) {
	for _, c := range []struct {
		v    uint64
		want []byte // the examples of RFC 9000, A.1, and the borders
	}{
		{0, []byte{0}},
		{37, []byte{0x25}},
		{63, []byte{0x3f}},
		{64, []byte{0x40, 0x40}},
		{15293, []byte{0x7b, 0xbd}},
		{16383, []byte{0x7f, 0xff}},
		{16384, []byte{0x80, 0, 0x40, 0}},
		{494878333, []byte{0x9d, 0x7f, 0x3e, 0x7d}},
		{1<<30 - 1, []byte{0xbf, 0xff, 0xff, 0xff}},
		{1 << 30, []byte{0xc0, 0, 0, 0, 0x40, 0, 0, 0}},
		{151288809941952652, []byte{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}},
		{MaxVarint, bytes.Repeat([]byte{0xff}, 8)},
	} {
		got := AppendVarint(nil, c.v)
		if !bytes.Equal(got, c.want) || VarintLen(c.v) != len(got) {
			t.Errorf("%d is % x of length %d, want % x", c.v, got, VarintLen(c.v), c.want)
		}
		if v, n := ParseVarint(append(got, 0xff)); v != c.v || n != len(c.want) {
			t.Errorf("% x parses as %d, %d", c.want, v, n)
		}
		for i := range c.want {
			if v, n := ParseVarint(exact(c.want[:i])); v != 0 || n != 0 {
				t.Errorf("% x parses as %d, %d, want nothing", c.want[:i], v, n)
			}
		}
	}
	if v, n := ParseVarint([]byte{0x40, 0x25}); v != 37 || n != 2 {
		t.Errorf("37 in two bytes parses as %d, %d", v, n)
	}
	mustPanic(t, func() { AppendVarint(nil, MaxVarint+1) })
}

// frameCases has one frame of every kind, with its bytes when it is not the
// last of the payload.
func frameCases() []struct {
	kind   Kind
	append func(b []byte, last bool) []byte
	want   []byte
} {
	ack := &Ack{Path: 3, DelayUS: 100, OneWayUS: -16, CE: 1, ECT: 70, Count: 2}
	ack.Ranges[0] = Range{998, 1000}
	ack.Ranges[1] = Range{990, 995}
	return []struct {
		kind   Kind
		append func(b []byte, last bool) []byte
		want   []byte
	}{
		{KindPadding, func(b []byte, last bool) []byte { return AppendPadding(b, last, 3) },
			[]byte{0, 3, 0, 0, 0}},
		{KindPing, AppendPing, []byte{1, 0}},
		{KindAck, func(b []byte, last bool) []byte { return AppendAck(b, last, ack) },
			[]byte{2, 16, 3, 0x43, 0xe8, 0x40, 100, 0xff, 0xff, 0xff, 0xf0, 1, 0x40, 70, 2, 1, 1, 5}},
		{KindPacket, func(b []byte, last bool) []byte {
			return append(AppendPacketHeader(b, KindPacket, last, 2), 0x45, 0)
		}, []byte{3, 2, 0x45, 0}},
		{KindPacketPartial, func(b []byte, last bool) []byte {
			return append(AppendPacketHeader(b, KindPacketPartial, last, 1), 0x60)
		}, []byte{4, 1, 0x60}},
		{KindOrdered, func(b []byte, last bool) []byte {
			return append(AppendOrderedHeader(b, KindOrdered, last, 0x0102, 0xfffe, 1), 0x45)
		}, []byte{5, 5, 1, 2, 0xff, 0xfe, 0x45}},
		{KindOrderedPartial, func(b []byte, last bool) []byte {
			return append(AppendOrderedHeader(b, KindOrderedPartial, last, 1, 2, 1), 0x60)
		}, []byte{6, 5, 0, 1, 0, 2, 0x60}},
		{KindSkip, func(b []byte, last bool) []byte { return AppendSkip(b, last, Skip{1, 65535, 258}) },
			[]byte{7, 6, 0, 1, 0xff, 0xff, 1, 2}},
		{KindChallenge, func(b []byte, last bool) []byte {
			return AppendChallenge(b, last, Token{1, 2, 3, 4, 5, 6, 7, 8})
		}, []byte{8, 8, 1, 2, 3, 4, 5, 6, 7, 8}},
		{KindResponse, func(b []byte, last bool) []byte {
			return AppendResponse(b, last, Token{8, 7, 6, 5, 4, 3, 2, 1})
		}, []byte{9, 8, 8, 7, 6, 5, 4, 3, 2, 1}},
		{KindPathStatus, func(b []byte, last bool) []byte {
			return AppendPathStatus(b, last, PathStatus{Path: 7, Seq: 300, State: PathClosed, Group: 5, Metered: true})
		}, []byte{10, 6, 7, 0x41, 0x2c, 2, 5, 1}},
		{KindClose, func(b []byte, last bool) []byte { return AppendClose(b, last, 5, "bye") },
			[]byte{11, 4, 5, 'b', 'y', 'e'}},
		{KindPathStatus, func(b []byte, last bool) []byte {
			return AppendPathStatus(b, last, PathStatus{Path: 3, Seq: 9, State: PathBackup, Group: 1, Full: true, Drain: true})
		}, []byte{10, 5, 3, 9, 1, 1, 6}},
		{KindPathCap, func(b []byte, last bool) []byte { return AppendPathCap(b, last, PathCap{3, 9, 625_000}) },
			[]byte{15, 6, 3, 9, 0x80, 0x09, 0x89, 0x68}},
		{KindMTUInfo, func(b []byte, last bool) []byte { return AppendMTUInfo(b, last, MTUInfo{2, 1472}) },
			[]byte{12, 3, 2, 0x05, 0xc0}},
	}
}

func TestFrameLayout(t *testing.T) {
	for _, c := range frameCases() {
		if got := c.append(nil, false); !bytes.Equal(got, c.want) {
			t.Errorf("%v is % x, want % x", c.kind, got, c.want)
		}
		last := append([]byte{c.want[0] | 0x80}, c.want[2:]...)
		if got := c.append(nil, true); !bytes.Equal(got, last) {
			t.Errorf("%v as the last frame is % x, want % x", c.kind, got, last)
		}
	}
}

// All frames in one payload, unknown ones between them, come out as they went
// in.
func TestReaderWalksAllFrames(t *testing.T) {
	var payload []byte
	cases := frameCases()
	for _, c := range cases {
		payload = c.append(payload, false)
		payload = append(AppendFrameHeader(payload, 99, false, 2), 0xff, 0xff)
	}
	payload = append(AppendPacketHeader(payload, KindPacket, true, 3), 1, 2, 3)
	r := NewReader(exact(payload))
	for _, c := range cases {
		kind, body, ok := r.Next()
		if !ok || kind != c.kind || !bytes.Equal(body, c.want[2:]) || cap(body) != len(body) {
			t.Fatalf("%v came as %v % x, %v", c.kind, kind, body, ok)
		}
		if kind, body, ok = r.Next(); !ok || kind != 99 || kind.String() != "UNKNOWN" || len(body) != 2 {
			t.Fatalf("unknown frame came as %v % x, %v", kind, body, ok)
		}
	}
	if kind, body, ok := r.Next(); !ok || kind != KindPacket || !bytes.Equal(body, []byte{1, 2, 3}) {
		t.Fatalf("last frame came as %v % x, %v", kind, body, ok)
	}
	if kind, _, ok := r.Next(); ok || r.Err() != nil {
		t.Fatalf("after the last frame: %v, %v, %v", kind, ok, r.Err())
	}
}

func TestReaderEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames []byte
		bodies int
		err    error
	}{
		{"empty payload", nil, 0, nil},
		{"empty last frame", []byte{0x81}, 1, nil},
		{"length missing", []byte{3}, 0, ErrShort},
		{"length cut", []byte{3, 0x40}, 0, ErrShort},
		{"body cut", []byte{1, 0, 3, 2, 0x45}, 1, ErrShort},
		{"length of 2^62-1", append([]byte{3}, bytes.Repeat([]byte{0xff}, 8)...), 0, ErrShort},
	} {
		r := NewReader(exact(c.frames))
		n := 0
		for _, _, ok := r.Next(); ok; _, _, ok = r.Next() {
			n++
		}
		if n != c.bodies || !errors.Is(r.Err(), c.err) {
			t.Errorf("%s: %d frames, %v; want %d, %v", c.name, n, r.Err(), c.bodies, c.err)
		}
	}
}

func TestFrameOverhead(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 1500, 16383, 16384, 65535} {
		for _, last := range []bool{false, true} {
			if got := len(AppendFrameHeader(nil, KindPacket, last, n)); got != FrameOverhead(n, last) {
				t.Errorf("body of %d, last %v: FrameOverhead says %d, header is %d", n, last, FrameOverhead(n, last), got)
			}
			if got := len(AppendPadding(nil, last, n)); got != FrameOverhead(n, last)+n {
				t.Errorf("padding of %d, last %v: frame is %d long", n, last, got)
			}
		}
	}
	// The promise of the design: an ordered packet costs 32 bytes, tag included.
	if got := HeaderLen + 16 + TimestampLen + len(AppendOrderedHeader(nil, KindOrdered, true, 1, 1, 1400)); got != 32 {
		t.Errorf("a full-size datagram costs %d bytes, want 32", got)
	}
}

func TestAppendersRefuseWrongKinds(t *testing.T) {
	mustPanic(t, func() { AppendPacketHeader(nil, KindOrdered, true, 1) })
	mustPanic(t, func() { AppendOrderedHeader(nil, KindPacket, true, 0, 0, 1) })
	mustPanic(t, func() { AppendFrameHeader(nil, 128, true, 1) })
	mustPanic(t, func() { AppendFrameHeader(nil, KindPing, true, -1) })
}

// Every known body, cut by a byte or longer by one, is refused.
func TestBodiesOfWrongLength(t *testing.T) {
	for _, c := range frameCases() {
		body := c.want[2:]
		switch c.kind {
		case KindPadding, KindPing, KindPacket, KindPacketPartial:
			continue // any length is right
		}
		if err := parseBody(c.kind, body); err != nil {
			t.Errorf("%v: %v", c.kind, err)
		}
		if c.kind == KindOrdered || c.kind == KindOrderedPartial || c.kind == KindClose {
			if err := parseBody(c.kind, nil); !errors.Is(err, ErrShort) {
				t.Errorf("%v, empty: %v", c.kind, err)
			}
			continue
		}
		for i := range body {
			if err := parseBody(c.kind, exact(body[:i])); !errors.Is(err, ErrShort) {
				t.Errorf("%v, %d of %d bytes: %v, want %v", c.kind, i, len(body), err, ErrShort)
			}
		}
		if err := parseBody(c.kind, append(bytes.Clone(body), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v, a byte too long: %v, want %v", c.kind, err, ErrMalformed)
		}
	}
}

func parseBody(kind Kind, body []byte) (err error) {
	switch kind {
	case KindAck:
		err = ParseAck(body, new(Ack))
	case KindOrdered, KindOrderedPartial:
		_, _, _, err = ParseOrdered(body)
	case KindSkip:
		_, err = ParseSkip(body)
	case KindChallenge, KindResponse:
		_, err = ParseToken(body)
	case KindPathStatus:
		_, err = ParsePathStatus(body)
	case KindClose:
		_, _, err = ParseClose(body)
	case KindPathCap:
		_, err = ParsePathCap(body)
	case KindMTUInfo:
		_, err = ParseMTUInfo(body)
	}
	return err
}

func TestPathStatusRefusesUnknownState(t *testing.T) {
	if _, err := ParsePathStatus([]byte{1, 1, 3, 0, 0}); !errors.Is(err, ErrMalformed) {
		t.Errorf("state 3: %v", err)
	}
}

func TestCloseReason(t *testing.T) {
	for _, c := range []struct{ reason, want string }{
		{"", ""},
		{strings.Repeat("x", 200), strings.Repeat("x", 200)},
		{strings.Repeat("x", 201), strings.Repeat("x", 200)},
		{strings.Repeat("x", 199) + "\u00e9y", strings.Repeat("x", 199)}, // not half a character, and nothing after it
		{"a\xffb", "a?b"},
	} {
		b := AppendClose(nil, true, 1<<40, c.reason)
		if len(b) > CloseFrameMax {
			t.Errorf("%q: frame is %d long", c.reason, len(b))
		}
		code, reason, err := ParseClose(b[1:])
		if err != nil || code != 1<<40 || string(reason) != c.want {
			t.Errorf("%q came as %d, %q, %v", c.reason, code, reason, err)
		}
	}
	for name, body := range map[string][]byte{
		"not UTF-8": {0, 0xff},
		"too long":  append([]byte{0}, strings.Repeat("x", MaxReason+1)...),
	} {
		if _, _, err := ParseClose(body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAckEliciting(t *testing.T) {
	for k := Kind(0); k <= MaxKind; k++ {
		want := k != KindPadding && k != KindAck && k != KindClose
		if k.AckEliciting() != want {
			t.Errorf("%v: %v", k, !want)
		}
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}

func FuzzFrames(f *testing.F) {
	var all []byte
	for _, c := range frameCases() {
		f.Add(c.append(nil, false))
		f.Add(c.append(nil, true))
		all = c.append(all, false)
	}
	f.Add(all)
	f.Add(append(AppendFrameHeader(nil, KindPathCap, true, 6), 3, 9, 0x80, 0, 1, 0)) // a varint longer than necessary
	f.Add([]byte{3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, payload []byte) {
		total := 0
		r := NewReader(exact(payload))
		for kind, body, ok := r.Next(); ok; kind, body, ok = r.Next() {
			total += 1 + len(body)
			checkBody(t, kind, body)
		}
		if total > len(payload) || r.Err() == nil && len(payload) > 0 && total == 0 {
			t.Fatalf("%d bytes of frames in a payload of %d, %v", total, len(payload), r.Err())
		}
		if _, _, ok := r.Next(); ok {
			t.Fatal("frames go on after the end")
		}
	})
}

// checkBody parses a body, appends what was parsed, parses that, and compares.
func checkBody(t *testing.T, kind Kind, body []byte) {
	t.Helper()
	var again []byte
	switch kind {
	case KindOrdered, KindOrderedPartial:
		flow, seq, packet, err := ParseOrdered(body)
		if err != nil {
			return
		}
		again = append(AppendOrderedHeader(nil, kind, true, flow, seq, len(packet)), packet...)
	case KindSkip:
		s, err := ParseSkip(body)
		if err != nil {
			return
		}
		again = AppendSkip(nil, true, s)
	case KindChallenge:
		tok, err := ParseToken(body)
		if err != nil {
			return
		}
		again = AppendChallenge(nil, true, tok)
	case KindPathCap: // its varints may have been longer than necessary
		c, err := ParsePathCap(body)
		if err != nil {
			return
		}
		if c2, err := ParsePathCap(AppendPathCap(nil, true, c)[1:]); err != nil || c2 != c {
			t.Fatalf("%+v became %+v, %v", c, c2, err)
		}
		return
	case KindMTUInfo:
		m, err := ParseMTUInfo(body)
		if err != nil {
			return
		}
		again = AppendMTUInfo(nil, true, m)
	case KindPathStatus: // likewise
		s, err := ParsePathStatus(body)
		if err != nil {
			return
		}
		if s2, err := ParsePathStatus(AppendPathStatus(nil, true, s)[1:]); err != nil || s2 != s {
			t.Fatalf("%+v became %+v, %v", s, s2, err)
		}
		return
	case KindClose:
		code, reason, err := ParseClose(body)
		if err != nil {
			return
		}
		code2, reason2, err := ParseClose(AppendClose(nil, true, code, string(reason))[1:])
		if want := strings.ReplaceAll(string(reason), "\ufffd", "?"); err != nil || code2 != code || string(reason2) != want || !utf8.Valid(reason2) {
			t.Fatalf("%d %q became %d %q, %v", code, reason, code2, reason2, err)
		}
		return
	case KindAck:
		checkAck(t, body)
		return
	default:
		return
	}
	if !bytes.Equal(again[1:], body) {
		t.Fatalf("%v % x became % x", kind, body, again[1:])
	}
}
