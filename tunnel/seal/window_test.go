package seal

import (
	"math/rand/v2"
	"testing"

	"github.com/pion/transport/v2/replaydetector"
)

// pn stands for "this number arrives", in the order of a scenario below.
func TestWindowByHand(t *testing.T) {
	const w = WindowWidth
	for _, c := range []struct {
		name string
		pn   []uint64
		want []bool
	}{
		{"in order", []uint64{0, 1, 2, 3}, []bool{true, true, true, true}},
		{"each twice", []uint64{0, 0, 7, 7, 0}, []bool{true, false, true, false, false}},
		{"late", []uint64{5, 3, 4, 3}, []bool{true, true, true, false}},
		{"oldest place", []uint64{w - 1, 0, w, 0, 1}, []bool{true, true, true, false, true}},
		{"too old", []uint64{w, 0}, []bool{true, false}},
		{"same bit, one turn later", []uint64{3, 3 + w, 3}, []bool{true, true, false}},
		{"jump of one turn", []uint64{3, 4, 4 + w, 3 + w, 5, 4}, []bool{true, true, true, true, true, false}},
		{"jump far ahead", []uint64{1, 2, 1 << 40, 1<<40 - w + 1, 1<<40 - w}, []bool{true, true, true, true, false}},
		{"top of the range", []uint64{MaxPN, MaxPN, MaxPN - 1, MaxPN + 1, 1<<64 - 1}, []bool{true, false, true, false, false}},
	} {
		var win Window
		for i, pn := range c.pn {
			before := win
			if got := win.Check(pn); got != c.want[i] {
				t.Errorf("%s: Check(%d) = %v, want %v", c.name, pn, got, c.want[i])
			}
			if win != before {
				t.Errorf("%s: Check(%d) changed the window", c.name, pn)
			}
			if got := win.Commit(pn); got != c.want[i] {
				t.Errorf("%s: Commit(%d) = %v, want %v", c.name, pn, got, c.want[i])
			}
			if !c.want[i] && win != before {
				t.Errorf("%s: refused Commit(%d) changed the window", c.name, pn)
			}
		}
	}
}

func TestWindowNextAndOld(t *testing.T) {
	var w Window
	if w.Next() != 0 || w.Old(0) {
		t.Fatal("the empty window knows something")
	}
	w.Commit(WindowWidth + 4)
	if w.Next() != WindowWidth+5 || !w.Old(4) || w.Old(5) || w.Old(1<<40) {
		t.Fatalf("Next %d, Old(4) %v, Old(5) %v", w.Next(), w.Old(4), w.Old(5))
	}
}

// The oracle is the detector of pion, over the kinds of arrival that paths
// make.
func TestWindowAgainstOracle(t *testing.T) {
	for _, c := range []struct {
		name  string
		draw  func(rng *rand.Rand, top uint64) uint64
		steps int
	}{
		{"one path", func(rng *rand.Rand, top uint64) uint64 { return top + 3 - min(rng.Uint64N(8), top+3) }, 30_000},
		{"wide", func(rng *rand.Rand, top uint64) uint64 {
			return top + 40 - min(rng.Uint64N(WindowWidth+80), top+40)
		}, 30_000},
		{"edge of the window", func(rng *rand.Rand, top uint64) uint64 {
			if rng.IntN(2) == 0 {
				return top + rng.Uint64N(3)
			}
			return top - min(WindowWidth-2+rng.Uint64N(4), top)
		}, 30_000},
		{"jumps", func(rng *rand.Rand, top uint64) uint64 {
			switch rng.IntN(50) {
			case 0:
				return top + rng.Uint64N(4*WindowWidth)
			case 1:
				return top + WindowWidth - 2 + rng.Uint64N(4)
			}
			return top + 100 - min(rng.Uint64N(2*WindowWidth), top+100)
		}, 30_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(11, 12))
			oracle := replaydetector.New(WindowWidth, MaxPN)
			var w Window
			var top uint64
			accepted := 0
			for range c.steps {
				pn := c.draw(rng, top)
				accept, want := oracle.Check(pn)
				if got := w.Check(pn); got != want {
					t.Fatalf("highest %d: Check(%d) = %v, oracle %v", top, pn, got, want)
				}
				// One in eight turns out to be forged and is not committed.
				if !want || rng.IntN(8) == 0 {
					continue
				}
				accept()
				accepted++
				if !w.Commit(pn) {
					t.Fatalf("Commit(%d) refused", pn)
				}
				top = max(top, pn)
				if w.Next() != top+1 {
					t.Fatalf("Next is %d after %d", w.Next(), top)
				}
			}
			if accepted < c.steps/100 || accepted == c.steps {
				t.Fatalf("accepted %d of %d: the scenario tests nothing", accepted, c.steps)
			}
		})
	}
}

// FuzzWindow reads the input as steps of arrival relative to the highest pn.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 128, 5, 127, 255, 64, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		oracle := replaydetector.New(WindowWidth, MaxPN)
		var w Window
		var top uint64
		for ; len(steps) >= 2; steps = steps[2:] {
			step := int64(int16(uint16(steps[0])<<8 | uint16(steps[1])))
			pn := uint64(max(int64(top)+step, 0))
			accept, want := oracle.Check(pn)
			if got := w.Commit(pn); got != want {
				t.Fatalf("highest %d: Commit(%d) = %v, oracle %v", top, pn, got, want)
			}
			if want {
				accept()
				top = max(top, pn)
			}
		}
	})
}

func TestWindowDoesNotAllocate(t *testing.T) {
	w := new(Window)
	pn := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		if w.Check(pn) {
			w.Commit(pn)
		}
		w.Check(pn)
		pn += 3
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkWindow(b *testing.B) {
	w := new(Window)
	b.ReportAllocs()
	for pn := uint64(0); b.Loop(); pn++ {
		if !w.Check(pn) || !w.Commit(pn) {
			b.Fatal("refused")
		}
	}
}
