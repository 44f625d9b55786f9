package endpoints

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/tun/tuntest"
)

// say is a server that says one thing.
func say(text string) func(c *memConn) {
	return func(c *memConn) { c.Write([]byte(text)); c.CloseWrite(); c.Close() }
}

// by is what a server says to a client of the LAN whose connection the rules send by an exit.
func (w *world) by(exit uint8, to netip.AddrPort) string {
	c := w.gateway.taking().connectBy(exit, to)
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, err := io.ReadAll(c)
	if err != nil {
		return "error"
	}
	return string(got)
}

func (m *machineTest) ownTUN(name string) *tuntest.Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own[name]
}

// leads are the exits that the rules of the nftables table lead to, by number.
func (m *machineTest) leads() (out []uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.wall.Choices {
		out = append(out, c.Exit)
	}
	return out
}

// packetsBy tells whether packets leave by the second exit out of its own device, and come back to it.
func (w *world) packetsBy(second *machineTest, number uint32) bool {
	own, timeout := w.gateway.ownTUN("bondd0-2"), time.After(time.Second)
	there, back := packet(innerThere, far, number), packet(far, innerThere, number)
	own.InjectBytes(there)
	for _, hop := range []struct {
		dev  *tuntest.Device
		want []byte
	}{{second.tun(), there}, {own, back}} {
		for arrived := false; !arrived; {
			select {
			case p := <-hop.dev.Written():
				arrived = string(p.Data) == string(hop.want)
			case <-timeout:
				return false
			}
		}
		if hop.dev == second.tun() {
			second.tun().InjectBytes(back)
		}
	}
	return true
}

var lanHost = netip.MustParsePrefix("192.168.1.10/32")

// Packets and streams of one host leave by the second exit, all others by the first. The second dies: what may goes by the first, the rest is
// refused; it comes back and has its own again.
func TestRulesChooseTheExit(t *testing.T) {
	exitsBubble(t, func(x *config.Exit) { x.Name, x.Apart = "us", true }, func(w *world, second *machineTest) {
		w.ended(w.gateway)
		w.gateway.cfg.Rules = []config.Rule{
			{Source: []netip.Prefix{lanHost}, Exit: "us", Fallback: config.FallbackNone},
			{Ports: []config.PortRange{{First: 443, Last: 443}}, Exit: "us", Fallback: config.FallbackDefault},
			{Protocol: "udp", Exit: "default", Fallback: config.FallbackDefault},
		}
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		time.Sleep(5 * time.Second)
		w.wantExits("both", "exit1 up!, us up")
		to := w.exit.dialer.at(7, say("here"))
		second.dialer.at(7, say("there"))
		check := func(when string, leads []uint16, by string, routed bool) {
			t.Helper()
			if got := w.gateway.leads(); len(got) != 3 || got[0] != leads[0] || got[1] != leads[1] || got[2] != leads[2] {
				t.Errorf("%s: the rules lead to %v, want %v", when, got, leads)
			}
			var is []string
			for _, r := range w.gateway.status().Rules {
				is = append(is, r.By)
			}
			if got := strings.Join(is, ", "); got != by {
				t.Errorf("%s: the rules' exits are %q, want %q", when, got, by)
			}
			plan := w.gateway.planned().String()
			if got := strings.Contains(plan, "ip route add default dev bondd0-2 table 46002") && strings.Contains(plan, "ip addr add 10.178.0.2/32 dev bondd0-2"); got != routed ||
				!strings.Contains(plan, "unreachable default table 46002") || !strings.Contains(plan, "fwmark 0xb0df0002 lookup 46002") {
				t.Errorf("%s: routed by its exit: %v, want %v:\n%s", when, got, routed, plan)
			}
			if !strings.Contains(plan, "ip route add default dev bondd0 table 45999") {
				t.Errorf("%s: everything else has no way:\n%s", when, plan)
			}
		}
		check("both", []uint16{2, 2, 0}, "us, us, default", true)
		if got := w.by(0, to) + ", " + w.by(2, to); got != "here, there" {
			t.Errorf("by default and by the rule: %q", got)
		}
		if !w.packetsBy(second, 1) {
			t.Error("packets do not pass by the exit of their rule")
		}

		w.setDead(true, secondAddr)
		time.Sleep(8 * time.Second)
		check("after 8 s", []uint16{2, 2, 0}, "us, us, default", true)
		waits := w.gateway.taking().connectBy(2, to)
		time.Sleep(10 * time.Second)
		check("out of reach", []uint16{2, 0, 0}, "refused, default, default", false)
		if text := strings.Join(w.gateway.status().Problems, " "); !strings.Contains(text, "What is from 192.168.1.10/32 is refused: exit us is out of reach.") ||
			!strings.Contains(text, "What is port 443 leaves by the default exit: exit us is out of reach.") {
			t.Errorf("problems: %s", text)
		}
		waits.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := waits.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("a connection still waits for the exit that is gone: %v", err)
		}
		if got := w.by(0, to); got != "here" {
			t.Errorf("by default, with the other exit dead: %q", got)
		}

		w.setDead(false, secondAddr)
		time.Sleep(70 * time.Second)
		check("back", []uint16{2, 2, 0}, "us, us, default", true)
		if got := w.by(2, to); got != "there" || !w.packetsBy(second, 2) {
			t.Errorf("by the rule again: %q", got)
		}
	})
}

// A reload makes rules and takes them away; the session of the exit comes and goes with them.
func TestReloadRules(t *testing.T) {
	exitsBubble(t, func(x *config.Exit) { x.Name = "us" }, func(w *world, second *machineTest) {
		w.ended(w.gateway)
		f := fileOf(w.gateway)
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		w.wantExits("without rules", "exit1 up!, us standby")
		rule := config.Rule{Source: []netip.Prefix{lanHost}, Exit: "us", Fallback: config.FallbackNone}
		f.edit(w.gateway.cfg, func(c *config.Config) { c.Rules = []config.Rule{rule} })
		want := "~ rule: none -> from 192.168.1.10/32: by us, or refused"
		if got := w.gateway.reload(); len(got) != 1 || got[0] != want {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(5 * time.Second)
		w.wantExits("with a rule", "exit1 up!, us up")
		to := second.dialer.at(7, say("there"))
		if got := w.by(2, to); got != "there" || !w.packetsBy(second, 1) {
			t.Errorf("by the rule: %q", got)
		}
		f.edit(w.gateway.cfg, func(c *config.Config) {})
		w.gateway.reload()
		time.Sleep(5 * time.Second)
		w.wantExits("without it again", "exit1 up!, us standby")
		if plan := w.gateway.planned().String(); strings.Contains(plan, "addr add 10.178.0.2/32") || len(w.gateway.leads()) != 0 {
			t.Errorf("left of the rule: %v\n%s", w.gateway.leads(), plan)
		}
	})
}

func TestExitReach(t *testing.T) {
	r := exitReach{after: 10 * time.Second}
	for _, s := range []struct {
		at         time.Duration
		linked, up bool
		out        bool
	}{
		{0, true, false, false},
		{9 * time.Second, true, false, false},
		{10 * time.Second, true, false, true}, // never there
		{20 * time.Second, true, true, true},
		{21 * time.Second, true, true, true},
		{22 * time.Second, true, true, false}, // it lasts
		{30 * time.Second, true, false, false},
		{39 * time.Second, false, false, false}, // no uplink: nobody's fault
		{48 * time.Second, true, false, false},
		{49 * time.Second, true, false, true},
	} {
		was := r.out
		if changed := r.see(s.at, s.linked, s.up); r.out != s.out || changed != (was != r.out) {
			t.Fatalf("at %v: out %v, changed %v", s.at, r.out, changed)
		}
	}
}
