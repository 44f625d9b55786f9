package scheduler

import (
	"fmt"
	"time"
)

// Limits within which the kernel's MPTCP fills its paths as well as the bond does. A choice for it that stands is given up at the second figure
// only. They are narrower than what was seen to work, for the bond is never much worse, and the kernel can be.
const (
	// The kernel's scheduler does not know round trips: a burst on a slow path holds the rest up.
	carrySpread, carrySpreadOut = 40 * time.Millisecond, 50 * time.Millisecond
	// With BBR 0.5 % costs nothing and 0.8 % a tenth. Others take each loss for congestion.
	carryLoss, carryLossOut           = 0.003, 0.006
	carryLossCubic, carryLossCubicOut = 0.0001, 0.0003
	// A path that adds 4 % costs 7.
	carryShare, carryShareOut = 0.08, 0.05

	// carryMeasured is how much has to have been acknowledged on a path, in bytes, before its loss and rate count: some 700 datagrams.
	carryMeasured = 1 << 20
	// carryPatience is how long all has to be well before the choice falls on the kernel, at first; it doubles with each time that it
	// had to be taken back, up to carryPatienceMax.
	carryPatience    = 3 * time.Second
	carryPatienceMax = 5 * time.Minute
)

// CarryPath is a path as the choice between the bond and the kernel sees it.
type CarryPath struct {
	Name    string
	RTT     time.Duration // without queues of our own; 0: unknown
	Loss    float64       // of the worse direction
	Rate    float64       // bytes/s, of the better direction
	Acked   uint64        // bytes, of the direction that has carried more
	Reason  string        // why the kernel cannot use it; empty if it can
	TCPOnly bool          // the bond cannot use it
}

// CarryInput is the situation at one moment.
type CarryInput struct {
	Missing string // why the kernel's MPTCP is not to be had; empty if it is
	BBR     bool   // both ends have it
	Paths   []CarryPath
}

// Carriage decides whether new TCP connections go through the bond or by the kernel's MPTCP. The zero value has chosen the bond.
type Carriage struct {
	kernel   bool
	why      string
	begun    bool          // the kernel would do, since
	since    time.Duration //
	patience time.Duration
}

// Kernel tells whether the kernel is chosen, and why so.
func (c *Carriage) Kernel() (kernel bool, why string) { return c.kernel, c.why }

// Reset forgets the past: the set of paths is another one.
func (c *Carriage) Reset() { *c = Carriage{} }

// Judge looks at the situation. It is to be called every second or so.
func (c *Carriage) Judge(now time.Duration, in CarryInput) {
	against := in.against(c.kernel)
	switch {
	case against != "":
		if c.kernel {
			c.patience = min(2*c.patience, carryPatienceMax)
		}
		c.kernel, c.begun, c.why = false, false, against
	case c.kernel:
	case !c.begun:
		c.begun, c.since = true, now
		c.patience = max(c.patience, carryPatience)
		c.why = "the paths fit the kernel's MPTCP; waiting whether that lasts"
	case now-c.since >= c.patience:
		c.kernel = true
		c.why = in.favour()
	}
}

// favour says why the kernel does.
func (in *CarryInput) favour() string {
	for _, p := range in.Paths {
		if p.TCPOnly {
			return "no datagrams come through by " + p.Name + ", but TCP does"
		}
	}
	return "both ends have MPTCP, no uplink strips it, and delay, loss and share of the paths fit"
}

// against says why the bond is to be preferred; empty if nothing speaks for it. chosen: the kernel is the present choice.
func (in *CarryInput) against(chosen bool) string {
	spread, loss, share := carrySpread, carryLoss, carryShare
	if !in.BBR {
		loss = carryLossCubic
	}
	if chosen {
		spread, loss, share = carrySpreadOut, carryLossOut, carryShareOut
		if !in.BBR {
			loss = carryLossCubicOut
		}
	}
	switch {
	case in.Missing != "":
		return in.Missing
	case len(in.Paths) < 2:
		return "there is one uplink"
	}
	var low, high *CarryPath
	sum := 0.0
	for i := range in.Paths {
		p := &in.Paths[i]
		switch {
		case p.Reason != "":
			return p.Name + ": " + p.Reason
		case p.RTT == 0 || !p.TCPOnly && p.Acked < carryMeasured:
			return p.Name + " has not been measured yet"
		case p.Loss > loss:
			return fmt.Sprintf("%s loses %.2f %%, more than %.2f %%", p.Name, p.Loss*100, loss*100)
		}
		if low == nil || p.RTT < low.RTT {
			low = p
		}
		if high == nil || p.RTT > high.RTT {
			high = p
		}
		sum += p.Rate
	}
	if d := (high.RTT - low.RTT) / 2; d > spread {
		return fmt.Sprintf("%s is %.0f ms slower than %s, more than %.0f ms", high.Name, d.Seconds()*1e3, low.Name, spread.Seconds()*1e3)
	}
	for i := range in.Paths {
		if p := &in.Paths[i]; !p.TCPOnly && p.Rate < share*sum {
			return fmt.Sprintf("%s has %.0f %% of the rate, less than %.0f %%", p.Name, p.Rate/sum*100, share*100)
		}
	}
	return ""
}
