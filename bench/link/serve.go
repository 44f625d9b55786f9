package link

import (
	"math"
	"sort"
	"time"
)

// finish is the instant at which bits, whose transmission starts at start,
// have left the serialiser.
func (c *Config) finish(start time.Duration, bits float64) time.Duration {
	for {
		rate, until := c.rateAt(start)
		if rate <= 0 {
			return start
		}
		end := start + seconds(bits/rate)
		if end <= until {
			return end
		}
		bits -= rate * (until - start).Seconds()
		if bits <= 0 { // rounding
			return until
		}
		start = until
	}
}

// served is the number of bits that leave between from and to.
func (c *Config) served(from, to time.Duration) float64 {
	var bits float64
	for from < to {
		rate, until := c.rateAt(from)
		if rate <= 0 {
			return math.Inf(1)
		}
		end := min(until, to)
		bits += rate * (end - from).Seconds()
		from = end
	}
	return bits
}

func seconds(s float64) time.Duration {
	ns := math.Ceil(s * 1e9)
	if !(ns < math.MaxInt64/2) { // a rate near zero: far away, but no overflow in later sums
		return math.MaxInt64 / 4
	}
	return time.Duration(ns)
}

// cursor is the place in a trace: the opportunity in use and what it has left.
type cursor struct {
	n      int64 // absolute number of the next opportunity
	at     time.Duration
	credit int
}

// opportunity is the instant of the n-th opportunity of a repeated trace.
func (c *Config) opportunity(n int64) time.Duration {
	size := int64(len(c.Trace))
	return time.Duration(n/size)*c.Trace[size-1] + c.Trace[n%size]
}

// depart is the instant at which size bytes, ready at start, have left by the
// opportunities of the trace. An opportunity's rest serves the packets queued
// behind, and is wasted where there are none.
func (c *Config) depart(start time.Duration, size int, cur *cursor) time.Duration {
	if cur.at < start {
		cur.credit = 0
	}
	for need := size; ; {
		if cur.credit == 0 {
			if c.opportunity(cur.n) < start {
				// Skip what passed unused: whole periods, then a search.
				period := c.Trace[len(c.Trace)-1]
				turn := int64((start - 1) / period)
				i := sort.Search(len(c.Trace), func(i int) bool {
					return time.Duration(turn)*period+c.Trace[i] >= start
				})
				cur.n = max(cur.n, turn*int64(len(c.Trace))+int64(i))
			}
			cur.at = c.opportunity(cur.n)
			cur.n++
			cur.credit = TraceBytes
		}
		use := min(need, cur.credit)
		need -= use
		cur.credit -= use
		if need == 0 {
			return cur.at
		}
	}
}
