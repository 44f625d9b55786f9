package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

const headerLen = 8

var suites = []Suite{SuiteAES128GCM, SuiteChaCha20Poly1305}

// pair returns the two ends of one direction.
func pair(t testing.TB, suite Suite) (*Sealer, *Opener) {
	t.Helper()
	secret := [32]byte{1, 2, 3}
	s, err := NewSealer(suite, secret)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(suite, secret)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

// sealed returns a datagram with the epoch of s in its first header byte.
func sealed(s *Sealer, path uint8, pn uint64, payload string) []byte {
	dg := make([]byte, headerLen, headerLen+len(payload)+Overhead)
	dg[0], dg[4] = byte(s.Epoch()&3), path
	return s.Seal(append(dg, payload...), headerLen, path, pn)
}

// open opens a copy of dg with the path and the epoch its header says.
func open(o *Opener, now time.Duration, dg []byte, pn uint64) (string, error) {
	dg = bytes.Clone(dg)
	p, err := o.Open(now, dg, headerLen, dg[0]&3, dg[4], pn)
	return string(p), err
}

func mustOpen(t *testing.T, o *Opener, now time.Duration, dg []byte, pn uint64, want string) {
	t.Helper()
	if got, err := open(o, now, dg, pn); err != nil || got != want {
		t.Fatalf("at %v, pn %d: %q, %v; want %q", now, pn, got, err, want)
	}
}

func TestSealAndOpenInPlace(t *testing.T) {
	for _, suite := range suites {
		s, o := pair(t, suite)
		buf := make([]byte, headerLen, 200)
		buf[4] = 9
		dg := append(buf, "attack at dawn"...)
		out := s.Seal(dg, headerLen, 9, 1<<40)
		if &out[0] != &dg[0] || len(out) != len(dg)+Overhead {
			t.Fatalf("%v: not sealed in place, or %d bytes longer", suite, len(out)-len(dg))
		}
		if out[4] != 9 || bytes.Contains(out, []byte("dawn")) {
			t.Fatalf("%v: header changed or payload in the clear: %q", suite, out)
		}
		plain, err := o.Open(0, out, headerLen, 0, 9, 1<<40)
		if err != nil || string(plain) != "attack at dawn" || &plain[0] != &out[headerLen] {
			t.Fatalf("%v: opened %q, %v", suite, plain, err)
		}
		mustOpen(t, o, 0, sealed(s, 9, 2, ""), 2, "")
	}
}

// The construction, spelled out once more without the package's own helpers.
func TestKeysAndNonce(t *testing.T) {
	for _, suite := range suites {
		secret := [32]byte{5}
		s, err := NewSealer(suite, secret)
		if err != nil {
			t.Fatal(err)
		}
		state := secret[:]
		for epoch := range 3 {
			derive := func(label string, n int) []byte {
				b, err := hkdf.Expand(sha256.New, state, label, n)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			aead, err := suite.newAEAD(derive("bondd key", suite.keyLen()))
			if err != nil {
				t.Fatal(err)
			}
			nonce := derive("bondd iv", 12)
			for i, b := range []byte{0, 0, 0, 0x7f, 0, 0, 1, 2, 3, 4, 5, byte(epoch)} {
				nonce[i] ^= b
			}
			header := []byte{byte(epoch), 0, 0, 0, 0x7f, 0, 0, 0}
			want := aead.Seal(bytes.Clone(header), nonce, []byte("payload"), header)
			if got := sealed(s, 0x7f, 0x0102030405_00|uint64(epoch), "payload"); !bytes.Equal(got, want) {
				t.Fatalf("%v, epoch %d: % x, want % x", suite, epoch, got, want)
			}
			state = derive("bondd next", 32)
			if err := s.Advance(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The owner counts these and drops the datagram; the session goes on.
func TestForgedDatagramsAreRefused(t *testing.T) {
	for _, suite := range suites {
		s, o := pair(t, suite)
		dg := sealed(s, 1, 5, "payload")
		forged, tried := 0, 0
		try := func(dg []byte, headerLen int, path uint8, pn uint64) {
			tried++
			if _, err := o.Open(0, bytes.Clone(dg), headerLen, 0, path, pn); errors.Is(err, ErrForged) {
				forged++
			}
		}
		for i := range dg { // every byte of header, ciphertext and tag counts
			bad := bytes.Clone(dg)
			bad[i] ^= 0x10
			try(bad, headerLen, 1, 5)
		}
		for n := range dg { // every truncation
			try(dg[:n], headerLen, 1, 5)
		}
		try(append(bytes.Clone(dg), 0), headerLen, 1, 5)
		try(dg, headerLen, 2, 5)       // another path
		try(dg, headerLen, 1, 6)       // another pn
		try(dg, headerLen, 1, 5|1<<24) // another pn with the same low bits
		try(dg, headerLen-1, 1, 5)     // another border between header and payload
		other, err := NewSealer(suite, [32]byte{9})
		if err != nil {
			t.Fatal(err)
		}
		try(sealed(other, 1, 5, "payload"), headerLen, 1, 5)
		if forged != tried {
			t.Errorf("%v: %d of %d forged datagrams refused", suite, forged, tried)
		}
		mustOpen(t, o, 0, dg, 5, "payload")
	}
}

func TestTheSuitesDoNotMix(t *testing.T) {
	s, _ := pair(t, SuiteAES128GCM)
	_, o := pair(t, SuiteChaCha20Poly1305)
	if _, err := open(o, 0, sealed(s, 0, 0, "payload"), 0); !errors.Is(err, ErrForged) {
		t.Errorf("opened with the other suite: %v", err)
	}
}

func TestSuiteNames(t *testing.T) {
	for _, suite := range suites {
		if got, err := ParseSuite(suite.String()); err != nil || got != suite {
			t.Errorf("%v parses as %v, %v", suite, got, err)
		}
	}
	for _, name := range []string{"", "no suite", "AES"} {
		if got, err := ParseSuite(name); err == nil {
			t.Errorf("%q parses as %v", name, got)
		}
	}
	if _, err := NewSealer(0, [32]byte{}); err == nil {
		t.Error("a Sealer without a suite")
	}
	if _, err := NewOpener(3, [32]byte{}); err == nil {
		t.Error("an Opener without a suite")
	}
}

func TestSealPanicsWithoutRoomForTheTag(t *testing.T) {
	s, _ := pair(t, SuiteAES128GCM)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s.Seal(make([]byte, 20, 20+Overhead-1), headerLen, 0, 0)
}

func FuzzOpen(f *testing.F) {
	s, _ := pair(f, SuiteAES128GCM)
	f.Add(sealed(s, 1, 2, "payload"), uint8(0), uint8(1), uint64(3))
	f.Add([]byte{}, uint8(1), uint8(1), uint64(0))
	f.Add(make([]byte, headerLen+Overhead), uint8(7), uint8(0), uint64(1<<63))
	f.Fuzz(func(t *testing.T, dg []byte, bits, path uint8, pn uint64) {
		s, o := pair(t, SuiteAES128GCM)
		genuine := sealed(s, 1, 2, "payload")
		same := bytes.Equal(dg, genuine) && bits&3 == 0 && path == 1 && pn == 2
		p, err := o.Open(0, bytes.Clone(dg), headerLen, bits, path, pn)
		if (err == nil) != same || err != nil && p != nil || o.Epoch() != 0 {
			t.Fatalf("opened %q, %v", p, err)
		}
		mustOpen(t, o, 0, genuine, 2, "payload")
	})
}

func TestSealAndOpenDoNotAllocate(t *testing.T) {
	for _, suite := range suites {
		s, o := pair(t, suite)
		buf := make([]byte, 2048)
		pn := uint64(0)
		if n := testing.AllocsPerRun(1000, func() {
			dg := s.Seal(buf[:headerLen+1400], headerLen, 1, pn)
			if _, err := o.Open(0, dg, headerLen, 0, 1, pn); err != nil {
				t.Fatal(err)
			}
			pn++
		}); n != 0 {
			t.Errorf("%v: %v allocations, want 0", suite, n)
		}
	}
}

func BenchmarkSeal(b *testing.B) { benchmark(b, false) }
func BenchmarkOpen(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, opening bool) {
	for _, suite := range suites {
		b.Run(suite.String(), func(b *testing.B) {
			s, o := pair(b, suite)
			buf, work := make([]byte, 2048), make([]byte, 2048)
			dg := s.Seal(buf[:headerLen+1400], headerLen, 1, 1)
			b.SetBytes(1400)
			b.ReportAllocs()
			for b.Loop() {
				if !opening {
					s.Seal(work[:headerLen+1400], headerLen, 1, 1)
					continue
				}
				copy(work, dg)
				if _, err := o.Open(0, work[:len(dg)], headerLen, 0, 1, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Datagrams, reordered over several switches, all arrive.
func TestReorderingOverASwitchLosesNothing(t *testing.T) {
	for _, suite := range suites {
		s, o := pair(t, suite)
		rng := rand.New(rand.NewPCG(13, 14))
		type arrival struct {
			dg []byte
			pn uint64
			at time.Duration
		}
		var inFlight []arrival
		now := time.Duration(0)
		opened := 0
		deliver := func(i int) {
			a := inFlight[i]
			mustOpen(t, o, now, a.dg, a.pn, "payload")
			opened++
			inFlight[i] = inFlight[len(inFlight)-1]
			inFlight = inFlight[:len(inFlight)-1]
		}
		const total = 4000
		for pn := range uint64(total) {
			now += 10 * time.Millisecond
			// The sender knows that the peer follows, and leaves 5 s between two
			// switches.
			if pn%500 == 499 && o.Epoch() == s.Epoch() {
				if err := s.Advance(); err != nil {
					t.Fatal(err)
				}
			}
			inFlight = append(inFlight, arrival{sealed(s, 0, pn, "payload"), pn, now})
			for i := len(inFlight) - 1; i >= 0; i-- {
				if rng.IntN(40) == 0 || now-inFlight[i].at > 2*time.Second {
					deliver(i)
				}
			}
		}
		for len(inFlight) > 0 {
			deliver(rng.IntN(len(inFlight)))
		}
		if opened != total || o.Epoch() != s.Epoch() || o.Epoch() != total/500 {
			t.Errorf("%v: %d of %d opened, epochs %d and %d", suite, opened, total, s.Epoch(), o.Epoch())
		}
	}
}
