package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints"
)

// leakWatch counts what leaves the gateway by an uplink and is not of bondd's port. After a crash the kernel says by itself that nobody takes the
// exit's datagrams any more.
func leakWatch(l *Lab) string {
	var own []string
	for i := range l.cfg.Uplinks {
		own = append(own, GatewayAddr(i).String())
	}
	return `table inet leakwatch {
	chain out {
		type filter hook postrouting priority 300; policy accept;
		oifname != { "` + strings.Join(l.UplinkNames(), `", "`) + `" } accept
		meta l4proto { tcp, udp } th dport 7117 accept
		ip saddr { ` + strings.Join(own, ", ") + ` } icmp code port-unreachable accept
		counter
	}
}
`
}

// Of the network of twoExits: the card of the LAN's host, and what the server has beside Server4.
const (
	lanMAC     = "02:00:00:00:77:02"
	otherMAC   = "02:00:00:00:77:99"
	otherHost4 = "198.18.1.3"
	world6     = "2001:db8:518::2"
	otherHost6 = "2001:db8:518::3"
)

// twoExits is a home with two exits, "near" and "far", which give it the same inner addresses. The far one is where a relay would be. The server,
// and a host of the LAN, tell by whom they are reached.
type twoExits struct {
	*Lab
	t        *testing.T
	ctx      context.Context
	far      *Host
	lans     []string // addresses of the LAN's host
	ports    []int    // of the server
	start    func()   // the gateway
	farAddr6 string
}

// openTwoExits starts the exits; the gateway has the rules, and more of the far exit's fields.
func openTwoExits(t *testing.T, rules string, far ...string) *twoExits {
	needLab(t)
	for _, program := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Home: &Home{Relays: 1}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	e := &twoExits{Lab: l, t: t, ctx: ctx, far: l.Relays[0], ports: []int{80, 443, 6050, 6001}, farAddr6: "2001:db8:10::2"}
	e.on(l.LAN, "ip link set "+lanIf+" address "+lanMAC)
	for _, n := range []string{"3", "4", "5", "6", "7"} {
		e.lans = append(e.lans, "192.168.77."+n)
		e.must(l.LAN.net(ctx, addr(lanIf, "192.168.77."+n+"/24")))
		if haveIPv6() {
			e.must(l.LAN.net(ctx, addr(lanIf, "fd00:77::"+n+"/64")))
		}
	}
	// The same server by further addresses, and IPv6 behind both exits.
	at := []string{Server4.String(), otherHost4}
	e.must(l.Server.net(ctx, addr(serverIf, otherHost4+"/24")))
	if haveIPv6() {
		at = append(at, world6, otherHost6)
		e.must(l.Server.net(ctx, addr(serverIf, world6+"/64"), addr(serverIf, otherHost6+"/64")))
		e.must(l.Exit.net(ctx, addr(serverIf, "2001:db8:518::1/64"), addr(relayIf(0), "2001:db8:10::1/64"), netStep{Do: "route", Addr: "::/0", Via: world6}))
		e.must(e.far.net(ctx, addr(relayIf(0), e.farAddr6+"/64"), netStep{Do: "route", Addr: "::/0", Via: "2001:db8:10::1"}))
	}
	var serve []netip.AddrPort
	for _, a := range at {
		for _, p := range e.ports {
			serve = append(serve, netip.AddrPortFrom(netip.MustParseAddr(a), uint16(p)))
		}
	}
	e.must(l.Server.call(ctx, "test.whom", serve, nil))
	e.must(l.LAN.call(ctx, "test.whom", []netip.AddrPort{netip.AddrPortFrom(LAN4, 443)}, nil))

	var err error
	l.keys, err = newKeys()
	e.must(err)
	second, err := newKeys()
	e.must(err)
	forward := "[[gateway.forward]]\nport = [8443]\n[[gateway.forward]]\nprotocol = \"udp\"\nport = [8443]\n[[gateway.forward]]\nport = 8444\nkeep_source = false\n"
	e.must(l.startDaemon(ctx, l.Exit, l.keys.exit, func(key string) string { return exitConfig(key, l.keys.gatewayPublic, false) + forward }))
	e.must(l.startDaemon(ctx, e.far, second.exit, func(key string) string { return exitConfig(key, l.keys.gatewayPublic, false) + forward }))
	e.start = func() {
		e.t.Helper()
		e.must(l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
			to := fmt.Sprintf("to = %q\n", netip.AddrPortFrom(LAN4, 443))
			return fmt.Sprintf("role = \"gateway\"\nprivate_key_file = %q\n[stream]\nmode = \"bond\"\n", key) +
				fmt.Sprintf("[[exit]]\nname = \"near\"\naddress = %q\nkey = %q\n", remote(0), l.keys.exitPublic) +
				fmt.Sprintf("[[exit]]\nname = \"far\"\naddress = %q\nkey = %q\nfailover = false\nfailover_after = \"2s\"\n", relayAddr(0), second.exitPublic) +
				strings.Join(far, "") +
				"[[uplink]]\ninterface = \"" + l.cfg.Uplinks[0].Name + "\"\n[[uplink]]\ninterface = \"" + l.cfg.Uplinks[1].Name + "\"\n" +
				"[[forward]]\nport = 8443\n" + to + "[[forward]]\nprotocol = \"udp\"\nport = 8443\n" + to + "[[forward]]\nport = 8444\nkeep_source = false\n" + to + rules
		}))
		e.must(l.WaitBond(ctx, bondTimeout))
		e.until("both exits", func(st *endpoints.Status) bool {
			for _, r := range st.Rules {
				if r.Exit == "far" && r.By != "far" {
					return false
				}
			}
			return len(st.Rules) == strings.Count(rules, "[[rule]]") && st.Streams.Interception == "on" && st.Exits[1].State == "up"
		})
	}
	return e
}

func (e *twoExits) must(err error) {
	e.t.Helper()
	e.Lab.must(e.t, err)
}

// on runs commands on a host.
func (e *twoExits) on(h *Host, script string) string {
	e.t.Helper()
	return e.shell(e.ctx, e.t, h, script)
}

// until waits for the gateway's status to be so.
func (e *twoExits) until(what string, is func(st *endpoints.Status) bool) {
	e.t.Helper()
	for {
		st, err := e.Status(e.ctx, e.Gateway)
		if err == nil && is(st) {
			return
		}
		if pause(e.ctx, 20*time.Millisecond) != nil {
			e.must(fmt.Errorf("it has not come to pass: %s", what))
		}
	}
}

// ask asks from a host and names the exits by which the answers say that they were reached.
func (e *twoExits) ask(h *Host, questions ...asking) []string {
	e.t.Helper()
	var answers []string
	e.must(h.call(e.ctx, "test.ask", questions, &answers))
	names := map[string]string{"198.18.1.1": "near", relayAddr(0).String(): "far", "2001:db8:518::1": "near", e.farAddr6: "far"}
	for i, a := range answers {
		if name, ok := names[a]; ok {
			answers[i] = name
		}
	}
	return answers
}

// check asks "tcp|udp|both SOURCE PORT|TARGET:PORT EXIT", one a line, from the LAN. Lines with IPv6 are left out where there is none.
func (e *twoExits) check(when, table string) {
	e.t.Helper()
	var questions []asking
	var want []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || strings.Contains(f[1], ":") && !haveIPv6() {
			continue
		}
		to := f[2]
		if !strings.Contains(to, ":") {
			to = Server4.String() + ":" + to
			if strings.Contains(f[1], ":") {
				to = "[" + world6 + "]:" + f[2]
			}
		}
		networks := []string{f[0]}
		if f[0] == "both" {
			networks = []string{"tcp", "udp"}
		}
		for _, n := range networks {
			questions, want = append(questions, who(n+" "+f[1]+" "+to)), append(want, f[3])
		}
	}
	if len(questions) == 0 {
		e.t.Fatal("nothing is asked")
	}
	for i, got := range e.ask(e.LAN, questions...) {
		if got != want[i] {
			q := questions[i]
			e.t.Errorf("%s: %s from %v to %v leaves by %q, want %q", when, q.Network, q.From, q.To, got, want[i])
		}
	}
}

// gatewayState is what bondd may change on the gateway, the rules in its tables word by word.
func (e *twoExits) gatewayState() []string {
	e.t.Helper()
	lines, err := e.Gateway.State(e.ctx)
	e.must(err)
	return append(lines, strings.Split(e.on(e.Gateway, "nft -s list ruleset"), "\n")...)
}

// end stops the gateway. Nothing may have left in the clear since leakWatch was set, and nothing may be left behind.
func (e *twoExits) end(before []string) {
	e.t.Helper()
	if text := e.on(e.Gateway, "nft list table inet leakwatch"); !strings.Contains(text, "counter packets 0") {
		e.t.Errorf("something of the LAN has left by an uplink in the clear:\n%s", text)
	}
	e.on(e.Gateway, "nft delete table inet leakwatch")
	e.must(e.Gateway.call(e.ctx, "daemon.stop", stopArgs{}, nil))
	if d := difference(before, e.gatewayState()); d != "" {
		e.t.Errorf("left behind:\n%s", d)
	}
}

// TestExitsByRule has a rule of each kind choose the exit of what hosts of a LAN, and the gateway itself, send, as packets and as streams, IPv4 and
// IPv6; the server tells by which exit it was reached. Then the exit of the rules dies: what says so goes by the other one, and else it is
// refused; nothing leaves by an uplink in the clear. At the end nothing is left of it.
func TestExitsByRule(t *testing.T) {
	e := openTwoExits(t, `
[[rule]]
destination = "`+otherHost4+`"
port = 6001
exit = "default"
[[rule]]
mark = "0x10/0xff"
exit = "far"
[[rule]]
mac = ["`+otherMAC+`", "`+lanMAC+`"]
source = ["192.168.77.4", "fd00:77::4"]
exit = "far"
[[rule]]
mac = "`+otherMAC+`"
source = ["192.168.77.5", "fd00:77::5"]
exit = "far"
[[rule]]
destination = ["`+otherHost4+`", "`+otherHost6+`"]
exit = "far"
[[rule]]
protocol = "udp"
port = 443
exit = "far"
[[rule]]
port = ["6010", "6020-6060"]
exit = "far"
[[rule]]
source = ["192.168.77.3", "fd00:77::3"]
exit = "far"
fallback = "none"
`)
	before := e.gatewayState()
	e.on(e.Gateway, `nft -f - <<'END'
table inet ownmarks {
	chain pre {
		type filter hook prerouting priority mangle - 10
		ip saddr 192.168.77.6 meta mark set 0x10
		ip6 saddr fd00:77::6 meta mark set 0x10
		ip saddr 192.168.77.7 meta mark set 0x11
	}
}
END`)
	e.start()
	n, err := e.Netcheck(e.ctx)
	e.must(err)
	if len(n.Exits) != 2 || n.Exits[0].Name != "near" || n.Exits[1].Name != "far" {
		t.Errorf("netcheck has tried %+v", n.Exits)
	}
	for _, x := range n.Exits {
		if len(x.Uplinks) != 2 || !x.Uplinks[0].TCP || !x.Uplinks[1].TCP || !x.Uplinks[0].UDP {
			t.Errorf("netcheck: %+v", x)
		}
	}
	e.on(e.Gateway, "nft -f - <<'END'\n"+leakWatch(e.Lab)+"END")
	e.check("by rules", `
		both 192.168.77.2 80 near
		both fd00:77::2 80 near
		both 192.168.77.3 80 far
		both fd00:77::3 80 far
		both 192.168.77.4 80 far
		both fd00:77::4 80 far
		both 192.168.77.5 80 near
		both fd00:77::5 80 near
		both 192.168.77.6 80 far
		both fd00:77::6 80 far
		both 192.168.77.7 80 near
		tcp 192.168.77.2 443 near
		udp 192.168.77.2 443 far
		tcp fd00:77::2 443 near
		udp fd00:77::2 443 far
		both 192.168.77.2 6050 far
		both fd00:77::2 6050 far
		both 192.168.77.2 6001 near
		both 192.168.77.2 `+otherHost4+`:80 far
		both fd00:77::2 [`+otherHost6+`]:80 far
		both 192.168.77.6 `+otherHost4+`:6001 near
		both fd00:77::2 [`+otherHost6+`]:6001 far`)
	if st, err := e.Status(e.ctx, e.Gateway); err != nil || st.Streams.Opened < 10 {
		t.Errorf("connections have not gone as streams: %+v, %v", st.Streams, err)
	}
	// The machine's own connections and packets follow the same rules.
	plain, marked := who("tcp - "+Server4.String()+":80"), who("tcp - "+Server4.String()+":80")
	marked.Mark = 0x10
	own := e.ask(e.Gateway, who("tcp - "+Server4.String()+":6050"), who("udp - "+Server4.String()+":443"), marked, plain)
	if want := []string{"far", "far", "far", "near"}; !slices.Equal(own, want) {
		t.Errorf("what the gateway sends itself leaves by %q, want %q", own, want)
	}

	e.must(e.Kill(e.ctx, e.far))
	e.until("the far exit is out of reach", func(st *endpoints.Status) bool { return st.Rules[1].By == "default" && st.Rules[7].By == "refused" })
	e.check("the far exit is dead", `
		both 192.168.77.2 80 near
		both 192.168.77.2 6050 near
		both fd00:77::2 6050 near
		both 192.168.77.4 80 near
		both 192.168.77.6 80 near
		both 192.168.77.3 6050 near
		tcp 192.168.77.3 80 refused
		udp 192.168.77.3 80 refused
		tcp fd00:77::3 80 refused`)

	e.on(e.Gateway, "nft delete table inet ownmarks")
	e.end(before)
}

// TestSOCKSOfExit sends datagrams through the proxy of an exit that is in use for nothing else: they leave by it, and while it is dead not at all.
func TestSOCKSOfExit(t *testing.T) {
	e := openTwoExits(t, "", "socks = [\"192.168.77.1:1080\"]\n")
	before := e.gatewayState()
	e.start()
	e.on(e.Gateway, "nft -f - <<'END'\n"+leakWatch(e.Lab)+"END")
	associate := func(to string) (answer string, err error) {
		err = e.LAN.call(e.ctx, "test.associate", associateArgs{netip.MustParseAddrPort("192.168.77.1:1080"), netip.MustParseAddrPort(to)}, &answer)
		return answer, err
	}
	for to, far := range map[string]string{Server4.String() + ":80": relayAddr(0).String(), "[" + world6 + "]:80": e.farAddr6} {
		if strings.HasPrefix(to, "[") && !haveIPv6() {
			continue
		}
		if by, err := associate(to); err != nil || by != far {
			t.Errorf("datagrams to %s: the server is reached by %q, want %q, %v", to, by, far, err)
		}
	}
	e.check("without the proxy", "both 192.168.77.2 80 near\nboth fd00:77::2 80 near")
	e.must(e.Kill(e.ctx, e.far))
	e.until("the far exit is out of reach", func(st *endpoints.Status) bool { return st.Exits[1].State != "up" })
	if by, err := associate(Server4.String() + ":80"); err == nil {
		t.Errorf("its exit is dead, and the server is reached by %q", by)
	}
	e.check("its exit is dead", "both 192.168.77.2 80 near\nboth fd00:77::2 80 near")
	e.end(before)
}

// TestExitsCrash kills a gateway with rules, two exits, and ports forwarded from both, and starts it again: the second one has what the first had and
// nothing beside it, rules and forwards work as before, and nothing leaves by an uplink in the clear at any time.
func TestExitsCrash(t *testing.T) {
	e := openTwoExits(t, "[[rule]]\nport = 443\nexit = \"far\"\n[[rule]]\nsource = \"192.168.77.3\"\nexit = \"far\"\nfallback = \"none\"\n")
	before := e.gatewayState()
	works := func(when string) {
		t.Helper()
		e.check(when, `
			both 192.168.77.2 80 near
			both 192.168.77.2 443 far
			both fd00:77::2 443 far
			both 192.168.77.3 80 far`)
		stranger, gateway := Server4.String(), "192.168.77.1"
		for _, c := range []struct{ question, want string }{
			{"tcp - 198.18.1.1:8443", stranger},
			{"udp - 198.18.1.1:8443", stranger},
			{"tcp - 198.18.1.1:8444", gateway},
			{"tcp - " + relayAddr(0).String() + ":8443", stranger},
			{"udp - " + relayAddr(0).String() + ":8443", stranger},
			{"tcp - " + relayAddr(0).String() + ":8444", gateway},
		} {
			if got := e.ask(e.Server, who(c.question))[0]; got != c.want {
				t.Errorf("%s: %q reaches the LAN's host as %q, want %q", when, c.question, got, c.want)
			}
		}
	}
	e.start()
	works("at first")
	e.on(e.Gateway, "nft -f - <<'END'\n"+leakWatch(e.Lab)+"END")
	running := e.gatewayState()
	if difference(before, running) == "" {
		t.Error("bondd runs and nothing has changed")
	}
	e.must(e.Kill(e.ctx, e.Gateway))
	// While nobody is there: what goes out in the clear now is counted as well.
	e.ask(e.LAN, who("udp 192.168.77.3 "+Server4.String()+":80"), who("udp 192.168.77.2 "+Server4.String()+":443"))
	e.start()
	works("after SIGKILL and a new start")
	if d := difference(running, e.gatewayState()); d != "" {
		t.Errorf("after SIGKILL and a new start:\n%s", d)
	}
	e.end(before)
}
