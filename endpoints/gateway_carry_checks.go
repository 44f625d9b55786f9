package endpoints

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/bondd/bondd/tunnel/carrier"
)

const (
	// An uplink is checked again after checkAgain, and after checkSoon if the exit was not reached by it.
	checkAgain = 10 * time.Minute
	checkSoon  = 15 * time.Second
)

// checkResult is what became of a connection by one uplink.
type checkResult struct {
	name     string
	err      error // the exit was not reached by TCP
	here     bool  // this end has MPTCP on it
	there    bool  // and the exit
	exit     bool  // whose kernel speaks it
	rtt      time.Duration
	from, to netip.AddrPort
}

// startChecks looks by a connection over each uplink whether the exit is reached and MPTCP gets through.
func (c *gatewayCarriers) startChecks(ctx context.Context, now time.Time, w *carryWorld, ways []carryWay) {
	if !c.needed.Load() || !slices.Contains(w.capabilities, capCarriers) {
		return
	}
	for _, y := range ways {
		u := c.uplinks[y.uplink.Name]
		if u.checking || now.Before(u.checkAt) {
			continue
		}
		u.checking = true
		c.wg.Go(func() { // joined by closeCarriers
			r := c.g.checkWay(ctx, y)
			select {
			case c.checks <- r:
			case <-ctx.Done():
			}
		})
	}
}

// checked takes what came of a check.
func (c *gatewayCarriers) checked(r checkResult) {
	u := c.uplinks[r.name]
	if u == nil {
		return
	}
	u.checking = false
	u.checkAt = time.Now().Add(checkAgain)
	if r.err != nil {
		u.checkAt = time.Now().Add(checkSoon)
		if u.check.name != "" && u.check.err == nil && time.Since(u.since) < checkAgain {
			return // it was well, and may be again
		}
	}
	was := u.stripped()
	u.check, u.checked = r, time.Now()
	u.unreached = r.err != nil // another address of the exit is tried, if it has one
	if u.unjoined {            // another trial
		u.unjoined, u.missed = false, 0
	}
	if r.err == nil && !u.up {
		u.failing = false // datagrams may be blocked, but it lives
	}
	if u.stripped() && !was && c.support.Missing == "" && slices.Contains(c.capabilities(), capMPTCP) {
		c.g.log.Info("MPTCP is stripped on the way; the uplink is used by the bond only", "uplink", u.terms.Name)
	}
}

func (c *gatewayCarriers) capabilities() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.world.capabilities
}

// checkWay makes a carrier over one uplink, asks the exit for its view of it, and closes it.
func (g *gateway) checkWay(ctx context.Context, y carryWay) checkResult {
	r := checkResult{name: y.uplink.Name, to: y.remote}
	conn, syn, err := g.dialWay(ctx, y)
	if err != nil {
		r.err = err
		return r
	}
	r.rtt = syn
	r.here = g.host.isMPTCP(conn.tcp)
	cc, err := carrier.Client(conn)
	if err != nil {
		r.err = err
		return r
	}
	defer cc.Close()
	v, err := askCarrier(cc)
	if err != nil {
		r.err = err
		return r
	}
	r.there, r.exit, r.from = v.MPTCP, v.Able, v.From
	return r
}

// askCarrier asks the exit for its view.
func askCarrier(cc *carrier.Conn) (*carrierView, error) {
	s, err := cc.Open(targetView)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(viewTime))
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(s, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("the exit does not answer on a carrier: %w", err)
	}
	v := new(carrierView)
	return v, json.Unmarshal(b, v)
}

// askView asks the exit for its view of the paths, by some carrier.
func (c *gatewayCarriers) askView(ctx context.Context, now time.Time) {
	conns := c.pool.Conns()
	if c.asking || now.Sub(c.viewAt) < viewEvery || len(conns) == 0 {
		return
	}
	c.asking, c.viewAt = true, now
	c.wg.Go(func() { // joined by closeCarriers
		v, err := askCarrier(conns[0]) // the one used least
		if err != nil {
			v = nil
		}
		select {
		case c.views <- v:
		case <-ctx.Done():
		}
	})
}

func (c *gatewayCarriers) viewed(v *carrierView) {
	c.asking = false
	if v == nil {
		return
	}
	for _, p := range v.Paths {
		for _, u := range c.uplinks {
			if u.id == p.ID {
				u.theirs.add(p.Sent, p.Lost)
				u.acked = max(u.acked, p.Acked)
				if p.Acked > 1<<16 {
					u.rate = max(u.rate, p.Rate)
				}
			}
		}
	}
}
