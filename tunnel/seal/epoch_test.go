package seal

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// The receiver follows the sender with the first datagram that opens, and the
// two directions of a session know nothing of each other.
func TestReceiverFollowsTheSender(t *testing.T) {
	s, o := pair(t, SuiteAES128GCM)
	other, otherEnd := pair(t, SuiteAES128GCM)
	for epoch := range uint64(9) { // twice through the two bits
		now := time.Duration(epoch) * MaxAge
		mustOpen(t, o, now, sealed(s, 0, epoch, "payload"), epoch, "payload")
		if s.Epoch() != epoch || o.Epoch() != epoch {
			t.Fatalf("sender in epoch %d, receiver in %d, want %d", s.Epoch(), o.Epoch(), epoch)
		}
		if err := s.Advance(); err != nil {
			t.Fatal(err)
		}
		if o.Epoch() != epoch {
			t.Fatal("receiver advanced without a datagram")
		}
	}
	mustOpen(t, otherEnd, 0, sealed(other, 0, 0, "payload"), 0, "payload")
	if otherEnd.Epoch() != 0 {
		t.Fatal("the other direction advanced too")
	}
}

func TestEachEpochHasItsOwnKeys(t *testing.T) {
	s, _ := pair(t, SuiteAES128GCM)
	seen := map[string]uint64{}
	for epoch := range uint64(5) {
		dg := make([]byte, headerLen, 100) // the same bytes, path and pn each time
		out := string(s.Seal(append(dg, "payload"...), headerLen, 0, 0))
		if before, ok := seen[out]; ok {
			t.Fatalf("epochs %d and %d seal alike", before, epoch)
		}
		seen[out] = epoch
		if err := s.Advance(); err != nil {
			t.Fatal(err)
		}
	}
}

// A datagram of the previous epoch is opened for 10 s after the switch, and not
// at 10 s.
func TestPreviousEpochIsKeptForAWhile(t *testing.T) {
	s, o := pair(t, SuiteAES128GCM)
	old := sealed(s, 0, 0, "old")
	if err := s.Advance(); err != nil {
		t.Fatal(err)
	}
	const change = time.Hour
	fresh := sealed(s, 0, 1, "new")
	mustOpen(t, o, change, fresh, 1, "new")
	mustOpen(t, o, change, old, 0, "old")
	mustOpen(t, o, change+5*time.Second, fresh, 1, "new") // a repeated datagram does not restart the time
	mustOpen(t, o, change+PreviousKept-1, old, 0, "old")
	if _, err := open(o, change+PreviousKept, old, 0); !errors.Is(err, ErrEpoch) {
		t.Fatalf("after %v: %v, want %v", PreviousKept, err, ErrEpoch)
	}
	if o.previous != nil {
		t.Fatal("old keys are not forgotten")
	}
	// A clock that is read twice in another order does not bring them back.
	if _, err := open(o, change, old, 0); !errors.Is(err, ErrEpoch) {
		t.Fatalf("forgotten keys: %v, want %v", err, ErrEpoch)
	}
	mustOpen(t, o, change+time.Hour, fresh, 1, "new")
}

func TestThereIsNoEpochBeforeTheFirst(t *testing.T) {
	s, o := pair(t, SuiteAES128GCM)
	dg := sealed(s, 0, 0, "payload")
	for _, bits := range []uint8{2, 3} {
		if _, err := o.Open(0, bytes.Clone(dg), headerLen, bits, 0, 0); !errors.Is(err, ErrEpoch) {
			t.Errorf("bits %d: %v, want %v", bits, err, ErrEpoch)
		}
	}
}

// Somebody who changes the epoch bits, or makes datagrams up, moves nothing:
// neither the current epoch nor the time for which the previous one is kept.
func TestForgedEpochBitsDoNotAdvance(t *testing.T) {
	s, o := pair(t, SuiteAES128GCM)
	if err := s.Advance(); err != nil {
		t.Fatal(err)
	}
	genuine := sealed(s, 0, 1, "payload")
	mustOpen(t, o, 0, genuine, 1, "payload")
	refused := 0
	for round := range 100 {
		for bits := range uint8(4) {
			bad := bytes.Clone(genuine)
			if bits == genuine[0]&3 {
				bad[len(bad)-1-round%Overhead] ^= 1
			}
			bad[0] = bad[0]&^3 | bits
			if _, err := open(o, 5*time.Second, bad, 1); err != nil {
				refused++
			}
		}
	}
	if refused != 400 {
		t.Errorf("%d of 400 refused", refused)
	}
	if o.Epoch() != 1 || o.previousUntil != PreviousKept {
		t.Errorf("epoch %d, previous kept until %v: moved by forged datagrams", o.Epoch(), o.previousUntil)
	}
	mustOpen(t, o, 6*time.Second, genuine, 1, "payload")
	if err := s.Advance(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, o, 7*time.Second, sealed(s, 0, 2, "next"), 2, "next")
}

// A sender that breaks the rule and is two epochs ahead is not followed.
func TestTwoEpochsAheadIsRefused(t *testing.T) {
	s, o := pair(t, SuiteAES128GCM)
	for range 2 {
		if err := s.Advance(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(o, 0, sealed(s, 0, 0, "payload"), 0); !errors.Is(err, ErrEpoch) {
		t.Errorf("two ahead: %v, want %v", err, ErrEpoch)
	}
	if err := s.Advance(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(o, 0, sealed(s, 0, 0, "payload"), 0); err == nil {
		t.Error("three ahead was opened")
	}
	if err := s.Advance(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(o, 0, sealed(s, 0, 0, "payload"), 0); !errors.Is(err, ErrForged) {
		t.Errorf("four ahead, which looks like the current one: %v, want %v", err, ErrForged)
	}
}
