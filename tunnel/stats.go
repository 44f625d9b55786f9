package tunnel

import (
	"time"

	"github.com/bondd/bondd/scheduler"
)

// Drops counts what was not taken, by reason.
type Drops struct {
	Header          uint64 `json:"header"`            // not a datagram of this session
	UnknownPath     uint64 `json:"unknown_path"`      // a path that this end has not opened
	PathClosed      uint64 `json:"path_closed"`       //
	Replayed        uint64 `json:"replayed"`          // seen before, or older than the window
	Forged          uint64 `json:"forged"`            // did not open
	Malformed       uint64 `json:"malformed"`         // a frame or packet that cannot be read
	Source          uint64 `json:"source"`            // an inner source address that is not the peer's
	BadAck          uint64 `json:"bad_ack"`           // acknowledges what was never sent
	StreamLimit     uint64 `json:"stream_limit"`      // streams beyond the limit
	StreamData      uint64 `json:"stream_data"`       // stream data outside the window or behind the end
	StreamDuplicate uint64 `json:"stream_duplicate"`  // stream data that is here already
	CongestedNotECT uint64 `json:"congested_not_ect"` // RFC 6040 §4.2
}

// PathStats is one path as an operator wants to see it.
type PathStats struct {
	ID        PathID        `json:"id"`
	Name      string        `json:"name"`
	State     string        `json:"state"`
	Remote    string        `json:"remote"`
	Group     uint8         `json:"group"`
	Backup    bool          `json:"backup,omitempty"`
	RTT       time.Duration `json:"rtt_ns"`
	RTTVar    time.Duration `json:"rttvar_ns"`
	Queue     time.Duration `json:"queue_ns"` // estimated queueing delay of our datagrams
	Rate      float64       `json:"rate_Bps"` // delivery rate estimate, bytes/s
	Window    int           `json:"window_B"` // congestion window
	Inflight  int           `json:"inflight_B"`
	MTU       int           `json:"mtu_B"` // largest datagram
	Control   string        `json:"control"`
	LargestIn int           `json:"largest_in_B"`

	scheduler.PathStats
}

// Stats is a snapshot of a session.
type Stats struct {
	Suite    string                 `json:"suite"`
	Epoch    uint64                 `json:"epoch"`
	InnerMTU int                    `json:"inner_mtu_B"`
	Backlog  int                    `json:"backlog_B"`
	Held     int                    `json:"held_B"` // waiting for their order
	Streams  int                    `json:"streams"`
	Paths    []PathStats            `json:"paths"`
	Drops    Drops                  `json:"drops"`
	Sending  scheduler.Stats        `json:"sending"`
	Ordering scheduler.ReorderStats `json:"ordering"`
}

// Stats takes a snapshot.
func (s *Session) Stats(now time.Duration) Stats {
	st := Stats{
		Suite: s.cfg.Suite.String(), Epoch: s.sealer.Epoch(), InnerMTU: s.innerMTU, Backlog: s.bond.Backlog(), Held: s.reorder.Bytes() + s.streamHeld, Streams: s.streamCount,
		Drops: s.drops, Sending: s.bond.Stats(), Ordering: s.reorder.Stats,
	}
	for _, p := range s.paths {
		ps := PathStats{
			ID: p.id, Name: p.name, State: p.sched.State().String(), Remote: p.to.Remote.String(), Group: p.sched.Config.Group,
			Backup: p.sched.Config.Backup, RTT: p.sched.SRTT(), RTTVar: p.sched.RTTVar(), Queue: p.sched.Queue(now), Rate: p.sched.Rate(),
			Window: p.sched.Window(), Inflight: p.sched.Inflight(), MTU: p.sched.MTU(), Control: p.sched.ControlState(),
			LargestIn: p.largestIn, PathStats: p.sched.Stats,
		}
		st.Paths = append(st.Paths, ps)
	}
	return st
}

// TraceEvent is one datagram sent or received, for tests and simulation.
type TraceEvent struct {
	Now  time.Duration
	Path PathID
	PN   uint64
	Size int
	Sent bool
}

// Trace calls f for every datagram. For tests and simulation only: f runs inside the session.
func (s *Session) Trace(f func(TraceEvent)) { s.trace = f }
