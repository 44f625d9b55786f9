package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"
)

// checksums computes what a receiver checks: both sums must come out as zero.
func checksums(t *testing.T, p []byte) {
	t.Helper()
	if s := fold(sum(p[:ipHeader])); s != 0xffff {
		t.Errorf("IP header sums up to %#x", s)
	}
	tr := append([]byte(nil), p[ipHeader:]...)
	n := len(tr)
	if n%2 == 1 {
		tr = append(tr, 0)
	}
	if s := fold(sum(p[12:20]) + uint32(p[9]) + uint32(n) + fold2(tr)); s != 0xffff {
		t.Errorf("transport of protocol %d sums up to %#x", p[9], s)
	}
}

func fold2(p []byte) uint32 { return uint32(fold(sum(p))) }

func TestSegmentsAreRealPackets(t *testing.T) {
	for _, n := range []int{0, 3, 4, 5, 700, 1400, 1448} {
		for sacks := range 4 {
			want := packet{flow: 7, fromClient: n%2 == 0, id: 99, seq: 0xfffffff0, ack: 5, flags: flagACK, window: 77, tsVal: 8, tsEcr: 9, sacks: sacks}
			for i := range sacks {
				want.sack[i] = span32{uint32(i), uint32(i + 1000)}
			}
			if n == 0 && sacks == 0 {
				want.mss = 1460
			}
			if ipHeader+tcpHeader+tsOption+4+8*sacks+n > 1500 {
				continue
			}
			b := newTCP(&want, n)
			checksums(t, b.Bytes())
			var got packet
			if err := parse(b.Bytes(), &got); err != nil {
				t.Fatalf("%d bytes, %d sacks: %v", n, sacks, err)
			}
			if len(got.payload) != n {
				t.Errorf("payload of %d bytes, want %d", len(got.payload), n)
			}
			got.payload, want.proto, want.size = nil, protoTCP, b.Len()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			b.Release()
		}
	}
	b := newUDP(3, true, 4, 101, []byte("0123456789abcdef"))
	checksums(t, b.Bytes())
	var got packet
	if err := parse(b.Bytes(), &got); err != nil || got.flow != 3 || !got.fromClient || string(got.payload[:16]) != "0123456789abcdef" {
		t.Errorf("%+v, %v", got, err)
	}
	b.Release()
}

func TestParseNoticesChange(t *testing.T) {
	b := newTCP(&packet{flow: 1, flags: flagACK, seq: 1234}, 1000)
	defer b.Release()
	p := b.Bytes()
	var out packet
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"start of payload", func() { p[len(p)-1000] ^= 1 }},
		{"end of payload", func() { p[len(p)-1] ^= 1 }},
		{"length", func() { binary.BigEndian.PutUint16(p[2:], 900) }},
	} {
		saved := append([]byte(nil), p...)
		c.do()
		if parse(p, &out) == nil {
			t.Errorf("%s: not noticed", c.name)
		}
		copy(p, saved)
	}
	if err := parse(p, &out); err != nil {
		t.Error(err)
	}
}

// A map is the obvious way to remember numbers.
func TestWindowAgainstMap(t *testing.T) {
	slowWithRace(t)
	rng := rand.New(rand.NewPCG(3, 4))
	var w window
	seen := map[uint64]bool{}
	var top uint64
	for range 400_000 {
		var n uint64
		switch rng.IntN(10) {
		case 0:
			n = top + uint64(rng.IntN(2000))
		case 1, 2:
			n = top - min(top, uint64(rng.IntN(20000)))
		default:
			n = top + 1
		}
		top = max(top, n)
		if got := w.add(uint16(n)); got != !seen[n] {
			t.Fatalf("packet %d (highest %d): taken %v, seen before %v", n, top, got, seen[n])
		}
		seen[n] = true
	}
	if w.tooLate != 0 || w.count != uint64(len(seen)) || w.late == 0 {
		t.Errorf("%d counted, %d late, %d too late, want %d counted", w.count, w.late, w.tooLate, len(seen))
	}
}
