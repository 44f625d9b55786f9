package cc

import (
	"math"
	"math/rand/v2"
	"time"
)

// Ack is the news of one acknowledgement for one path.
type Ack struct {
	Delivered  int           // bytes newly acknowledged
	Lost       int           // bytes newly declared lost
	Inflight   int           // bytes in flight after this acknowledgement
	Rate       float64       // delivery-rate sample in bytes/s (draft-cheng-iccrg-delivery-rate-estimation); 0: none
	AppLimited bool          // the sample was taken while the sender had nothing (more) to send on the path
	RTT        time.Duration // newest round-trip sample; 0: none
	// Queue is the one-way delay of the newest sample above its base (see
	// Base); negative: unknown, then the round trip stands in.
	Queue time.Duration
	// DeliveredAtSend is the path's counter of delivered bytes when the
	// newest acknowledged datagram was sent, DeliveredTotal the counter now.
	// The controller counts round trips by them.
	DeliveredAtSend, DeliveredTotal uint64
	CE                              int // newly reported congestion-experienced marks
}

// Config is what a controller is told at birth.
type Config struct {
	MSS      int           // bytes of a full datagram; values below 256 and above 65535 are brought inside
	MaxRate  float64       // cap in bytes/s; 0: none. A cap, never an estimate
	SeedRate float64       // bytes/s remembered from an earlier life of the path; 0: none
	SeedRTT  time.Duration // round trip measured before any data, by the path's validation; 0: none
}

// New makes the controller of one path. rng spreads the moments of probing, so
// that paths do not probe in step; it may be shared with other machines of the
// same owner.
func New(cfg Config, rng *rand.Rand) *BBR {
	c := &BBR{rng: rng}
	c.SetMSS(cfg.MSS)
	if valid(cfg.MaxRate) {
		c.maxRate = cfg.MaxRate
	}
	c.begin(cfg.SeedRate, cfg.SeedRTT)
	return c
}

// SetMSS changes the size of a full datagram, in bytes.
func (c *BBR) SetMSS(mss int) { c.mss = min(max(mss, 256), math.MaxUint16) }

// SetMaxRate changes the cap, in bytes/s; 0 removes it.
func (c *BBR) SetMaxRate(rate float64) {
	c.maxRate = 0
	if valid(rate) {
		c.maxRate = rate
	}
}

// valid reports whether r can serve as a rate.
func valid(r float64) bool { return r > 0 && !math.IsInf(r, 1) }
