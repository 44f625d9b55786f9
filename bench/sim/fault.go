package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel"
)

// Fault is something that happens to a run at an instant.
type Fault struct {
	At   time.Duration
	What string // for messages
	Do   func(now time.Duration, r *Run) error
}

func (r *Run) addFault(f Fault) {
	a := r.w.add(f.What, func(now time.Duration) {
		if err := f.Do(now, r); err != nil {
			r.w.fail(fmt.Errorf("sim: at %v, %s: %w", now, f.What, err))
		}
	})
	r.w.set(a, f.At)
}

// on makes a fault that concerns one uplink.
func on(at time.Duration, what, uplink string, do func(now time.Duration, r *Run, l *line) error) Fault {
	return Fault{at, what + " " + uplink, func(now time.Duration, r *Run) error {
		i := r.uplink(uplink)
		if i < 0 {
			return fmt.Errorf("there is no uplink %q", uplink)
		}
		return do(now, r, r.lines[i])
	}}
}

// Change changes the settings of an uplink's line.
func Change(at time.Duration, uplink string, d Direction, mutate func(*link.Config)) Fault {
	return on(at, "change of", uplink, func(now time.Duration, r *Run, l *line) error {
		for _, one := range [2]Direction{Up, Down} {
			if d.includes(one) {
				l.links[one].Set(now, mutate)
				r.w.set(l.timer[one], l.links[one].Next())
			}
		}
		return nil
	})
}

// Cut makes a black hole of an uplink, in one direction or both: packets
// vanish, and nobody is told.
func Cut(at time.Duration, uplink string, d Direction) Fault {
	return Change(at, uplink, d, func(c *link.Config) { c.Down = true })
}

// Restore ends a cut.
func Restore(at time.Duration, uplink string, d Direction) Fault {
	return Change(at, uplink, d, func(c *link.Config) { c.Down = false })
}

// Rate changes the rate of an uplink, bit/s.
func Rate(at time.Duration, uplink string, d Direction, rate float64) Fault {
	return Change(at, uplink, d, func(c *link.Config) { c.Rate = rate })
}

// AckLoss loses small datagrams, which are mostly acknowledgements.
func AckLoss(at time.Duration, uplink string, d Direction, probability float64) Fault {
	return on(at, "loss of acknowledgements on", uplink, func(_ time.Duration, _ *Run, l *line) error {
		for _, one := range [2]Direction{Up, Down} {
			if d.includes(one) {
				l.ackLoss[one] = probability
			}
		}
		return nil
	})
}

// Failed is the kernel telling the gateway that an uplink is gone, as netlink
// does; the line itself is cut as well.
func Failed(at time.Duration, uplink string) Fault {
	return on(at, "failure of", uplink, func(now time.Duration, r *Run, l *line) error {
		for _, one := range [2]Direction{Up, Down} {
			l.links[one].Cut(now)
			r.w.set(l.timer[one], l.links[one].Next())
		}
		for _, id := range l.paths {
			r.gateway.sess.PathFailed(now, id)
		}
		r.gateway.due = true
		return nil
	})
}

// Remove takes the paths of an uplink out of the bond; the line stays.
func Remove(at time.Duration, uplink string) Fault {
	return on(at, "removal of", uplink, func(now time.Duration, r *Run, l *line) error {
		for _, id := range l.paths {
			r.gateway.sess.RemovePath(now, id)
		}
		l.paths = l.paths[:0]
		r.gateway.due = true
		return nil
	})
}

// Add opens the paths of an uplink that was Late, or was removed.
func Add(at time.Duration, uplink string) Fault {
	return on(at, "addition of", uplink, func(now time.Duration, r *Run, l *line) error {
		return r.addPaths(now, r.uplink(uplink))
	})
}

// Rebind gives the gateway another NAT mapping on an uplink: the exit sees the
// path come from elsewhere, and what it sends to the old address is lost.
func Rebind(at time.Duration, uplink string) Fault {
	return on(at, "NAT rebinding of", uplink, func(_ time.Duration, _ *Run, l *line) error {
		l.port++
		return nil
	})
}

// Move gives the uplink a new local address, which the gateway is told.
func Move(at time.Duration, uplink string) Fault {
	return on(at, "move of", uplink, func(now time.Duration, r *Run, l *line) error {
		a := l.local.As4()
		a[3]++
		l.local = netip.AddrFrom4(a)
		l.port++
		mtu := l.cfg.MTU
		if mtu == 0 {
			mtu = 1500
		}
		for k, id := range l.paths {
			to := tunnel.Endpoint{Socket: r.uplink(uplink), Local: l.local, Remote: netip.AddrPortFrom(exitAddr(k), exitPort)}
			r.gateway.sess.MovePath(now, id, to, mtu)
		}
		r.gateway.due = true
		return nil
	})
}
