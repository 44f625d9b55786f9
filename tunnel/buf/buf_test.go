package buf

import (
	"bytes"
	"testing"
)

func TestContentGrowsAndShrinksAtBothEnds(t *testing.T) {
	b := Get()
	defer b.Release()
	if b.Len() != 0 || len(b.Room()) != Size-Headroom {
		t.Fatalf("fresh buffer: len %d, room %d; want 0, %d", b.Len(), len(b.Room()), Size-Headroom)
	}
	copy(b.Room(), "payload")
	if got := string(b.Extend(7)); got != "payload" {
		t.Fatalf("Extend shows %q, want what was read into Room", got)
	}
	b.Append([]byte(" tail"))
	copy(b.Prepend(7), "header ")
	if got := string(b.Bytes()); got != "header payload tail" {
		t.Fatalf("content is %q", got)
	}
	b.TrimFront(7)
	b.Truncate(7)
	if got := string(b.Bytes()); got != "payload" {
		t.Fatalf("after trimming, content is %q", got)
	}
	if b.Len() != 7 {
		t.Fatalf("Len is %d, want 7", b.Len())
	}
}

func TestBytesLeavesRoomForATag(t *testing.T) {
	b := Get()
	defer b.Release()
	b.Extend(MaxPacket)
	if spare := cap(b.Bytes()) - b.Len(); spare != Tailroom {
		t.Fatalf("%d bytes behind the longest packet, want %d", spare, Tailroom)
	}
	sealed := append(b.Bytes(), bytes.Repeat([]byte{7}, 16)...)
	if tag := b.Extend(16); &tag[0] != &sealed[MaxPacket] || tag[15] != 7 {
		t.Fatal("what was appended to Bytes is not what Extend adds")
	}
}

func TestResetAndReuse(t *testing.T) {
	b := Get()
	b.Prepend(10)
	b.CsumStart, b.CsumOffset = 20, 16
	b.Reset()
	if b.Len() != 0 || len(b.Room()) != Size-Headroom || b.CsumStart != 0 || b.CsumOffset != 0 {
		t.Fatal("Reset leaves something behind")
	}
	b.Extend(5)
	b.CsumStart = 20
	b.Release()
	for range 4 { // whichever of them is the one from above
		b = Get()
		if b.Len() != 0 || b.CsumStart != 0 || len(b.Room()) != Size-Headroom {
			t.Fatal("Get returns a buffer that is not fresh")
		}
	}
}

func TestMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(b *Buf){
		"extend past the end":      func(b *Buf) { b.Extend(Size - Headroom + 1) },
		"extend by less than 0":    func(b *Buf) { b.Extend(-1) },
		"prepend past the start":   func(b *Buf) { b.Prepend(Headroom + 1) },
		"prepend less than 0":      func(b *Buf) { b.Prepend(-1) },
		"trim more than there is":  func(b *Buf) { b.TrimFront(1) },
		"truncate to more":         func(b *Buf) { b.Truncate(1) },
		"append more than fits in": func(b *Buf) { b.Append(make([]byte, Size)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := Get()
			defer b.Release()
			mustPanic(t, func() { misuse(b) })
			if b.Len() != 0 {
				t.Error("content changed")
			}
		})
	}
}

func TestDoubleReleasePanics(t *testing.T) {
	b := Get()
	b.Release()
	mustPanic(t, b.Release)
}

func TestUseAfterReleaseIsNoticed(t *testing.T) {
	if !raceEnabled {
		t.Skip("only builds with the race detector check this")
	}
	b := Get()
	content := b.Extend(4)
	b.Release()
	if content[0] != 0xdb || content[3] != 0xdb {
		t.Error("content is not poisoned")
	}
	mustPanic(t, func() { b.Bytes() })
	mustPanic(t, func() { b.Extend(1) })
}

func TestSuperIsSharedUntilTheLastRelease(t *testing.T) {
	b := GetSuper()
	if len(b.Room()) != SuperSize {
		t.Fatalf("room for %d bytes, want %d", len(b.Room()), SuperSize)
	}
	b.Segment, b.Headers = 1448, 52
	b.Share(2)
	b.Release()
	b.Release()
	b.Append([]byte("still here"))
	b.Release()
	mustPanic(t, b.Release)
	b = GetSuper()
	defer b.Release()
	if b.Len() != 0 || b.Segment != 0 || b.Headers != 0 {
		t.Error("GetSuper returns a buffer that is not fresh")
	}
}

func TestPartsKeepTheirMemory(t *testing.T) {
	whole := GetSuper()
	whole.Append([]byte("onetwothree"))
	whole.Share(2)
	parts := []*Buf{whole.Part(0, 3), whole.Part(3, 6), whole.Part(6, 11)}
	copy(parts[1].Bytes(), "TWO")
	parts[1].TrimFront(1)
	if len(parts[1].Room()) != 0 || cap(parts[1].Bytes()) != 2 {
		t.Error("a part reaches into its neighbour")
	}
	if got := string(parts[1].Bytes()); got != "WO" {
		t.Errorf("the part is %q", got)
	}
	done := make(chan struct{})
	go func() { parts[0].Release(); close(done) }()
	parts[1].Release()
	<-done
	if got := string(parts[2].Bytes()); got != "three" {
		t.Errorf("the last part is %q", got)
	}
	if whole.pooled {
		t.Fatal("the memory was freed while a part had it")
	}
	parts[2].Release()
	if !whole.pooled {
		t.Error("the memory is not freed with its last part")
	}
	mustPanic(t, whole.Release)
}

func TestGetAndReleaseDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops buffers at random")
	}
	payload := make([]byte, 1400)
	if n := testing.AllocsPerRun(1000, func() {
		b := Get()
		b.Append(payload)
		b.Prepend(8)
		b.Release()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkGetRelease(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Get().Release()
	}
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
