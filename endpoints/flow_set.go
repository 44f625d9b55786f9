package endpoints

import (
	"sync"
	"sync/atomic"

	"github.com/bondd/bondd/tunnel"
)

// numResets is the number of reset codes that have a name.
const numResets = int(tunnel.ResetSession) + 1

// resetNames are the reasons in the status for which a stream did not reach its target.
var resetNames = [numResets]string{
	tunnel.ResetClosed:      "closed",
	tunnel.ResetRefused:     "refused",
	tunnel.ResetUnreachable: "unreachable",
	tunnel.ResetTimeout:     "timeout",
	tunnel.ResetForbidden:   "forbidden",
	tunnel.ResetLimit:       "limit",
	tunnel.ResetNoName:      "no_name",
	tunnel.ResetAborted:     "aborted",
	tunnel.ResetSession:     "session_lost",
}

// flowSet has all flows of a node, whatever became of their sessions. Any goroutine may use it.
type flowSet struct {
	waiting atomic.Int64 // bytes for all connections together
	unread  atomic.Int64 // bytes of all connections together that their sessions have not taken
	opened  atomic.Uint64
	refused [numResets]atomic.Uint64

	wg    sync.WaitGroup // the goroutines of connections, and dials
	mu    sync.Mutex
	live  map[*flow]struct{}
	ended bool
}

// add takes a flow in; false when the node is ending.
func (s *flowSet) add(f *flow) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if s.live == nil {
		s.live = make(map[*flow]struct{})
	}
	s.live[f] = struct{}{}
	return true
}

func (s *flowSet) remove(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, is := s.live[f]; is && f.gone != nil {
		f.gone()
	}
	delete(s.live, f)
}

// run starts goroutines, which end joins; false when the node is ending.
func (s *flowSet) run(fs ...func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	for _, f := range fs {
		s.wg.Go(f) // joined by end
	}
	return true
}

func (s *flowSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// end resets every connection, takes no more, and joins all goroutines.
func (s *flowSet) end() {
	s.mu.Lock()
	s.ended = true
	var all []*flow
	for f := range s.live {
		all = append(all, f)
	}
	s.mu.Unlock()
	for _, f := range all {
		f.kill(tunnel.ResetSession, false)
	}
	s.wg.Wait()
}

// refuse counts a stream that did not reach its target.
func (s *flowSet) refuse(code uint64) {
	if code < uint64(numResets) {
		s.refused[code].Add(1)
	}
}

// StreamStatus is how the streams of a node fare.
type StreamStatus struct {
	Open    int               `json:"open"`      // connections
	Opened  uint64            `json:"opened"`    // that have reached their target, so far
	Refused map[string]uint64 `json:"refused"`   // that have not, by reason
	Waiting int64             `json:"waiting_B"` // that has arrived and that connections have not taken
	// Of a gateway: "on", or why connections of the LAN are not intercepted.
	Interception string `json:"interception,omitempty"`
}

func (s *flowSet) status() *StreamStatus {
	st := &StreamStatus{Open: s.len(), Opened: s.opened.Load(), Waiting: s.waiting.Load(), Refused: map[string]uint64{}}
	for code := range s.refused {
		if n := s.refused[code].Load(); n > 0 {
			st.Refused[resetNames[code]] = n
		}
	}
	return st
}
