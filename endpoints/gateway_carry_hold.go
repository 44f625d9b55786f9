package endpoints

import (
	"maps"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/carrier"
)

// holdBack makes those uplinks backups of the kernel's that lag too far behind to be of use, as scheduler.Holdback says. It is for gateways whose
// configuration wants the kernel; by choice it does not get such uplinks.
func (c *gatewayCarriers) holdBack(now time.Time, sights map[*carrier.Conn]carrierSight) {
	var paths []scheduler.HeldPath
	for _, name := range slices.Sorted(maps.Keys(c.uplinks)) {
		u := c.uplinks[name]
		if u.check.name == "" || u.barred() || u.terms.Mode == config.ModeBackup {
			continue
		}
		p := scheduler.HeldPath{Name: name, RTT: u.rtt}
		for _, s := range sights {
			p.Moved += u.moved(s.info)
		}
		if u.acked >= 1<<20 { // less tells nothing of a rate
			p.Rate = u.rate
		}
		paths = append(paths, p)
	}
	c.hold.Judge(now.Sub(c.begun), paths)
	for name, u := range c.uplinks {
		held := c.hold.Held(name)
		if held == u.held || u.endpoint && !c.another(u) {
			continue // its subflows end and begin anew; not while there are no others
		}
		u.held = held
		u.setEndpoint(now, false)
		c.g.log.Info("uplink lags far behind", "uplink", u.terms.Name, "backup", held)
		for conn, s := range sights {
			if held && s.from == u.source() {
				conn.Retire() // its first subflow stays as it is
			}
		}
	}
}

// another tells whether the kernel has an uplink beside this one that answers and carries.
func (c *gatewayCarriers) another(u *carryUplink) bool {
	for _, o := range c.uplinks {
		if o != u && o.endpoint && o.up && !o.held {
			return true
		}
	}
	return false
}
