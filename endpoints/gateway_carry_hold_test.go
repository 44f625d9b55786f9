package endpoints

import (
	"testing"
	"time"
)

// TestHoldBack: the uplink of a satellite becomes a backup once there was traffic for a while, unless it is the only one that answers.
func TestHoldBack(t *testing.T) {
	for _, alone := range []bool{false, true} {
		s := newSightTest(t)
		s.one.rtt, s.two.rtt = 16*time.Millisecond, 600*time.Millisecond
		s.one.up = !alone
		first, second := s.carrier(addrOne, addrTwo), s.carrier(addrTwo, addrOne)
		s.c.begun = s.now
		for range 12 {
			s.now = s.now.Add(carryTick)
			s.sights[first].info.Subflows[0].Received += 5e6
			s.sights[second].info.Subflows[0].Received += 1e5
			s.c.holdBack(s.now, s.sights)
			s.one.setEndpoint(s.now, true)
			s.two.setEndpoint(s.now, true)
		}
		if held := s.two.held; held == alone || held != s.two.mptcpEndpoint().Backup {
			t.Fatalf("alone %v: held back %v, endpoint %+v", alone, held, s.two.mptcpEndpoint())
		}
		if s.one.held || s.one.mptcpEndpoint().Backup {
			t.Error("the quick uplink is held back")
		}
		if !alone && !s.two.endpointAt.After(s.c.begun.Add(9*carryTick)) {
			t.Error("its subflows do not count as new ones")
		}
	}
}
