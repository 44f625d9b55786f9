package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bondd/bondd/tunnel/control"
)

// Exit is an exit that a gateway talks to.
type Exit struct {
	Name      string    // see Title
	Addresses []Address // at least one; every uplink makes one path to each
	Relays    []Address // that forward to the exit; every uplink makes one path to each of them too
	Key       control.PublicKey

	// SOCKS and HTTP are where SOCKS5 and HTTP CONNECT are served for connections that leave by this exit, whichever is in use.
	SOCKS, HTTP []netip.AddrPort
	// Apart exits never take over for another: they are for their own proxies and for rules only.
	Apart bool
	// FailoverAfter is how long this exit may be out of reach before the next one takes over.
	FailoverAfter time.Duration
}

// Title is what the exit is called: its name, or "exit".
func (x Exit) Title() string {
	if x.Name == "" {
		return "exit"
	}
	return x.Name
}

// Exits are all exits of a gateway, the default one first.
func (c *Config) Exits() []Exit { return append([]Exit{c.Exit}, c.Others...) }

// Bounds of failover_after. A modem that changes its cell is away for some seconds, and so is a session that only moves to other paths.
const (
	defaultFailoverAfter = 10 * time.Second
	minFailoverAfter     = 2 * time.Second
	maxFailoverAfter     = time.Hour
)

// readExits reads [exit], or [[exit]] once per exit.
func (c *Config) readExits(t *table) {
	if _, list := t.m["exit"].([]map[string]any); !list {
		if exit := t.table("exit"); exit != nil {
			c.Exit = readExit(exit, false)
		}
		return
	}
	list := t.tables("exit")
	if len(list) == 1 { // the same as [exit], and called so
		for field, line := range t.d.lines {
			if inside, ok := strings.CutPrefix(field, "exit[0]"); ok {
				t.d.lines["exit"+inside] = line
			}
		}
		list[0].path = "exit"
	}
	for i, x := range list {
		if i == 0 {
			c.Exit = readExit(x, false)
		} else {
			c.Others = append(c.Others, readExit(x, true))
		}
	}
}

func readExit(t *table, other bool) Exit {
	var x Exit
	t.text("name", `"singapore"`, nonEmpty(&x.Name))
	t.texts("address", `"exit.example.net"`, addressTo(&x.Addresses))
	t.texts("relays", `"relay.example.net"`, addressTo(&x.Relays))
	t.text("key", "the output of \"bondd pubkey\"", setKey(&x.Key))
	t.texts("socks", `"127.0.0.1:1080"`, listenTo(&x.SOCKS))
	t.texts("http", `"127.0.0.1:8080"`, listenTo(&x.HTTP))
	// One that has proxies is asked for by them; that everything should leave there one day has to be said.
	failover := !other || len(x.SOCKS)+len(x.HTTP) == 0
	t.flag("failover", &failover)
	x.Apart = !failover
	t.text("failover_after", `"10s"`, setDuration(&x.FailoverAfter))
	return x
}

// setExitDefaults completes the exits of a gateway. One alone needs no name and nothing to take over.
func (c *Config) setExitDefaults() {
	if len(c.Others) == 0 {
		return
	}
	set := func(x *Exit, i int) {
		if x.Name == "" {
			x.Name = fmt.Sprintf("exit%d", i+1)
		}
		if x.FailoverAfter == 0 {
			x.FailoverAfter = defaultFailoverAfter
		}
	}
	set(&c.Exit, 0)
	for i := range c.Others {
		set(&c.Others[i], i+1)
	}
}

// exits checks the exits of a gateway.
func (v *validator) exits(c *Config) {
	all := c.Exits()
	for i, x := range all {
		at := exitField(all, i)
		v.exit(at, x)
		if x.Name != "" {
			v.check(at+".name", checkName(x.Name))
		}
		for j, o := range all[:i] {
			if x.Name == o.Name {
				v.problem(at+".name", "%s.name: %q is the name of exit[%d] already; give each its own", at, x.Name, j)
			}
			if x.Key == o.Key && !isZero(x.Key[:]) {
				v.problem(at+".key", "%s.key: exit %q has the same key; each exit has its own, and all addresses of one belong in its list", at, o.Name)
			}
		}
		switch {
		case !x.Apart:
		case i == 0:
			v.problem(at+".failover", "%s.failover: the first exit is the one that everything leaves by; put another one first, or remove the field", at)
		case len(x.SOCKS)+len(x.HTTP) == 0 && !slices.Contains(c.Ruled(), i):
			v.problem(at+".failover", "%s.failover: without it, without socks or http and without a rule, nothing would ever leave by exit %q; write one of them", at, x.Name)
		}
		if d := x.FailoverAfter; d != 0 && (d < minFailoverAfter || d > maxFailoverAfter) {
			v.problem(at+".failover_after", "%s.failover_after: %v is out of range; it must lie between %v and %v", at, d, minFailoverAfter, maxFailoverAfter)
		}
	}
}

// exitField is what the file calls an exit.
func exitField(all []Exit, i int) string {
	if len(all) == 1 {
		return "exit"
	}
	return fmt.Sprintf("exit[%d]", i)
}

func (v *validator) exit(at string, x Exit) {
	if len(x.Addresses) == 0 {
		v.problem(at+".address", "%s.address is missing; write the host name or IP address of the exit", at)
	}
	for i, a := range x.Addresses {
		if slices.ContainsFunc(x.Addresses[:i], a.is) {
			v.problem(fmt.Sprintf("%s.address[%d]", at, i), "%s.address: %s is listed twice; remove one", at, a)
		}
	}
	for i, a := range x.Relays {
		if slices.ContainsFunc(x.Addresses, a.is) || slices.ContainsFunc(x.Relays[:i], a.is) {
			v.problem(fmt.Sprintf("%s.relays[%d]", at, i), "%s.relays: %s is listed already; remove one", at, a)
		}
	}
	if isZero(x.Key[:]) {
		v.problem(at+".key", "%s.key is missing; write the public key of the exit, which \"bondd pubkey\" prints there", at)
	}
}

// is tells whether two addresses are the same; names have no case.
func (a Address) is(b Address) bool { return a.Port == b.Port && strings.EqualFold(a.Host, b.Host) }

// exits describes the exits of a gateway.
func (d *describer) exits(c *Config) {
	all := c.Exits()
	for i, x := range all {
		title := "exit"
		if len(all) > 1 {
			use := "takes over when those before it are out of reach"
			switch {
			case i == 0:
				use = "what everything leaves by"
			case x.Apart && slices.Contains(c.Ruled(), i):
				use = "for its rules, and proxies of its own, only"
			case x.Apart:
				use = "for its own proxies only"
			}
			d.line(title, "%s: %s", x.Title(), use)
			title = ""
		}
		for _, a := range x.Addresses {
			d.line(title, "%s (TCP for the hello, UDP for datagrams)", a)
			title = ""
		}
		title = "relays"
		for _, a := range x.Relays {
			d.line(title, "%s (forwards to the exit)", a)
			title = ""
		}
		d.line("exit key", "%s", x.Key)
		for _, a := range x.SOCKS {
			d.line("SOCKS5", "%s, by %s", a, x.Title())
		}
		for _, a := range x.HTTP {
			d.line("HTTP CONNECT", "%s, by %s", a, x.Title())
		}
		if len(all) > 1 && !x.Apart {
			d.line("", "given up after %v out of reach", x.FailoverAfter)
		}
	}
}
