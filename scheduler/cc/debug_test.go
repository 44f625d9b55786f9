package cc

import "fmt"

// debug shows the inside of the contest in traces.
func (c *BBR) debug() string {
	r := &c.rival
	return fmt.Sprintf("cubic %.1fK elastic %d peak %.1f bias %v", r.cubic.window/1e3, r.elastic.phase, r.peak*8/1e6, r.bias)
}
