package sim

import (
	"fmt"
	"time"

	"github.com/bondd/bondd/tunnel"
)

// auditEvery is how often the invariants that need a snapshot of the sessions
// are checked, where Scenario.Strict does not ask for every step. The cheap
// ones are checked after every step.
const auditEvery = 50 * time.Millisecond

const (
	// windowOver is what may be in flight beyond the window: the datagram that
	// reaches it, and two for probes and sparse flows (RFC 9002 §7.5).
	windowOver = 3 * 1500
	// controlOver is what may be sent from then on until the flight is back
	// within the window: pings and challenges, which are padded to 1200 bytes
	// (RFC 9000 §8.2.1) and not subject to it.
	controlOver = 12_000
	// maxHeld and maxBacklog are the defaults of tunnel.Limits, and one packet.
	maxHeld    = 16<<20 + 1500
	maxBacklog = 4<<20 + 1500
	// streamHeld and streamBacklog are what streams may add to them: the pool, and
	// of each stream what waits unsent, 40 ms at the gigabit of the fastest bonds.
	streamHeld    = 64 << 20
	streamBacklog = 5 << 20
)

// invariants is what must hold after every step, whatever the scenario. That
// packets arrive unchanged and at most once is checked by the hosts, that every
// datagram goes to an address that exists by launch.
func (r *Run) invariants(now time.Duration) error {
	for _, n := range [2]*node{r.gateway, r.exit} {
		if d := n.sess.Deadline(); d <= now {
			return fmt.Errorf("%w at %v: %s has the deadline %v after all was done", ErrInvariant, now, n.name, d)
		}
	}
	if r.sc.Check != nil {
		if err := r.sc.Check(r); err != nil {
			return fmt.Errorf("%w at %v: %w", ErrInvariant, now, err)
		}
	}
	if r.sc.Strict || now >= r.audited+auditEvery {
		r.audited = now
		return r.audit(now)
	}
	return nil
}

// audit checks what the sessions say of themselves, and the lines' books.
func (r *Run) audit(now time.Duration) error {
	for _, n := range [2]*node{r.gateway, r.exit} {
		other := r.exit
		if n == r.exit {
			other = r.gateway
		}
		if n.pulled > other.pushed {
			return fmt.Errorf("%w at %v: %s handed out %d packets, %s took only %d", ErrInvariant, now, n.name, n.pulled, other.name, other.pushed)
		}
		st := n.sess.Stats(now)
		if err := n.windows(st, r.sc.Strict); err != nil {
			return fmt.Errorf("%w at %v: %s: %w", ErrInvariant, now, n.name, err)
		}
		held, backlog := maxHeld, maxBacklog
		if n.streams != nil {
			held, backlog = held+streamHeld, backlog+len(n.byStream)*streamBacklog
		}
		if st.Held < 0 || st.Held > held {
			return fmt.Errorf("%w at %v: %s holds %d bytes for their order", ErrInvariant, now, n.name, st.Held)
		}
		if st.Backlog < 0 || st.Backlog > backlog {
			return fmt.Errorf("%w at %v: %s has a backlog of %d bytes", ErrInvariant, now, n.name, st.Backlog)
		}
	}
	for _, l := range r.lines {
		for d, st := range l.stats {
			if st.Delivered+st.Dropped > st.Datagrams {
				return fmt.Errorf("%w at %v: line %s delivered %d and dropped %d of %d datagrams (direction %d)", ErrInvariant, now, l.cfg.Name, st.Delivered, st.Dropped, st.Datagrams, d)
			}
		}
	}
	return nil
}

// windows checks what is in flight. A window may fall below it; but no more may
// be sent then. Whether more was sent can only be told from step to step.
func (n *node) windows(st tunnel.Stats, strict bool) error {
	for i, p := range st.Paths {
		if p.Inflight < 0 {
			return fmt.Errorf("%d bytes in flight on %s", p.Inflight, p.Name)
		}
		if len(n.flight) <= i {
			n.flight, n.over = append(n.flight, 0), append(n.over, 0)
		}
		grown := max(0, p.Inflight-n.flight[i])
		n.flight[i] = p.Inflight
		if p.Inflight <= p.Window+windowOver {
			n.over[i] = 0
		} else if n.over[i] += grown; strict && n.over[i] > controlOver {
			return fmt.Errorf("%d bytes sent on %s (%s) beyond the window of %d, %d in flight", n.over[i], p.Name, p.State, p.Window, p.Inflight)
		}
	}
	return nil
}
