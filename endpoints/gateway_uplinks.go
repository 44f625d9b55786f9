package endpoints

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
)

// retireTime is how long an uplink that is drained keeps its paths, so that what is on its way arrives: longer than any queue.
const retireTime = 10 * time.Second

// terms are how an uplink is used: its entry in the configuration, and what has come of that.
type terms struct {
	config.Uplink
	Mode   config.Mode // in effect
	Reason string      // why it is not the configured one
}

// uses is what decides how uplinks are used beside the configuration. The goroutine of serve owns it.
type uses struct {
	seen    uplink.Snapshot        // all uplinks there are; gateway.snap has those that are not off
	asked   map[string]config.Mode // by "bondd path", by name of an uplink or a path
	drained map[string]time.Time   // since when an uplink is drained, by its name in the kernel
	spent   map[string]bool        // quotas used up, by name of the entry
	lines   map[string]uint8       // group of each line
}

func newUses() uses {
	return uses{asked: map[string]config.Mode{}, drained: map[string]time.Time{}, spent: map[string]bool{}, lines: map[string]uint8{}}
}

// entry is what the configuration says about an uplink: the first that applies. Its Name is what people call the uplink; where an entry
// stands for several interfaces, theirs is added.
func (g *gateway) entry(u uplink.Uplink) config.Uplink {
	for _, e := range g.config().Uplinks {
		if e.Is(u.Interface(), u.Gateway4, u.Gateway6) {
			if _, ok := e.Pattern(); ok && e.Name != u.Name {
				e.Name += ":" + u.Name
			}
			return e
		}
	}
	return config.Uplink{Name: u.Name, Interface: u.Interface(), Mode: config.ModeAlways}
}

// terms are how an uplink is used now. A person's word counts before the quota, and the quota before the configuration.
func (g *gateway) terms(u uplink.Uplink) terms {
	t := terms{Uplink: g.entry(u)}
	t.Mode = t.Uplink.Mode
	if g.uses.spent[quotaName(t.Uplink)] {
		t.Reason = "its quota of " + t.Quota.Bytes.String() + " is used up"
		switch t.Quota.Then {
		case config.QuotaOff:
			t.Mode = config.ModeOff
		case config.QuotaBackup:
			t.Mode = config.ModeBackup
		case config.QuotaThrottle:
			t.MaxUp, t.MaxDown = lower(t.MaxUp, t.Quota.Throttle), lower(t.MaxDown, t.Quota.Throttle)
		}
	}
	if m, ok := g.uses.asked[t.Name]; ok {
		t.Mode, t.Reason = m, "asked for by \"bondd path\""
	}
	if at, ok := g.uses.drained[u.Name]; ok && t.Mode == config.ModeDrain && time.Since(at) >= retireTime {
		t.Mode, t.Reason = config.ModeOff, "drained"
	}
	return t
}

// quotaName is by what an entry's quota is counted: one sum for all interfaces it stands for.
func quotaName(u config.Uplink) string {
	name, _, _ := strings.Cut(u.Name, ":")
	return name
}

// lower is the lower of two caps, where 0 is none.
func lower(a, b config.Rate) config.Rate {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// inUse is a snapshot without the uplinks that are off.
func (g *gateway) inUse(s uplink.Snapshot) uplink.Snapshot {
	s.Uplinks = slices.DeleteFunc(slices.Clone(s.Uplinks), func(u uplink.Uplink) bool { return g.terms(u).Mode == config.ModeOff })
	return s
}

// see takes a snapshot of all uplinks and returns what is in use of it. It notes since when uplinks are drained.
func (g *gateway) see(s uplink.Snapshot) uplink.Snapshot {
	g.uses.seen = s
	for _, u := range s.Uplinks {
		if g.terms(u).Mode != config.ModeDrain {
			if g.terms(u).Reason != "drained" {
				delete(g.uses.drained, u.Name)
			}
		} else if _, ok := g.uses.drained[u.Name]; !ok {
			g.uses.drained[u.Name] = time.Now()
		}
	}
	return g.inUse(s)
}

// drains tells whether an uplink has been drained for so long that it goes now.
func (g *gateway) drains() bool {
	for _, u := range g.snap.Uplinks {
		if g.terms(u).Mode == config.ModeOff {
			return true
		}
	}
	return false
}

// group is the scheduler's group of an uplink: that of its line.
func (g *gateway) group(t *terms, u uplink.Uplink) uint8 {
	line := t.Line
	if line == "" {
		line = " " + u.Name // no name of a line begins so
	}
	n, ok := g.uses.lines[line]
	if !ok {
		// More than 255 lines would share groups, which costs only their independence.
		n = uint8(len(g.uses.lines) + 1)
		g.uses.lines[line] = n
	}
	return n
}

// ranked are the uplinks in the order in which the hello tries them: those that are there to be used, then backups and what costs
// money.
func (g *gateway) ranked() []uplink.Uplink {
	cost := func(u uplink.Uplink) int {
		n, t := 0, g.terms(u)
		if t.Mode != config.ModeAlways {
			n += 2
		}
		if t.Metered {
			n++
		}
		return n
	}
	us := slices.Clone(g.snap.Uplinks)
	slices.SortStableFunc(us, func(a, b uplink.Uplink) int { return cmp.Compare(cost(a), cost(b)) })
	return us
}

// watchOptions say which interfaces are uplinks: those of the configuration, or, when it has none, all with a default
// route. Those that are off are watched too, for they may be asked for.
func watchOptions(cfg *config.Config) uplink.WatchOptions {
	o := uplink.WatchOptions{TUN: cfg.TUN.Name, Exclude: slices.Clone(cfg.LAN.Interfaces), NamedOnly: !cfg.AutoUplinks()}
	for _, n := range numbersOf(cfg) {
		o.Exclude = append(o.Exclude, exitTUN(cfg, n))
	}
	for _, u := range cfg.Uplinks {
		if p, ok := u.Pattern(); ok {
			o.Patterns = append(o.Patterns, p)
		} else if len(u.Gateway) == 0 {
			o.Named = append(o.Named, u.Interface)
		} else {
			h := uplink.Hop{Device: u.Interface}
			for _, a := range u.Gateway {
				if a.Is4() {
					h.Gateway4 = a
				} else {
					h.Gateway6 = a
				}
			}
			o.Hops = append(o.Hops, h)
		}
	}
	return o
}

// assumed are the inner addresses in a plan that is made without an exit: those of the first gateway of an exit with defaults.
var assumed = []netip.Prefix{netip.MustParsePrefix("10.177.0.2/32"), netip.MustParsePrefix("fd77:b0dd::2/128")}

// Plan is what a node with this configuration would put into this machine's network now, as commands, with what there is to say about it
// as comments. It changes nothing and needs no rights.
func Plan(ctx context.Context, cfg *config.Config) (string, error) {
	return plan(ctx, cfg, machine())
}

func plan(ctx context.Context, cfg *config.Config, h *host) (string, error) {
	w := uplink.Want{Role: uplink.Exit, TUN: cfg.TUN.Name, TUNAddrs: cfg.Inner.Exit()}
	o := uplink.WatchOptions{TUN: cfg.TUN.Name}
	if cfg.Role == config.RoleGateway {
		w = uplink.Want{Role: uplink.Gateway, TUN: cfg.TUN.Name, TUNAddrs: assumed, Exits: planExits(cfg, assumed)}
		o = watchOptions(cfg)
	}
	m, err := h.watch(o)
	if err != nil {
		return "", err
	}
	defer m.Close()
	s, err := m.Next(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if cfg.Role == config.RoleGateway {
		g := &gateway{node: node{cfg: cfg}, uses: newUses()}
		g.reloads.init(cfg)
		for _, u := range s.Uplinks {
			t := g.terms(u)
			b.WriteString("# uplink " + t.Name + " by " + u.Name + ": " + string(t.Mode))
			if !u.Usable4() && !u.Usable6() {
				b.WriteString(", not usable now")
			}
			b.WriteByte('\n')
		}
		if len(s.Uplinks) == 0 {
			b.WriteString("# no uplink: no interface that counts as one is there\n")
		}
		b.WriteString("# The exit says which inner addresses; these are what its first gateway has by default.\n")
		s = g.inUse(s)
	}
	p := uplink.MakePlan(s, w)
	b.WriteString(p.String())
	for _, n := range p.Notes {
		b.WriteString("# " + n + "\n")
	}
	return b.String(), nil
}

// uplinkStatus is what the status says of all uplinks, those that are off too.
func (g *gateway) uplinkStatus() []UplinkStatus {
	var out []UplinkStatus
	for _, u := range g.uses.seen.Uplinks {
		t := g.terms(u)
		s := UplinkStatus{
			Name: t.Name, Interface: u.Interface(), Mode: string(t.Mode), Reason: t.Reason, Metered: t.Metered, Up: u.Up,
			IPv4: u.Usable4(), IPv6: u.Usable6(), MTU: u.MTU, Addresses: u.Addrs,
		}
		if l := g.dog.lines[u.Name]; l != nil && l.health.state != healthUnknown {
			s.Health, s.Why = l.health.state.String(), l.health.reason
		}
		if t.Quota.Bytes != 0 && g.dog.book != nil {
			s.Quota, s.Used = uint64(t.Quota.Bytes), g.dog.book.Used(quotaName(t.Uplink))
		}
		out = append(out, s)
	}
	return out
}
