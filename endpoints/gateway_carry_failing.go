package endpoints

import (
	"context"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/carrier"
)

// pathNews acts on a path that has failed: its endpoint goes, and both kernels send what is under way by the others.
func (c *gatewayCarriers) pathNews(ctx context.Context, n pathNews) {
	u := c.uplinks[n.uplink]
	if u == nil {
		return
	}
	if n.up {
		if !u.up {
			u.up, u.wellFrom = true, time.Now()
		}
		return
	}
	if !n.late {
		u.up, u.since, u.checkAt = false, time.Now(), time.Now().Add(udpPatience/2)
		u.downs++
		u.progress = c.progress(u)
		c.lookLater(u, pathNews{uplink: n.uplink, late: true, down: u.downs})
		return
	}
	if u.up || n.down != u.downs {
		return // it has answered
	}
	if p := c.stats(ctx)[wayKey{n.uplink, u.remote}]; p.State == scheduler.Up.String() {
		return // so it has
	}
	if moved := c.progress(u); moved != u.progress { // perhaps only datagrams are lost, or what was in queues has arrived
		u.progress = moved
		c.lookLater(u, n)
		return
	}
	others := false
	for _, o := range c.uplinks {
		others = others || o != u && o.endpoint && o.up
	}
	if !u.endpoint || !others { // nothing would be left, now
		c.lookLater(u, n)
		return
	}
	u.failing = true
	u.setEndpoint(time.Now(), false)
	if err := c.manager.Fail(u.mptcpEndpoint()); err != nil {
		c.g.log.Warn("an MPTCP endpoint is not removed", "uplink", u.terms.Name, "error", err)
	}
	c.g.log.Info("uplink taken from MPTCP", "uplink", u.terms.Name)
}

// lookLater has the news of a path that has failed looked at again soon, for a while.
func (c *gatewayCarriers) lookLater(u *carryUplink, n pathNews) {
	if n.looks++; n.looks > failLooks {
		return
	}
	time.AfterFunc(max(failAfter, u.rtt*3/2), func() {
		select {
		case c.paths <- n:
		default:
		}
	})
}

// progress is how much the kernel has moved by an uplink, in bytes, over all carriers: it grows while the uplink carries.
func (c *gatewayCarriers) progress(u *carryUplink) (n uint64) {
	for _, conn := range c.pool.Conns() {
		if info, err := c.g.readCarrier(conn); err == nil {
			n += u.moved(info)
		}
	}
	return n
}

// moved is what a connection has moved by the uplink's subflows, both ways, in bytes.
func (u *carryUplink) moved(info mptcp.Info) (n uint64) {
	from := u.source()
	for _, f := range info.Subflows {
		if f.Local.Addr() == from {
			n += f.Received + f.Acked
		}
	}
	return n
}

// readCarrier reads what the kernel tells of a carrier of this gateway.
func (g *gateway) readCarrier(c *carrier.Conn) (mptcp.Info, error) {
	conn, ok := c.NetConn().(carrierConn)
	if !ok {
		return mptcp.Info{}, mptcp.ErrPlain
	}
	return g.host.multipath.read(conn.tcp)
}

func (u *carryUplink) mptcpEndpoint() mptcp.Endpoint {
	return mptcp.Endpoint{Addr: u.source(), Ifindex: u.uplink.Ifindex, Backup: u.held || u.terms.Mode == config.ModeBackup}
}

// syncEndpoints keeps an endpoint for each uplink that may have subflows. One without a path in the bond keeps its own: perhaps only
// datagrams are blocked.
func (c *gatewayCarriers) syncEndpoints(possible bool) {
	if c.manager == nil {
		return
	}
	mesh := slices.Contains(c.capabilities(), capAnnounces)
	if possible && (!c.raised || mesh && !c.meshed) {
		if err := c.manager.Raise(mesh); err != nil {
			c.g.log.Warn("MPTCP connections may not have all their subflows; trying again", "error", err)
		} else {
			c.raised, c.meshed = true, c.meshed || mesh
		}
	}
	var want []mptcp.Endpoint
	more := false
	for _, u := range c.uplinks {
		ok := possible && !u.failing && u.check.name != "" && !u.barred()
		more = more || ok && !u.endpoint
		if u.setEndpoint(time.Now(), ok); ok {
			e := u.mptcpEndpoint()
			e.Mesh = mesh
			want = append(want, e)
		}
	}
	if err := c.manager.Sync(want); err != nil {
		c.g.log.Warn("MPTCP endpoints are not all in place; trying again", "error", err)
	}
	if mesh && more {
		// An address that was announced before has no subflow from a new endpoint: connections that are made now have them all.
		for _, conn := range c.pool.Conns() {
			conn.Retire()
		}
	}
}
