package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/nft"
	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/uplink"
)

// Exits are numbered from 1 in the order of the file. An exit that a rule names, or that has SOCKS of its own, has a TUN device of its own, for as long
// as the gateway lives from then on, and the number is in the mark, the table and the port by which its traffic is known.

// exitTUN is the name of the device of an exit.
func exitTUN(cfg *config.Config, number int) string {
	return fmt.Sprintf("%s-%d", cfg.TUN.Name, number)
}

// numbersOf are the numbers of the exits with a TUN device of their own.
func numbersOf(cfg *config.Config) []int {
	var out []int
	for _, i := range cfg.OwnTUN() {
		out = append(out, i+1)
	}
	return out
}

// choicesOf are the rules as nftables has them. Those whose exit is out leave by the default exit where they say so.
func choicesOf(cfg *config.Config, out func(number int) bool) []nft.Choice {
	var list []nft.Choice
	for _, r := range cfg.Rules {
		c := nft.Choice{Sources: r.Source, Destinations: r.Destination, TCP: r.Protocol == "tcp", UDP: r.Protocol == "udp", Mark: r.Mark.Value, Mask: r.Mark.Mask}
		for _, m := range r.MAC {
			c.MACs = append(c.MACs, m)
		}
		for _, p := range r.Ports {
			c.Ports = append(c.Ports, nft.Ports(p))
		}
		number := 1 + slices.IndexFunc(cfg.Exits(), func(x config.Exit) bool { return x.Name == r.Exit }) // 0: the default exit
		if number > 0 && !(r.Fallback != config.FallbackNone && out(number)) {
			c.Exit = uint16(number)
		}
		list = append(list, c)
	}
	return list
}

// exitReach tells whether traffic of rules can leave by their exit. It is a pure machine: see is called once per healthTick, and when
// something has changed.
type exitReach struct {
	after time.Duration // how long the exit may be out of reach
	well  bool
	since time.Duration // it has been well, or not
	out   bool          // it is out of reach: fallbacks count
}

// see takes whether the exit answers, and whether any uplink could reach it; while none could, the exit is not to blame.
func (r *exitReach) see(now time.Duration, linked, up bool) (changed bool) {
	if up != r.well || !up && !linked {
		r.well, r.since = up, now
	}
	old := r.out
	switch {
	case up && now-r.since >= settleTime:
		r.out = false
	case !up && now-r.since >= r.after:
		r.out = true
	}
	return r.out != old
}

// openExitTUNs opens the exits' own devices.
func (g *gateway) openExitTUNs() phase {
	return phase{"TUN devices of exits",
		func(context.Context) error {
			err := g.followRules(g.cfg)
			if err != nil {
				err = errors.Join(err, g.closeExitTUNs())
			}
			return err
		},
		func(context.Context) error { return g.closeExitTUNs() },
	}
}

func (g *gateway) closeExitTUNs() error {
	var errs []error
	for _, w := range g.ways {
		if dev := w.tun(); dev != nil {
			errs = append(errs, dev.Close()) // its reader is joined by the stop of openTUN
		}
	}
	return errors.Join(errs...)
}

// tun is the exit's own device; nil if it has none.
func (w *wayOut) tun() tun.Device {
	if dev := w.own.Load(); dev != nil {
		return *dev
	}
	return nil
}

// followRules gives the exits that the rules name what they need, and no session to those that are no longer named.
func (g *gateway) followRules(cfg *config.Config) error {
	ruled, numbers := cfg.Ruled(), numbersOf(cfg)
	var errs []error
	for i, w := range g.ways {
		w.ruled = slices.Contains(ruled, i)
		if !slices.Contains(numbers, i+1) || w.tun() != nil {
			continue
		}
		dev, err := g.host.openTUN(exitTUN(g.cfg, i+1), tun.Options{MTU: g.cfg.TUN.MTU, Offload: true})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.own.Store(&dev)
		if w.engine != nil {
			g.readExitTUN(w)
		}
	}
	return errors.Join(errs...)
}

// readExitTUN starts the reader of an exit's device, whose packets all go by that exit.
func (g *gateway) readExitTUN(w *wayOut) {
	d := newDemux()
	d.setRest(w.engine)
	r := newTUNReader(w.tun(), d, &g.drops, patientPackets)
	g.tunWG.Go(func() { // joined by the stop of openTUN
		r.run()
		g.fail(errTUNGone)
	})
}

// exitTUNs is what the routing has to know of exits with devices of their own. One that is out has no address: the kernel forgets with it the
// flows that were given it.
func (g *gateway) exitTUNs() []uplink.ExitTUN {
	var out []uplink.ExitTUN
	for i, w := range g.ways {
		if dev := w.tun(); dev != nil {
			e := uplink.ExitTUN{Number: i + 1, TUN: dev.Name()}
			if !w.reach.out && (w.ruled || w.proxied) {
				e.Addrs = w.inner
			}
			out = append(out, e)
		}
	}
	return out
}

// firewall is the nftables table as the exits are now.
func (g *gateway) firewall() nft.Config {
	c := gatewayFirewall(g.config(), func(number int) bool { return g.ways[number-1].reach.out })
	c.Exits = nil
	for _, e := range g.exitTUNs() {
		c.Exits = append(c.Exits, nft.ExitTUN{Number: uint16(e.Number), TUN: e.TUN})
	}
	return c
}

// setFirewall puts the table in place, or has it tried again.
func (g *gateway) setFirewall() error {
	err := g.host.setFirewall(g.firewall())
	g.walled = err == nil
	return err
}

// interceptConfig is what is to be intercepted as the exits are now.
func (g *gateway) interceptConfig() intercept.Config {
	c := interceptConfig(g.config(), g.dev.Name())
	c.Exits, c.IPv6 = nil, g.streams.ipv6
	for _, e := range g.exitTUNs() {
		caps := g.ways[e.Number-1].answer.Capabilities
		c.Exits = append(c.Exits, intercept.Exit{Number: uint8(e.Number), TUN: e.TUN,
			Takes4: slices.Contains(caps, capStreams), Takes6: slices.Contains(caps, capStreams) && slices.Contains(caps, capIPv6)})
	}
	return c
}

// updateTaking makes the interception follow the rules, and what their exits can do.
func (g *gateway) updateTaking() error {
	if g.streams.taker == nil {
		return nil
	}
	return g.streams.taker.Update(g.interceptConfig())
}

// followReach looks which exits with devices of their own have come into reach or gone out of it. What is new goes the new way, after it is there; what went by
// an exit that is gone is forgotten by the kernel, or ended, so that it is made anew.
func (g *gateway) followReach(ctx context.Context) {
	linked := slices.ContainsFunc(g.snap.Uplinks, func(u uplink.Uplink) bool { return u.Usable4() || u.Usable6() })
	changed, left := false, false
	for _, w := range g.ways {
		if w.tun() == nil || !w.reach.see(g.clock.now(), linked, w.up) {
			continue
		}
		changed = true
		if w.reach.out {
			left = true
			g.log.Warn("an exit of rules or SOCKS is out of reach", "exit", w.name)
			if !w.isChosen() {
				w.engine.in.post(w.engine.loseWaiting)
			}
		} else {
			g.log.Info("an exit of rules or SOCKS is used", "exit", w.name)
		}
	}
	if !changed {
		return
	}
	if !left { // an address before what is led to it; and what is led away before the address goes
		g.route(ctx)
	}
	if err := g.setFirewall(); err != nil {
		g.log.Warn("the rules are not in place; trying again", "error", err)
	}
	if left {
		g.route(ctx)
	}
	g.publishRules()
}

// publishRules tells the status how the rules are.
func (g *gateway) publishRules() {
	var list []RuleStatus
	for _, r := range g.config().Rules {
		s := RuleStatus{For: r.Title(), Exit: r.Exit, Fallback: string(r.Fallback)}
		for _, w := range g.ways {
			switch {
			case w.name != r.Exit:
			case !w.reach.out:
				s.By = w.name
			case r.Fallback == config.FallbackNone:
				s.By = "refused"
			default:
				s.By = config.DefaultExit
			}
		}
		if r.Exit == config.DefaultExit {
			s.By, s.Fallback = config.DefaultExit, ""
		}
		list = append(list, s)
	}
	g.setStatus(func(st *gatewayStatus) { st.rules = list })
}

// wayFor is the exit of a connection that was taken, by its number.
func (g *gateway) wayFor(number uint8) *wayOut {
	if number == 0 {
		return g.chosen.Load()
	}
	return g.ways[number-1]
}

// planExits are the exits of a plan that is made without any.
func planExits(cfg *config.Config, inner []netip.Prefix) []uplink.ExitTUN {
	var out []uplink.ExitTUN
	for _, n := range numbersOf(cfg) {
		out = append(out, uplink.ExitTUN{Number: n, TUN: exitTUN(cfg, n), Addrs: inner})
	}
	return out
}
