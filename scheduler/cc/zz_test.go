package cc

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestZSeeds(t *testing.T) {
	only := os.Getenv("ROW")
	one, _ := strconv.Atoi(os.Getenv("SEED"))
	for _, s := range scenarios() {
		if s.name != only {
			continue
		}
		for seed := uint64(2); seed < 12; seed++ {
			if one > 0 && int(seed) != one {
				continue
			}
			r := s.play(seed, one > 0)
			fmt.Printf("seed %d %-22s %5.1f%% %9v %9v %8.2f%%\n", seed, s.name, 100*r.util, r.meanQ.Round(ms/10), r.p99Q.Round(ms/10), 100*r.overflow)
		}
	}
}
