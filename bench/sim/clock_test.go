package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The obvious implementation, a sorted list, must agree with the heap on the
// order of everything, ties included.
func TestClockAgainstSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var c clock
	var got, want []string
	at := make([]time.Duration, 20)
	for i := range at {
		at[i] = Never
		c.add(fmt.Sprint(i), func(now time.Duration) { got = append(got, fmt.Sprint(i, " ", now)) })
	}
	for range 500 {
		for range rng.IntN(8) {
			i := rng.IntN(len(at))
			at[i] = c.now + time.Duration(rng.IntN(30))
			if rng.IntN(5) == 0 {
				at[i] = Never
			}
			c.set(actor(i), at[i])
		}
		until := c.now + time.Duration(rng.IntN(20))
		for {
			k := -1
			for i, a := range at {
				if a <= until && (k < 0 || a < at[k]) {
					k = i
				}
			}
			if k < 0 {
				break
			}
			want = append(want, fmt.Sprint(k, " ", at[k]))
			at[k] = Never
		}
		if err := c.advance(until); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("ran %v, want %v", got, want)
		}
		if c.now != until {
			t.Fatalf("the clock shows %v, want %v", c.now, until)
		}
	}
	if len(got) < 1000 {
		t.Fatalf("only %d events", len(got))
	}
}

func TestClockReportsLiveLock(t *testing.T) {
	var c clock
	var a actor
	a = c.add("spinner", func(now time.Duration) { c.set(a, now) })
	c.set(a, ms)
	if err := c.advance(time.Second); err == nil || !strings.Contains(err.Error(), "spinner") {
		t.Fatalf("error %v, want one that names the spinner", err)
	}
}
