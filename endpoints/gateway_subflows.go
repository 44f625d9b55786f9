package endpoints

import (
	"errors"
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/tunnel/carrier"
)

const (
	// joinTime is when an uplink's subflow counts as missing, after its endpoint and the carrier are both there: a lost SYN costs a second.
	joinTime = 2 * time.Second
	// joinPatience is how long it has to be missing then, on joinMisses carriers at least, for the uplink to be given up although a connection
	// of its own has MPTCP: two lost SYNs in a row cost three seconds, and one carrier may have had bad luck.
	joinPatience = 3 * time.Second
	joinMisses   = 2
)

// carrierSight is what is seen of a carrier at one moment.
type carrierSight struct {
	made time.Time
	from netip.Addr // of its first subflow
	info mptcp.Info
	err  error // matches mptcp.ErrPlain: it has fallen back to plain TCP
}

// subflowSight is what was seen of an uplink's subflow on a carrier so far.
type subflowSight struct {
	endpoint time.Time // the one it is about: when it was made
	came     bool
	missed   bool // it counts as missing
	gone     bool // it came, and is not there any more
}

// sights looks at all carriers.
func (c *gatewayCarriers) sights() map[*carrier.Conn]carrierSight {
	out := make(map[*carrier.Conn]carrierSight)
	for _, conn := range c.pool.Conns() {
		s := carrierSight{made: conn.Made(), from: addrPort(conn.NetConn().LocalAddr()).Addr()}
		s.info, s.err = c.g.readCarrier(conn)
		out[conn] = s
	}
	return out
}

// seeSubflows looks whether the uplinks that may have subflows do have them. One whose subflow is missing or has gone, or over which a carrier
// has fallen back, is checked at once. One whose subflows do not come although the check is well is given up until the next check.
func (c *gatewayCarriers) seeSubflows(now time.Time, sights map[*carrier.Conn]carrierSight) {
	for conn := range c.seen {
		if _, ok := sights[conn]; !ok {
			delete(c.seen, conn)
		}
	}
	for conn, s := range sights {
		if errors.Is(s.err, mptcp.ErrPlain) && !c.plain.Load() {
			conn.Retire()
			for _, u := range c.uplinks {
				if u.source() == s.from {
					u.suspect(now)
				}
			}
		}
		if s.err != nil || len(s.info.Subflows) == 0 { // older kernels do not list them
			continue
		}
		if c.seen[conn] == nil {
			if c.seen == nil {
				c.seen = make(map[*carrier.Conn]map[string]*subflowSight)
			}
			c.seen[conn] = make(map[string]*subflowSight)
		}
		for name, u := range c.uplinks {
			if !u.endpoint {
				continue
			}
			was := c.seen[conn][name]
			if was == nil || !was.endpoint.Equal(u.endpointAt) {
				was = &subflowSight{endpoint: u.endpointAt}
				c.seen[conn][name] = was
			}
			u.seeSubflow(now, s, was)
		}
	}
	for _, u := range c.uplinks {
		if u.missed >= joinMisses && now.Sub(u.missFrom) >= joinPatience && !u.unjoined && !u.checking && u.checked.After(u.missFrom) && !u.stripped() {
			u.unjoined, u.checkAt = true, now.Add(checkAgain)
			c.g.log.Info("MPTCP's further subflows do not come by the uplink; it is used by the bond only", "uplink", u.terms.Name)
		}
	}
}

// seeSubflow takes whether a carrier has a subflow of the uplink. One that has come newly clears it; one that is old proves nothing, for where
// nothing is sent nothing is stripped.
func (u *carryUplink) seeSubflow(now time.Time, s carrierSight, was *subflowSight) {
	has := false
	for _, f := range s.info.Subflows {
		has = has || f.Local.Addr() == u.source()
	}
	answers := u.up || u.path(now).TCPOnly
	late := now.Sub(s.made) >= joinTime && now.Sub(u.endpointAt) >= joinTime
	switch {
	case has && !was.came:
		was.came = true
		u.missed = 0
	case has || !answers:
	case was.came && !was.gone:
		was.gone = true
		u.suspect(now)
	case !was.came && !was.missed && late:
		was.missed = true
		u.suspect(now)
		if s.made.Before(u.endpointAt) {
			return // the kernel does not join for certain what was there before
		}
		if u.missed++; u.missed == 1 {
			u.missFrom = now
		}
	}
}

// suspect has the uplink checked at once, though not all the time.
func (u *carryUplink) suspect(now time.Time) {
	if u.suspectAt.IsZero() || now.Sub(u.suspectAt) >= checkSoon {
		u.suspectAt, u.checkAt = now, now
	}
}

// setEndpoint notes whether the uplink has an endpoint.
func (u *carryUplink) setEndpoint(now time.Time, has bool) {
	if has && !u.endpoint {
		u.endpointAt, u.missed = now, 0
	}
	u.endpoint = has
}

// source is the address from which the uplink's subflows are made.
func (u *carryUplink) source() netip.Addr { return sourceOf(u.uplink, u.remote.Addr()) }
