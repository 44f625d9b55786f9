package endpoints

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/tunnel/carrier"
)

// sightTest is a gateway with two uplinks that may have subflows, and carriers over them.
type sightTest struct {
	t        *testing.T
	c        *gatewayCarriers
	one, two *carryUplink
	now      time.Time
	sights   map[*carrier.Conn]carrierSight
}

func newSightTest(t *testing.T) *sightTest {
	s := &sightTest{t: t, now: time.Unix(1000, 0), sights: map[*carrier.Conn]carrierSight{}}
	well := func(name string, index int, a netip.Addr) *carryUplink {
		u := &carryUplink{uplink: testUplink(name, index, a), remote: exitListen, up: true, checked: s.now,
			check: checkResult{name: name, here: true, there: true}, checkAt: s.now.Add(checkAgain)}
		u.setEndpoint(s.now, true)
		return u
	}
	s.one, s.two = well("one", 1, addrOne), well("two", 2, addrTwo)
	s.c = &gatewayCarriers{g: &gateway{node: node{log: slog.New(slog.DiscardHandler)}}, uplinks: map[string]*carryUplink{"one": s.one, "two": s.two}}
	return s
}

// carrier is a new one, with subflows from addresses.
func (s *sightTest) carrier(from ...netip.Addr) *carrier.Conn {
	conn := new(carrier.Conn)
	s.has(conn, from...)
	return conn
}

func (s *sightTest) has(conn *carrier.Conn, from ...netip.Addr) {
	x, ok := s.sights[conn]
	if !ok {
		x = carrierSight{made: s.now, from: from[0]}
	}
	x.info = mptcp.Info{Count: len(from)}
	for _, a := range from {
		x.info.Subflows = append(x.info.Subflows, mptcp.Subflow{Local: netip.AddrPortFrom(a, 1), Remote: exitListen})
	}
	s.sights[conn] = x
}

// pass lets time pass, with a look every second.
func (s *sightTest) pass(d time.Duration) {
	for ; d > 0; d -= carryTick {
		s.now = s.now.Add(carryTick)
		s.c.seeSubflows(s.now, s.sights)
	}
}

// due tells whether the check of an uplink is due, and has it come back well.
func (s *sightTest) due(u *carryUplink) bool {
	due := !u.checkAt.After(s.now)
	if due {
		u.checked, u.checkAt = s.now, s.now.Add(checkAgain)
	}
	return due
}

// TestMissingSubflow: a subflow that does not come has its uplink checked two seconds later, and given up although the check is well when
// it is missing on several carriers for long enough.
func TestMissingSubflow(t *testing.T) {
	s := newSightTest(t)
	s.carrier(addrOne)
	s.carrier(addrOne)
	s.carrier(addrOne, addrTwo)
	if s.pass(time.Second); s.due(s.two) {
		t.Error("checked before a lost SYN is sent again")
	}
	if s.pass(time.Second); !s.due(s.two) || s.due(s.one) {
		t.Errorf("after two seconds the checks are due at %v and %v", s.one.checkAt, s.two.checkAt)
	}
	s.now = s.now.Add(time.Millisecond)
	s.two.checked = s.now // the answer
	if s.pass(2 * time.Second); s.two.stripped() {
		t.Error("given up before a second lost SYN is sent again")
	}
	if s.pass(time.Second); !s.two.stripped() || !s.two.barred() || s.one.stripped() {
		t.Fatal("not given up")
	}
	if p := s.two.path(s.now); p.Reason != "MPTCP is stripped on the way: its subflows do not come" {
		t.Errorf("reason %q", p.Reason)
	}
	if s.due(s.two) {
		t.Error("the next check is not ten minutes later")
	}
	s.c.checked(checkResult{name: "two", here: true, there: true})
	if s.two.stripped() {
		t.Error("no other trial after the next check")
	}
}

// TestLateSubflow: lost SYNs, or bad luck of one carrier, do not condemn an uplink; one that does not answer is not judged.
func TestLateSubflow(t *testing.T) {
	s := newSightTest(t)
	a, b := s.carrier(addrOne), s.carrier(addrOne)
	s.pass(3 * time.Second)
	s.two.checked = s.now
	s.has(b, addrOne, addrTwo)
	if s.pass(20 * time.Second); s.two.stripped() {
		t.Error("given up although a subflow has come")
	}
	delete(s.sights, a)
	s.carrier(addrOne)
	if s.pass(20 * time.Second); s.two.stripped() {
		t.Error("given up because of one carrier")
	}
	s.two.up = false
	s.two.since = s.now
	s.due(s.two)
	s.carrier(addrOne)
	s.carrier(addrOne)
	if s.pass(4 * time.Second); s.due(s.two) || s.two.stripped() {
		t.Error("an uplink that does not answer is suspected of stripping")
	}
}

// TestGoneSubflow: an uplink whose subflow has gone is checked at once, but not all the time; carriers that have it still do not acquit it.
func TestGoneSubflow(t *testing.T) {
	s := newSightTest(t)
	a := s.carrier(addrOne, addrTwo)
	s.carrier(addrOne, addrTwo) // nothing is sent on it, so nothing is stripped
	s.pass(10 * time.Second)
	if s.due(s.two) {
		t.Fatal("checked without a reason")
	}
	s.has(a, addrOne)
	if s.pass(time.Second); !s.due(s.two) {
		t.Error("not checked")
	}
	s.carrier(addrOne)
	s.carrier(addrOne)
	if s.pass(3 * time.Second); s.due(s.two) {
		t.Error("checked again at once")
	}
	s.two.checked = s.now
	if s.pass(5 * time.Second); !s.two.stripped() {
		t.Error("old subflows have acquitted it")
	}
}

// TestFallenBack: a carrier that has become plain TCP has its uplink checked, and gets no more streams, unless plain TCP is all there is.
func TestFallenBack(t *testing.T) {
	for _, plain := range []bool{false, true} {
		s := newSightTest(t)
		s.c.plain.Store(plain)
		s.sights[new(carrier.Conn)] = carrierSight{made: s.now, from: addrTwo, err: mptcp.ErrPlain}
		if s.pass(time.Second); s.due(s.two) == plain || s.due(s.one) {
			t.Errorf("plain %v: the checks are due at %v and %v", plain, s.one.checkAt, s.two.checkAt)
		}
	}
}

// TestEndpointAnew: where an uplink's endpoint is made anew, its subflows have their time again.
func TestEndpointAnew(t *testing.T) {
	s := newSightTest(t)
	s.two.setEndpoint(s.now, false)
	s.carrier(addrOne)
	s.carrier(addrOne)
	if s.pass(time.Minute); s.due(s.two) {
		t.Error("missed without an endpoint")
	}
	s.two.setEndpoint(s.now, true)
	if s.pass(time.Second); s.due(s.two) {
		t.Error("missed at once")
	}
	if s.pass(time.Second); !s.due(s.two) {
		t.Error("not missed")
	}
	if s.pass(time.Minute); s.two.stripped() {
		t.Error("given up because of carriers that are older than its endpoint")
	}
}
