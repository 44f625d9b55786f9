package link

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Never is the answer of Next when nothing is under way.
const Never = time.Duration(math.MaxInt64)

const (
	// DefaultJitterBlock is the time one draw of the jitter lasts. Radio
	// schedulers grant in blocks of about this length.
	DefaultJitterBlock = 20 * time.Millisecond
	// DefaultQueue is the depth of the queue where none is given: what a
	// consumer router of the middle kind holds.
	DefaultQueue = 200 * time.Millisecond
	// DefaultReorderDelay is how long a reordered packet stays behind where
	// no time is given: enough for several packets at 10 Mb/s.
	DefaultReorderDelay = 5 * time.Millisecond
	// TraceBytes is what one opportunity of a trace carries (Mahimahi: one
	// packet of 1500 bytes).
	TraceBytes = 1500
)

// Config describes one direction of a link. The zero value of every field is
// harmless; a zero Config is a link of infinite rate without delay.
type Config struct {
	// Rate in bit/s of IP bytes; 0 means no limit (and no queue).
	Rate float64
	// Delay is the one-way propagation delay.
	Delay time.Duration
	// Jitter: a delay uniform in 0..Jitter is added, drawn anew for each
	// JitterBlock (0: DefaultJitterBlock) of time. Order is kept.
	Jitter      time.Duration
	JitterBlock time.Duration
	// Loss is the probability that a packet is lost behind the queue,
	// independently of all others. Ignored where Gilbert is set.
	Loss    float64
	Gilbert *GilbertElliott
	// Queue is the drop-tail capacity as time at Rate as given here (the
	// bytes stay the same when the rate changes later). QueueBytes, where
	// not zero, states it in bytes instead. An empty queue takes any packet.
	// Both zero: DefaultQueue.
	Queue      time.Duration
	QueueBytes int
	// Steps change Rate at given instants, in ascending order.
	Steps []Step
	// Outages swallow what is sent, and what leaves the queue, inside them.
	Outages []Span
	// Trace, where not empty, replaces Rate: at each instant TraceBytes may
	// leave. Ascending; repeated with the last instant as period.
	Trace []time.Duration
	// Policer, where set, drops what exceeds a token bucket, before the queue.
	Policer *Policer
	// ReorderProb is the probability that a packet stays behind for
	// ReorderDelay (0: DefaultReorderDelay) and is overtaken.
	ReorderProb  float64
	ReorderDelay time.Duration
	// MTU is the largest packet carried, in bytes; 0 means any.
	MTU int
	// MarkAbove: a packet that meets a queue longer than this is accepted
	// with the verdict Marked (CE, if its sender set ECT). 0: never.
	MarkAbove time.Duration
	// Down cuts the link: what is in the queue is lost and nothing enters.
	Down bool
}

// Step is a change of rate at an instant.
type Step struct {
	At   time.Duration
	Rate float64 // bit/s, 0 = no limit
}

// Span is the half-open time From..To.
type Span struct{ From, To time.Duration }

// GilbertElliott is two-state burst loss; the state may change before every packet.
type GilbertElliott struct {
	ToBad, ToGood     float64 // probability of the change, per packet
	LossGood, LossBad float64 // probability of loss in each state
}

// Policer is a token bucket: packets beyond it are dropped.
type Policer struct {
	Rate  float64 // bit/s
	Burst int     // bytes, the depth of the bucket; full at the start
}

// Check returns an error for the first setting that makes no sense.
func (c Config) Check() error {
	bad := func(name string, v any) error {
		return fmt.Errorf("link: %s is %v, outside what the model takes", name, v)
	}
	if !(c.Rate >= 0) || math.IsInf(c.Rate, 0) {
		return bad("rate", c.Rate)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"delay", c.Delay}, {"jitter", c.Jitter}, {"jitter block", c.JitterBlock}, {"queue", c.Queue},
		{"reorder delay", c.ReorderDelay}, {"mark threshold", c.MarkAbove}} {
		if d.d < 0 {
			return bad(d.name, d.d)
		}
	}
	probs := []struct {
		name string
		p    float64
	}{{"loss", c.Loss}, {"reorder probability", c.ReorderProb}}
	if g := c.Gilbert; g != nil {
		probs = append(probs, []struct {
			name string
			p    float64
		}{{"burst loss to-bad", g.ToBad}, {"burst loss to-good", g.ToGood}, {"burst loss good", g.LossGood}, {"burst loss bad", g.LossBad}}...)
	}
	for _, p := range probs {
		if !(p.p >= 0 && p.p <= 1) {
			return bad(p.name, p.p)
		}
	}
	if c.QueueBytes < 0 {
		return bad("queue bytes", c.QueueBytes)
	}
	if c.MTU < 0 {
		return bad("mtu", c.MTU)
	}
	for i, s := range c.Steps {
		if !(s.Rate >= 0) || math.IsInf(s.Rate, 0) || s.At < 0 || i > 0 && s.At < c.Steps[i-1].At {
			return bad("rate step "+strconv.Itoa(i+1), s)
		}
	}
	for i, s := range c.Outages {
		if s.From < 0 || s.To < s.From {
			return bad("outage "+strconv.Itoa(i+1), s)
		}
	}
	for i, t := range c.Trace {
		if t < 0 || i > 0 && t < c.Trace[i-1] {
			return bad("trace line "+strconv.Itoa(i+1), t)
		}
	}
	if n := len(c.Trace); n > 0 && c.Trace[n-1] <= 0 {
		return fmt.Errorf("link: the trace has no length: its last instant must be after zero")
	}
	if p := c.Policer; p != nil && (!(p.Rate > 0) || math.IsInf(p.Rate, 0) || p.Burst <= 0) {
		return bad("policer", *p)
	}
	return nil
}

// ParseTrace reads the Mahimahi format: one decimal number per line, the
// millisecond at which one packet may leave. Blank lines are skipped.
func ParseTrace(text string) ([]time.Duration, error) {
	var out []time.Duration
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		ms, err := strconv.ParseUint(line, 10, 40)
		if err != nil {
			return nil, fmt.Errorf("link: trace line %d: %q is not a number of milliseconds", n, line)
		}
		out = append(out, time.Duration(ms)*time.Millisecond)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("link: the trace is empty")
	}
	if err := (Config{Trace: out}).Check(); err != nil {
		return nil, err
	}
	return out, nil
}

// queueBytes is the capacity of the queue in bytes.
func (c *Config) queueBytes() int {
	if c.QueueBytes > 0 {
		return c.QueueBytes
	}
	q := c.Queue
	if q <= 0 {
		q = DefaultQueue
	}
	rate := c.Rate
	if n := len(c.Trace); n > 0 {
		rate = float64(n) * TraceBytes * 8 / c.Trace[n-1].Seconds()
	}
	return int(rate / 8 * q.Seconds())
}

// rateAt is the rate in force at t and the instant at which it ends.
func (c *Config) rateAt(t time.Duration) (rate float64, until time.Duration) {
	rate = c.Rate
	for _, s := range c.Steps {
		if s.At > t {
			return rate, s.At
		}
		rate = s.Rate
	}
	return rate, Never
}

// cutAt reports whether t lies in an outage.
func (c *Config) cutAt(t time.Duration) bool {
	if c.Down {
		return true
	}
	for _, s := range c.Outages {
		if t >= s.From && t < s.To {
			return true
		}
	}
	return false
}
