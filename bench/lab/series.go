package lab

import (
	"math"
	"slices"
	"time"
)

// Bin is the width of one slot of a Series: fine enough to see a stall of a few
// hundredths of a second.
const Bin = 10 * time.Millisecond

// Series counts bytes as they arrive, in slots of Bin.
type Series struct {
	Origin time.Duration `json:"origin"` // instant (Now) of the left edge of slot 0
	Bytes  []int64       `json:"bytes"`
}

// maxBins bounds a series: 20 minutes.
const maxBins = 120_000

// Add counts n bytes that arrived at the instant at.
func (s *Series) Add(at time.Duration, n int) {
	i := int((at - s.Origin) / Bin)
	if i < 0 || i >= maxBins {
		return
	}
	if i >= len(s.Bytes) {
		s.Bytes = append(s.Bytes, make([]int64, i+1-len(s.Bytes))...)
	}
	s.Bytes[i] += int64(n)
}

// Merge adds another series of the same origin.
func (s *Series) Merge(o Series) {
	if len(o.Bytes) > len(s.Bytes) {
		s.Bytes = append(s.Bytes, make([]int64, len(o.Bytes)-len(s.Bytes))...)
	}
	for i, n := range o.Bytes {
		s.Bytes[i] += n
	}
}

// Between is the number of bytes that arrived from..to after the origin.
func (s Series) Between(from, to time.Duration) int64 {
	var sum int64
	lo, hi := max(0, int(from/Bin)), min(len(s.Bytes), int(to/Bin))
	for i := lo; i < hi; i++ {
		sum += s.Bytes[i]
	}
	return sum
}

// Mbps is the mean rate from..to after the origin, in Mb/s.
func (s Series) Mbps(from, to time.Duration) float64 {
	from, to = from.Truncate(Bin), to.Truncate(Bin)
	if to <= from {
		return 0
	}
	return float64(s.Between(from, to)) * 8 / (to - from).Seconds() / 1e6
}

// Silence is the longest time without an arrival inside from..to after the
// origin, to the resolution of Bin, and the offset at which it began.
func (s Series) Silence(from, to time.Duration) (longest, at time.Duration) {
	run := 0
	lo, hi := max(0, int(from/Bin)), int(to/Bin)
	for i := lo; i < hi; i++ {
		if i < len(s.Bytes) && s.Bytes[i] > 0 {
			run = 0
			continue
		}
		run++
		if d := time.Duration(run) * Bin; d > longest {
			longest, at = d, time.Duration(i+1-run)*Bin
		}
	}
	return longest, at
}

// Slices returns the rates in Mb/s of consecutive slots of the given width, for
// plots.
func (s Series) Slices(width time.Duration) []float64 {
	n := max(1, int(width/Bin))
	var out []float64
	for i := 0; i < len(s.Bytes); i += n {
		var sum int64
		for _, b := range s.Bytes[i:min(i+n, len(s.Bytes))] {
			sum += b
		}
		out = append(out, float64(sum)*8/(time.Duration(n)*Bin).Seconds()/1e6)
	}
	return out
}

// Quantile is the smallest value that at least the share q of the values do
// not exceed; 0 for none. It sorts ds.
func Quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	slices.Sort(ds)
	i := int(math.Ceil(q*float64(len(ds)))) - 1
	return ds[min(max(i, 0), len(ds)-1)]
}
