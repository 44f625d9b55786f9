package endpoints

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/carrier"
	"github.com/bondd/bondd/tunnel/control"
)

const (
	// An uplink is checked again after checkAgain, and after checkSoon if the exit was not reached by it.
	checkAgain = 10 * time.Minute
	checkSoon  = 15 * time.Second
	// lossSample is how many datagrams a figure of loss is of, at least.
	lossSample = 1000
	// udpPatience is how long an uplink may be without a path before datagrams count as blocked on it.
	udpPatience = 5 * time.Second
)

// carryUplink is what is known of an uplink for carrying TCP.
type carryUplink struct {
	uplink uplink.Uplink
	remote netip.AddrPort
	terms  terms
	since  time.Time

	checking bool
	check    checkResult // the last one
	checked  time.Time   // when it came
	checkAt  time.Time   // of the next one

	up       bool   // its path in the bond answers
	downs    int    // how often it has failed
	progress uint64 // when it failed last
	failing  bool   // its endpoint is gone, because it did not answer
	wellFrom time.Time

	endpoint   bool      // it has one
	endpointAt time.Time // since when
	unreached  bool      // the exit is not reached at remote
	missed     int       // carriers on which its subflow has not come
	missFrom   time.Time // since the first of them
	suspectAt  time.Time // when a check was asked for last because of subflows
	unjoined   bool      // its subflows do not come, though a connection of its own has MPTCP

	id       tunnel.PathID
	rtt      time.Duration
	rate     float64 // the best that was seen, bytes/s
	acked    uint64
	received uint64
	seenAt   time.Time
	ours     lossCount
	theirs   lossCount
}

// lossCount makes shares of counters.
type lossCount struct {
	sent, lost uint64 // when the window began
	share      float64
}

// add takes the counters as they are now.
func (l *lossCount) add(sent, lost uint64) {
	switch {
	case sent < l.sent || lost < l.lost: // another session
		l.sent, l.lost = sent, lost
	case sent-l.sent >= lossSample:
		l.share = float64(lost-l.lost) / float64(sent-l.sent)
		l.sent, l.lost = sent, lost
	}
}

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

// path is the uplink as the choice sees it.
func (u *carryUplink) path(now time.Time) scheduler.CarryPath {
	p := scheduler.CarryPath{Name: u.terms.Name, RTT: u.rtt, Loss: max(u.ours.share, u.theirs.share), Rate: u.rate, Acked: u.acked}
	if !u.up && !u.failing && u.check.rtt > 0 && !u.checked.Before(u.since) && now.Sub(u.since) >= udpPatience {
		p.TCPOnly, p.RTT = true, u.check.rtt
	}
	switch {
	case u.terms.Metered:
		p.Reason = "it is metered"
	case u.terms.MaxUp != 0 || u.terms.MaxDown != 0:
		p.Reason = "its rate is capped by the configuration, which the kernel cannot do"
	case u.check.name == "":
		p.Reason = "not checked yet"
	case u.check.err != nil:
		p.Reason = "the exit is not reached by TCP"
	case u.unjoined:
		p.Reason = "MPTCP is stripped on the way: its subflows do not come"
	case u.stripped():
		p.Reason = "MPTCP is stripped on the way"
	case u.failing:
		p.Reason = "it does not answer"
	case !u.up && !p.TCPOnly:
		p.Reason = "it has no path yet"
	}
	return p
}

// stripped tells that a connection by the uplink has lost MPTCP, or that no subflow comes by it.
func (u *carryUplink) stripped() bool {
	return u.unjoined || u.check.name != "" && u.check.err == nil && !(u.check.here && u.check.there)
}

// barred tells that the kernel may not, or cannot, have the uplink: it does not know what costs money, nor caps.
func (u *carryUplink) barred() bool {
	return u.stripped() || u.check.err != nil || u.terms.Metered || u.terms.Mode == config.ModeDrain || u.terms.MaxUp != 0 || u.terms.MaxDown != 0
}

// follow brings the uplinks in line with the world and what the bond knows of its paths, and lists the ways for carriers, the quickest first.
func (c *gatewayCarriers) follow(now time.Time, w *carryWorld, stats map[wayKey]tunnel.PathStats) []carryWay {
	var ways []carryWay
	seen := make(map[string]bool)
	for _, u := range w.snap.Uplinks {
		remotes := slices.DeleteFunc(slices.Clone(w.remotes), func(r netip.AddrPort) bool { return !usable(u, r.Addr()) })
		if len(remotes) == 0 {
			continue
		}
		seen[u.Name] = true
		k := c.uplinks[u.Name]
		at := 0 // the address of the exit that the uplink reaches, as far as is known
		if k != nil {
			at = max(0, slices.Index(remotes, k.remote))
			if k.unreached {
				k.unreached, at = false, (at+1)%len(remotes)
			}
		}
		remote := remotes[at]
		if k == nil || k.remote != remote || sourceOf(k.uplink, remote.Addr()) != sourceOf(u, remote.Addr()) || k.uplink.Ifindex != u.Ifindex {
			k = &carryUplink{since: now}
			c.uplinks[u.Name] = k
		}
		k.uplink, k.remote, k.terms = u, remote, w.terms[u.Name]
		if p, ok := stats[wayKey{u.Name, remote}]; ok {
			k.learn(now, p)
		} else {
			k.up = false
		}
		ways = append(ways, carryWay{u, remote, c.way.key, k.barred()})
	}
	for name := range c.uplinks {
		if !seen[name] {
			delete(c.uplinks, name)
		}
	}
	slices.SortStableFunc(ways, func(a, b carryWay) int {
		x, y := c.uplinks[a.uplink.Name], c.uplinks[b.uplink.Name]
		return cmp.Or(boolInt(x.failing)-boolInt(y.failing), boolInt(x.terms.Metered)-boolInt(y.terms.Metered), cmp.Compare(x.check.rtt, y.check.rtt))
	})
	return ways
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// learn takes the bond's statistics of the uplink's path.
func (u *carryUplink) learn(now time.Time, p tunnel.PathStats) {
	up := p.State == scheduler.Up.String()
	switch {
	case up && !u.up:
		u.wellFrom = now
	case up && u.failing && now.Sub(u.wellFrom) >= wellAfter:
		u.failing = false
	case !up && u.up:
		u.since, u.checkAt = now, now.Add(udpPatience/2) // is it dead, or are datagrams blocked?
	}
	u.up, u.id = up, p.ID
	u.rtt = max(p.RTT-p.Queue, 0)
	if p.AckedBytes > 1<<16 {
		u.rate = max(u.rate, p.Rate)
	}
	u.acked = max(u.acked, p.AckedBytes)
	if d := now.Sub(u.seenAt); d > carryTick/2 {
		if !u.seenAt.IsZero() && p.RecvBytes >= u.received {
			u.rate = max(u.rate, float64(p.RecvBytes-u.received)/d.Seconds())
		}
		u.received, u.seenAt = p.RecvBytes, now
	}
	u.ours.add(p.SentDatagrams, p.LostDatagrams)
}

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
	from := u.source()
	for _, conn := range c.pool.Conns() {
		if info, err := c.g.readCarrier(conn); err == nil {
			for _, f := range info.Subflows {
				if f.Local.Addr() == from {
					n += f.Received + f.Acked
				}
			}
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
	return mptcp.Endpoint{Addr: u.source(), Ifindex: u.uplink.Ifindex, Backup: u.terms.Mode == config.ModeBackup}
}

// syncEndpoints keeps an endpoint for each uplink that may have subflows. One without a path in the bond keeps its own: perhaps only
// datagrams are blocked.
func (c *gatewayCarriers) syncEndpoints(possible bool) {
	if c.manager == nil {
		return
	}
	mesh := slices.Contains(c.capabilities(), capAnnounces)
	var want []mptcp.Endpoint
	for _, u := range c.uplinks {
		ok := possible && !u.failing && u.check.name != "" && !u.barred()
		if u.setEndpoint(time.Now(), ok); ok {
			e := u.mptcpEndpoint()
			e.Mesh = mesh
			want = append(want, e)
		}
	}
	if err := c.manager.Sync(want); err != nil {
		c.g.log.Warn("MPTCP endpoints are not all in place; trying again", "error", err)
	}
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

// dialWay makes the connection of a carrier. syn is what the TCP handshake took.
func (g *gateway) dialWay(ctx context.Context, y carryWay, congestion string) (conn carrierConn, syn time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, carrierTime)
	defer cancel()
	begin := time.Now()
	tcp, err := g.host.multipath.dial(ctx, mptcp.Options{Source: sourceOf(y.uplink, y.remote.Addr()), Device: y.uplink.Interface(), Congestion: congestion}, y.remote)
	if err != nil {
		return conn, 0, err
	}
	syn = time.Since(begin)
	t, err := control.Carrier(ctx, tcp, g.cfg.PrivateKey, y.key)
	if err != nil {
		tcp.Close()
		return conn, 0, err
	}
	return carrierConn{t, tcp}, syn, nil
}

// checkWay makes a carrier over one uplink, asks the exit for its view of it, and closes it.
func (g *gateway) checkWay(ctx context.Context, y carryWay) checkResult {
	r := checkResult{name: y.uplink.Name, to: y.remote}
	conn, syn, err := g.dialWay(ctx, y, "")
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

// dial makes a connection for the pool, by the first way that works.
func (c *gatewayCarriers) dial(ctx context.Context) (net.Conn, error) {
	c.mu.Lock()
	ways := c.ways
	c.mu.Unlock()
	plain := c.plain.Load()
	var errs []error
	for _, y := range ways {
		if y.barred && !plain {
			continue
		}
		conn, _, err := c.g.dialWay(ctx, y, c.g.host.mptcpSupport().Congestion)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", y.uplink.Name, err))
		case !plain && !c.g.host.isMPTCP(conn.tcp):
			conn.Close()
			errs = append(errs, fmt.Errorf("%s: %w", y.uplink.Name, mptcp.ErrPlain))
		default:
			return conn, nil
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no uplink can have carriers"))
	}
	return nil, errors.Join(errs...)
}

// carriedError is what a proxy is told when the exit has not reached a target.
func carriedError(t dial.Target, err error) error {
	var r *carrier.ResetError
	if errors.As(err, &r) {
		return &dial.Error{Code: dialCode(r.Code), Target: t.String(), Reason: resetReason(r.Code)}
	}
	return &dial.Error{Code: dial.CodeOf(err), Target: t.String(), Err: err}
}
