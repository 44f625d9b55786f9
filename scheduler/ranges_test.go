package scheduler

import (
	"math/rand/v2"
	"testing"
)

// The oracle of rangeSet is a set of numbers.
func TestRangesAgreeWithASet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var s rangeSet
		seen := map[uint64]bool{}
		var top uint64
		full := false // it had to forget once
		for i := range 400 {
			pn := uint64(i)
			if rng.IntN(10) == 0 {
				continue
			}
			if rng.IntN(5) == 0 {
				pn = uint64(max(0, i-rng.IntN(30)))
			}
			isTop := len(seen) > 0 && pn > top+1
			if gap := s.add(pn); gap != isTop {
				t.Fatalf("add(%d) with top %d: gap %v", pn, top, gap)
			}
			seen[pn] = true
			top = max(top, pn)
			full = full || len(s.ranges()) == MaxRanges
			checkRanges(t, &s, seen, top, full)
		}
	}
}

func checkRanges(t *testing.T, s *rangeSet, seen map[uint64]bool, top uint64, full bool) {
	t.Helper()
	rs := s.ranges()
	if l, ok := s.largest(); !ok || l != top {
		t.Fatalf("largest %d, want %d", l, top)
	}
	for i, r := range rs {
		if r.First > r.Last || i > 0 && rs[i-1].First < r.Last+2 {
			t.Fatalf("ranges out of order or touching: %v", rs)
		}
		for pn := r.First; pn <= r.Last; pn++ {
			if !seen[pn] {
				t.Fatalf("%d was never added: %v", pn, rs)
			}
		}
	}
	if !full {
		n := 0
		for _, r := range rs {
			n += int(r.Last - r.First + 1)
		}
		if n != len(seen) {
			t.Fatalf("%d numbers in %v, %d were added", n, rs, len(seen))
		}
	}
}
