package scheduler

import (
	"slices"
	"testing"
	"time"
)

// mailbox is the receiving half of a path with a round trip of srtt.
type mailbox struct {
	t *testing.T
	inbound
	now  time.Duration
	srtt time.Duration
	pn   uint64
}

func newMailbox(t *testing.T, srtt time.Duration) *mailbox {
	m := &mailbox{t: t, srtt: srtt, now: time.Hour}
	m.due = Never
	m.lastAt = m.now - ackQuickIdle - 1
	return m
}

// get takes the next datagram, after skipping some.
func (m *mailbox) get(skip uint64, ecn uint8) {
	m.pn += skip
	m.received(m.now, m.now, m.pn, 1000, 7*ms, true, ecn, m.srtt)
	m.pn++
}

// wantDue checks when an ACK is owed, counted from now, and takes it if that is at once.
func (m *mailbox) wantDue(d time.Duration) {
	m.t.Helper()
	if got := m.due; got != m.now+d {
		m.t.Fatalf("datagram %d: the ACK is due in %v, want %v", m.pn-1, got-m.now, d)
	}
	if d == 0 {
		m.takeAck(m.now, 0)
	}
}

func (m *mailbox) wantNone() {
	m.t.Helper()
	if m.due != Never {
		m.t.Fatalf("an ACK is owed in %v, want none", m.due-m.now)
	}
}

// settled is a mailbox past its quick start.
func settled(t *testing.T, srtt time.Duration) *mailbox {
	m := newMailbox(t, srtt)
	for range ackQuick {
		m.get(0, 0)
		m.now += 100 * us
	}
	m.takeAck(m.now, 0)
	return m
}

// The first datagram after a silence is acknowledged at once, the following ones in pairs, until 64 have come.
func TestAckQuickAtTheStart(t *testing.T) {
	m := newMailbox(t, 40*ms)
	for round := range 2 {
		m.get(0, 0)
		m.wantDue(0)
		for i := 1; i+1 < ackQuick-1; i += 2 {
			m.get(0, 0)
			m.wantDue(5 * ms)
			m.get(0, 0)
			m.wantDue(0)
		}
		m.takeAck(m.now, 0)
		if round == 0 {
			m.now += ackQuickIdle // not quite idle
			m.get(0, 0)
			m.wantDue(5 * ms)
			m.takeAck(m.now, 0)
			m.now += ackQuickIdle + 1 // again from the start
		}
	}
}

// In full flow one ACK answers 16 datagrams.
func TestAckEverySixteen(t *testing.T) {
	m := settled(t, 40*ms)
	for range 5 {
		for range ackEvery - 1 {
			m.get(0, 0)
			m.wantDue(5 * ms)
		}
		m.get(0, 0)
		m.wantDue(0)
		m.wantNone()
	}
}

// What waits alone waits an eighth of the round trip, between 5 and 25 ms, counted from the first that waits; less than 5 ms where the
// round trip is so short that a window would stand still meanwhile.
func TestAckDelay(t *testing.T) {
	for _, c := range []struct{ srtt, wait time.Duration }{
		{ms / 10, ms}, {4 * ms, 2 * ms}, {10 * ms, 5 * ms}, {40 * ms, 5 * ms}, {80 * ms, 10 * ms}, {200 * ms, 25 * ms}, {600 * ms, 25 * ms},
	} {
		m := settled(t, c.srtt)
		m.get(0, 0)
		m.wantDue(c.wait)
		m.now += c.wait / 2
		m.get(0, 0)
		m.wantDue(c.wait - c.wait/2)
	}
}

// A gap and a congestion mark are news that cannot wait. What fills the gap can.
func TestAckAtOnce(t *testing.T) {
	m := settled(t, 40*ms)
	m.get(1, 0)
	m.wantDue(0)
	m.get(0, 0)
	m.wantDue(5 * ms)
	m.takeAck(m.now, 0)
	m.received(m.now, m.now, m.pn-3, 1000, 7*ms, true, 0, m.srtt)
	m.wantDue(5 * ms)
	m.takeAck(m.now, 0)
	m.get(0, 3)
	m.wantDue(0)
	if m.ce != 1 {
		t.Errorf("%d marks counted", m.ce)
	}
	m.get(0, 1)
	m.get(0, 2)
	m.wantDue(5 * ms)
	if m.ect != 2 {
		t.Errorf("%d ECN-capable datagrams counted", m.ect)
	}
}

// Acknowledgements are not acknowledged, but what they say about the delay counts.
func TestNoAckForAcks(t *testing.T) {
	m := settled(t, 40*ms)
	m.received(m.now, m.now, m.pn, 60, 9*ms, false, 0, m.srtt)
	m.wantNone()
	if m.owd != 9*ms || m.largestAt != m.now {
		t.Errorf("one-way delay %v at %v", m.owd, m.largestAt)
	}
	// It is part of the ranges of the next ACK all the same: there is no hole.
	m.pn++
	m.get(0, 0)
	m.wantDue(5 * ms)
	m.now += 2 * ms
	a := m.takeAck(m.now, 3)
	if a.Path != 3 || a.Delay != 2*ms || a.Owd != 7*ms || !slices.Equal(a.Ranges, []Range{{0, m.pn - 1}}) {
		t.Errorf("%+v", a)
	}
}

// Delay and one-way delay belong to the largest number, not to the newest arrival.
func TestAckSpeaksOfTheLargest(t *testing.T) {
	m := settled(t, 40*ms)
	m.get(1, 0) // a hole before it
	at := m.now
	m.now += 4 * ms
	m.received(m.now, m.now, m.pn-2, 1000, 50*ms, true, 0, m.srtt)
	m.now += ms
	if a := m.takeAck(m.now, 0); a.Delay != m.now-at || a.Owd != 7*ms || len(a.Ranges) != 1 {
		t.Errorf("%+v", a)
	}
}
