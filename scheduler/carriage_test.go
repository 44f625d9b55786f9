package scheduler

import (
	"strings"
	"testing"
	"time"
)

// fitting is a situation in which the kernel does.
func fitting() CarryInput {
	return CarryInput{BBR: true, Paths: []CarryPath{
		{Name: "vdsl", RTT: 16 * time.Millisecond, Rate: 6e6, Acked: 2 << 20},
		{Name: "adsl", RTT: 24 * time.Millisecond, Rate: 1.2e6, Acked: 2 << 20},
	}}
}

// after judges a situation for a while, and says what came of it.
func (c *Carriage) after(now *time.Duration, d time.Duration, in CarryInput) bool {
	for end := *now + d; *now < end; *now += time.Second {
		c.Judge(*now, in)
	}
	return c.kernel
}

func TestCarriageReasons(t *testing.T) {
	for _, x := range []struct {
		why    string
		change func(in *CarryInput)
	}{
		{"the exit does not speak MPTCP", func(in *CarryInput) { in.Missing = "the exit does not speak MPTCP" }},
		{"one uplink", func(in *CarryInput) { in.Paths = in.Paths[:1] }},
		{"adsl: stripped", func(in *CarryInput) { in.Paths[1].Reason = "stripped" }},
		{"adsl has not been measured", func(in *CarryInput) { in.Paths[1].Acked = 1000 }},
		{"vdsl has not been measured", func(in *CarryInput) { in.Paths[0].RTT = 0 }},
		{"adsl loses 0.80 %", func(in *CarryInput) { in.Paths[1].Loss = 0.008 }},
		{"vdsl loses 0.10 %", func(in *CarryInput) { in.Paths[0].Loss, in.BBR = 0.001, false }},
		{"adsl is 288 ms slower than vdsl", func(in *CarryInput) { in.Paths[1].RTT = 592 * time.Millisecond }},
		{"adsl has 4 % of the rate", func(in *CarryInput) { in.Paths[1].Rate = 0.25e6 }},
	} {
		in := fitting()
		x.change(&in)
		var c Carriage
		var now time.Duration
		if c.after(&now, time.Minute, in) || !strings.Contains(c.why, x.why) {
			t.Errorf("%s: kernel %v because %q", x.why, c.kernel, c.why)
		}
	}
}

func TestCarriageHysteresis(t *testing.T) {
	var c Carriage
	var now time.Duration
	in := fitting()
	if c.after(&now, 2*time.Second, in) {
		t.Error("chosen at once")
	}
	if !c.after(&now, 3*time.Second, in) {
		t.Fatalf("not chosen: %s", c.why)
	}
	in.Paths[1].Loss = 0.005 // too much to begin with, not to go on
	if !c.after(&now, 10*time.Second, in) {
		t.Errorf("given up within the margin: %s", c.why)
	}
	in.Paths[1].Loss = 0.01
	if c.after(&now, time.Second, in) {
		t.Error("kept with too much loss")
	}
	// Next time it takes twice as long.
	in.Paths[1].Loss = 0
	if c.after(&now, 5*time.Second, in) {
		t.Error("no patience after a change of mind")
	}
	if !c.after(&now, 3*time.Second, in) {
		t.Errorf("never again: %s", c.why)
	}
	c.Reset()
	if kernel, _ := c.Kernel(); kernel {
		t.Error("the choice outlives its paths")
	}
}

// TestCarriageTCPOnly: an uplink through which no datagram comes is lost to the bond.
func TestCarriageTCPOnly(t *testing.T) {
	in := fitting()
	in.Paths[1].TCPOnly, in.Paths[1].Acked, in.Paths[1].Rate = true, 0, 0
	var c Carriage
	var now time.Duration
	if !c.after(&now, 5*time.Second, in) || !strings.Contains(c.why, "adsl") {
		t.Errorf("kernel %v: %s", c.kernel, c.why)
	}
}
