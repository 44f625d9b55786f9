package tunnel

import "time"

// Watch has paths probed densely while they are idle, or no longer: somebody else uses the same uplinks and wants to hear by PathDown within
// some 100 ms when one is dead. Paths that are added later are not watched until the next call.
func (s *Session) Watch(now time.Duration, on bool) { s.bond.Watch(now, on) }
