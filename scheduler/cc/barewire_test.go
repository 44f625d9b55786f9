package cc

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Over a bare wire the window covers the time in which acknowledgements and processors are waited for, or it would be
// empty between any two acknowledgements.
func TestWindowOverABareWire(t *testing.T) {
	c := New(Config{MSS: 1472}, rand.New(rand.NewPCG(1, 1)))
	const rate = 500e6
	c.base, c.state = 50*time.Microsecond, cruise
	c.bw.add(rate)
	if got, want := c.Window(), int(2*rate*leastRound.Seconds()); got < want {
		t.Errorf("the window at %.0f MB/s is %d bytes, want at least %d", rate/1e6, got, want)
	}
}
