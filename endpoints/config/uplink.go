package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Mode says when an uplink is used.
type Mode string

// The modes of an uplink.
const (
	ModeAlways Mode = "always" // carries data whenever it is up
	ModeBackup Mode = "backup" // carries data only while no "always" uplink does, or all of those are full
	ModeDrain  Mode = "drain"  // takes nothing new; what is under way arrives
	ModeOff    Mode = "off"    // is left alone
)

// What a backup waits for.
const (
	BackupDead = "dead" // no other uplink works
	BackupFull = "full" // or all others are full
)

// What becomes of an uplink whose quota is used up.
const (
	QuotaOff      = "off"
	QuotaBackup   = "backup"
	QuotaThrottle = "throttle"
)

// Uplink is one local way out that the gateway was told to use.
type Uplink struct {
	Name string // for people; the interface's name when left out
	// Interface has at most 15 bytes and need not exist yet. With a * at its end it stands for every interface with a default
	// route whose name begins so.
	Interface string
	Gateway   []netip.Addr // next hops, at most one of each family: one of several uplinks on that interface
	Line      string       // uplinks of one line share its capacity; the name when left out
	Mode      Mode
	When      string // BackupDead or BackupFull; of a backup
	Metered   bool   // traffic costs money: no duplicates, no reinjection, slow probing
	Quota     Quota
	MaxUp     Rate // cap towards the exit; 0: none
	MaxDown   Rate // cap towards the gateway; 0: none
	Hooks     Hooks
	Probe     []string // what answers while the line works: IP address (ICMP echo), address:port (TCP), or "gateway"
}

// Quota is what an uplink may carry in a month.
type Quota struct {
	Bytes    Size
	Day      int    // of the month, 1..31, on which it begins anew; in shorter months the last
	Then     string // QuotaOff, QuotaBackup or QuotaThrottle
	Throttle Rate   // with QuotaThrottle, in each direction
}

// Hooks are commands that are run by /bin/sh when an uplink changes.
type Hooks struct {
	Up, Down, Degraded string
	Timeout            time.Duration // then the command is killed
	Repeat             time.Duration // Down is run again while the uplink stays down; 0: never
}

// Any reports whether there is a command.
func (h Hooks) Any() bool { return h.Up != "" || h.Down != "" || h.Degraded != "" }

// What holds for hooks and quotas where the file does not say otherwise.
const (
	defaultHookTimeout = 30 * time.Second
	defaultHookRepeat  = time.Minute // what a watchdog run by cron every minute did
	defaultThrottle    = Rate(64e3)  // enough for mail and messages, and what providers leave
)

// MinHookRepeat bounds how often a hook may be run again.
const MinHookRepeat = 10 * time.Second

// Pattern returns the beginning of the names that Interface stands for, and false when it is one name.
func (u Uplink) Pattern() (string, bool) { return strings.CutSuffix(u.Interface, "*") }

// Is reports whether the uplink is the one of an interface, by the address of its next hop where it is named by that.
func (u Uplink) Is(device string, hop4, hop6 netip.Addr) bool {
	if p, ok := u.Pattern(); ok {
		return strings.HasPrefix(device, p)
	}
	return u.Interface == device && (len(u.Gateway) == 0 || slices.Contains(u.Gateway, hop4) || slices.Contains(u.Gateway, hop6))
}

func readUplink(t *table) Uplink {
	var u Uplink
	t.text("interface", `"eth1"`, nonEmpty(&u.Interface))
	t.text("name", `"dsl"`, nonEmpty(&u.Name))
	t.texts("gateway", `"192.168.1.254"`, func(s string) error {
		a, err := netip.ParseAddr(s)
		if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return fmt.Errorf("%q is not the address of a router; write one like \"192.168.1.254\"", s)
		}
		u.Gateway = append(u.Gateway, a)
		return nil
	})
	t.text("line", `"dsl"`, nonEmpty(&u.Line))
	t.text("mode", `"backup"`, func(s string) error {
		u.Mode = Mode(s)
		return checkMode(u.Mode)
	})
	t.text("backup_when", `"full"`, oneOf(&u.When, BackupDead, BackupFull))
	t.flag("metered", &u.Metered)
	t.text("quota", `"5GB"`, func(s string) (err error) {
		u.Quota.Bytes, err = ParseSize(s)
		return err
	})
	t.number("quota_day", "1", &u.Quota.Day)
	t.text("quota_then", `"off"`, oneOf(&u.Quota.Then, QuotaOff, QuotaBackup, QuotaThrottle))
	t.text("throttle", `"64kbit"`, setRate(&u.Quota.Throttle))
	t.text("max_up", `"10mbit"`, setRate(&u.MaxUp))
	t.text("max_down", `"50mbit"`, setRate(&u.MaxDown))
	t.text("on_up", `"logger dsl is up"`, nonEmpty(&u.Hooks.Up))
	t.text("on_down", `"pkill -HUP pppd"`, nonEmpty(&u.Hooks.Down))
	t.text("on_degraded", `"logger dsl is bad"`, nonEmpty(&u.Hooks.Degraded))
	t.text("hook_timeout", `"30s"`, setDuration(&u.Hooks.Timeout))
	u.Hooks.Repeat = -1
	t.text("hook_repeat", `"1m"`, setDuration(&u.Hooks.Repeat))
	t.texts("probe", `"192.0.2.1"`, func(s string) error {
		u.Probe = append(u.Probe, s)
		return checkProbe(s)
	})
	return u
}

// setDefaults completes an uplink.
func (u *Uplink) setDefaults() {
	if u.Name == "" {
		u.Name = strings.TrimSuffix(u.Interface, "*")
	}
	if u.Mode == "" {
		u.Mode = ModeAlways
	}
	if u.Hooks.Any() && u.Hooks.Timeout == 0 {
		u.Hooks.Timeout = defaultHookTimeout
	}
	if u.Hooks.Repeat < 0 {
		u.Hooks.Repeat = 0
		if u.Hooks.Down != "" {
			u.Hooks.Repeat = defaultHookRepeat
		}
	}
	if u.Quota.Bytes != 0 {
		u.Metered = true
		if u.Quota.Day == 0 {
			u.Quota.Day = 1
		}
		if u.Quota.Then == "" {
			u.Quota.Then = QuotaOff
		}
		if u.Quota.Then == QuotaThrottle && u.Quota.Throttle == 0 {
			u.Quota.Throttle = defaultThrottle
		}
	}
}

func (v *validator) uplinks(c *Config) {
	used := 0
	for i, u := range c.Uplinks {
		at := func(name string) string { return fmt.Sprintf("uplink[%d].%s", i, name) }
		if u.Mode != ModeOff {
			used++
		}
		pattern, isPattern := u.Pattern()
		switch {
		case u.Interface == "":
			v.problem(at("interface"), "uplink[%d].interface is missing; write the name of the network interface, like \"eth1\"", i)
		case strings.Contains(pattern, "*"):
			v.problem(at("interface"), "%s: %q cannot be the name of an interface; a * may stand at its end only", at("interface"), u.Interface)
		case !isPattern || pattern != "":
			v.check(at("interface"), checkInterface(pattern))
		}
		if u.Name != "" || u.Interface != "" && u.Interface != "*" {
			v.check(at("name"), checkName(u.Name))
		} else if u.Interface == "*" {
			v.problem(at("name"), "uplink[%d].name is missing; an uplink of interface \"*\" needs one", i)
		}
		if u.Interface == c.TUN.Name {
			v.problem(at("interface"), "uplink[%d].interface: %q is the bond's own TUN device; an uplink is what the bond runs over", i, u.Interface)
		}
		if u.Line != "" {
			v.check(at("line"), checkName(u.Line))
		}
		v.check(at("mode"), checkMode(u.Mode))
		if u.When != "" && u.Mode != ModeBackup {
			v.problem(at("backup_when"), "uplink[%d].backup_when has a meaning only with mode = \"backup\"; remove it, or set the mode", i)
		}
		v.check(at("max_up"), checkRate(u.MaxUp))
		v.check(at("max_down"), checkRate(u.MaxDown))
		v.nextHops(i, u)
		v.quota(i, u)
		v.hooks(i, u)
		for j, o := range c.Uplinks[:i] {
			switch {
			case u.Interface == "":
			case u.Interface == o.Interface && (len(u.Gateway) == 0 || len(o.Gateway) == 0):
				v.problem(at("interface"), "uplink[%d].interface: %q is uplink[%d] already; remove one, or give each its own gateway", i, u.Interface, j)
			case u.Interface == o.Interface && slices.ContainsFunc(u.Gateway, func(a netip.Addr) bool { return slices.Contains(o.Gateway, a) }):
				v.problem(at("gateway"), "uplink[%d].gateway: that router is uplink[%d] already; remove one", i, j)
			case u.Name == o.Name:
				v.problem(at("name"), "uplink[%d].name: %q is the name of uplink[%d] already; give each its own", i, u.Name, j)
			}
		}
	}
	if used == 0 && len(c.Uplinks) > 0 {
		v.problem("uplink", "uplink: every uplink is off; set one to \"always\", or remove all [[uplink]] to have them found")
	}
	if !filepath.IsAbs(c.StateDir) {
		v.problem("state_dir", "state_dir: %q is not the path of a directory; write one that begins with a slash", c.StateDir)
	}
}

func (v *validator) nextHops(i int, u Uplink) {
	field := fmt.Sprintf("uplink[%d].gateway", i)
	if _, isPattern := u.Pattern(); isPattern && len(u.Gateway) > 0 {
		v.problem(field, "%s: routers are named on one interface; write its name in full, without the *", field)
	}
	for j, a := range u.Gateway {
		if slices.ContainsFunc(u.Gateway[:j], func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			v.problem(field, "%s: an uplink has at most one router of each family; make another [[uplink]] for %s", field, a)
		}
	}
}

func (v *validator) quota(i int, u Uplink) {
	at := func(name string) string { return fmt.Sprintf("uplink[%d].%s", i, name) }
	q := u.Quota
	if q.Bytes == 0 {
		for _, f := range []struct {
			name string
			set  bool
		}{{"quota_day", q.Day != 0}, {"quota_then", q.Then != ""}, {"throttle", q.Throttle != 0}} {
			if f.set {
				v.problem(at(f.name), "%s has a meaning only with quota; write that too, like quota = \"5GB\"", at(f.name))
			}
		}
		return
	}
	if len(u.Gateway) > 0 {
		v.problem(at("quota"), "%s: the kernel counts by interface, and %s is shared; remove the quota or give the uplink an interface (a VLAN) of its own", at("quota"), u.Interface)
	}
	if q.Day < 1 || q.Day > 31 {
		v.problem(at("quota_day"), "%s: %d is not a day of the month; write 1 to 31", at("quota_day"), q.Day)
	}
	v.check(at("throttle"), checkRate(q.Throttle))
	if q.Throttle != 0 && q.Then != QuotaThrottle {
		v.problem(at("throttle"), "%s has a meaning only with quota_then = \"throttle\"; set that or remove it", at("throttle"))
	}
}

func (v *validator) hooks(i int, u Uplink) {
	at := func(name string) string { return fmt.Sprintf("uplink[%d].%s", i, name) }
	if h := u.Hooks; h.Any() {
		if h.Timeout < time.Second || h.Timeout > time.Hour {
			v.problem(at("hook_timeout"), "%s: %v is out of range; it must lie between 1s and 1h", at("hook_timeout"), h.Timeout)
		}
		if h.Repeat != 0 && (h.Repeat < MinHookRepeat || h.Repeat > 24*time.Hour) {
			v.problem(at("hook_repeat"), "%s: %v is out of range; it must lie between %v and 24h, or be 0s for never", at("hook_repeat"), h.Repeat, MinHookRepeat)
		}
	}
	for _, p := range u.Probe {
		v.check(at("probe"), checkProbe(p))
	}
}

// checkProbe accepts what an uplink can be probed by.
func checkProbe(s string) error {
	if s == "gateway" {
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil && !a.IsUnspecified() && !a.IsMulticast() {
		return nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 && !ap.Addr().IsUnspecified() {
		return nil
	}
	return fmt.Errorf("%q is not something to probe; write \"gateway\", an IP address, or one with a TCP port, like \"192.0.2.1:443\"", s)
}

// oneOf takes one of the words.
func oneOf(to *string, words ...string) func(string) error {
	return func(s string) error {
		*to = s
		return checkWord(s, words...)
	}
}

func setDuration(to *time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is not a time; write one like \"30s\", \"5m\" or \"1h\"", s)
		}
		*to = d
		return nil
	}
}

func (u Uplink) describe() string {
	s := u.Name
	if u.Name != u.Interface {
		s += " (" + u.Interface + ")"
	}
	for i, a := range u.Gateway {
		s += map[bool]string{true: " by ", false: " and "}[i == 0] + a.String()
	}
	if u.Line != "" {
		s += ", on line " + u.Line
	}
	s += ", " + string(u.Mode)
	if u.When == BackupFull {
		s += " for when the others are full"
	}
	if u.Metered {
		s += ", metered"
	}
	if q := u.Quota; q.Bytes != 0 {
		s += fmt.Sprintf(", %v a month from day %d on, then %s", q.Bytes, q.Day, q.Then)
		if q.Throttle != 0 {
			s += " to " + q.Throttle.String()
		}
	}
	if u.MaxUp != 0 {
		s += fmt.Sprintf(", up at most %v", u.MaxUp)
	}
	if u.MaxDown != 0 {
		s += fmt.Sprintf(", down at most %v", u.MaxDown)
	}
	for _, h := range []struct{ name, command string }{{"on_up", u.Hooks.Up}, {"on_down", u.Hooks.Down}, {"on_degraded", u.Hooks.Degraded}} {
		if h.command != "" {
			s += ", " + h.name + " runs " + h.command
		}
	}
	if len(u.Probe) > 0 {
		s += ", probed by " + strings.Join(u.Probe, ", ")
	}
	return s
}
