package lab

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/endpoints"
)

// dayFull has TestDay wait as long as a home may have to.
var dayFull = flag.Bool("day.full", false, "TestDay: the exit is out of reach for the first minute, and everything returns to it in the evening")

// The uplinks of TestDay.
const (
	dayADSL = iota
	dayModem
	dayUMTS
)

// dayGateway is where the LAN asks for names.
const dayGateway = "192.168.77.1"

// dayGuest is a host of the LAN for which there is a rule, and dayServer tells by whom it is reached.
const dayGuest = "192.168.77.3"

var dayServer = netip.AddrPortFrom(Server4, 80)

// day is a home on which everything happens that happens in a year.
type day struct {
	*Lab
	t   *testing.T
	ctx context.Context
}

// dayWatch counts what leaves the gateway by the uplinks: sealed is for bondd's port, clear is the rest. It looks behind address translation.
const dayWatch = `table inet daywatch {
	chain out {
		type filter hook postrouting priority 300; policy accept;
		oifname != { "adsl", "umts", "modem", "modem7" } accept
		meta l4proto { tcp, udp } th dport 7117 counter accept comment "sealed"
		counter comment "clear"
	}
}
`

// TestDay has a home go through a late modem, an exit that is out of reach at first, a new address, a modem that comes back under another name, 3G when all
// else is dead, its quota, a relay that dies, and an exit that dies, is replaced by another one, and comes back. The gateway is one process all the
// while, nothing of the LAN leaves by an uplink in the clear, names are answered, and a download goes on for as long as its exit lives.
//
// With -day.full, which takes three minutes, it goes as slowly as it may: the exit is out of reach for a minute at first, and when it is back, everything
// returns to it after the minute that it has to last.
func TestDay(t *testing.T) {
	needLab(t)
	for _, program := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("it takes nft to watch the uplinks, and ip to replug a modem:", err)
		}
	}
	l := openLab(t, Config{Seed: 1, Home: &Home{Relays: 2}, Uplinks: []Uplink{
		{"adsl", link.Config{Rate: 8e6, Delay: 12 * time.Millisecond, Queue: 100 * time.Millisecond}},
		{"modem", link.Config{Rate: 8e6, Delay: 20 * time.Millisecond, Queue: 100 * time.Millisecond}},
		{"umts", link.Config{Rate: 3e6, Delay: 50 * time.Millisecond, Queue: 200 * time.Millisecond}},
	}})
	unreachable, limit := time.Duration(0), 2*time.Minute
	if *dayFull {
		unreachable, limit = time.Minute, 5*time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	d := &day{l, t, ctx}
	var err error
	l.keys, err = newKeys()
	d.must(err)
	second, err := newKeys()
	d.must(err)
	d.must(l.LAN.net(ctx, addr(lanIf, dayGuest+"/24")))
	d.must(l.Server.call(ctx, "test.whom", []netip.AddrPort{dayServer}, nil))
	d.must(l.Server.call(ctx, "test.resolver", netip.AddrPortFrom(Server4, 53), nil))
	watch, err := l.Gateway.File(ctx, "day.nft", dayWatch)
	d.must(err)
	d.on(l.Gateway, "nft -f "+watch)
	if _, err := l.Ping(ctx, PingSpec{Source: Plain(dayADSL), Interval: 20 * time.Millisecond, Count: 2, Wait: time.Second}); err != nil || d.counted("clear") == 0 {
		t.Fatalf("echoes in the clear are not counted, so this test would prove nothing; %v", err)
	}
	d.on(l.Gateway, "nft delete table inet daywatch; nft -f "+watch)
	d.must(l.forwarding(ctx, false))

	// Morning: no modem yet, and nothing answers where the exit should be.
	d.must(l.Unplug(ctx, dayModem))
	relay, there := l.Relays[0], l.Relays[1] // where the second exit is going to be
	d.must(l.startDaemon(ctx, relay, "", func(string) string { return fmt.Sprintf("role = \"relay\"\nexit.address = %q\n", remote(0)) }))
	started := time.Now()
	d.must(l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
		return fmt.Sprintf("role = \"gateway\"\nprivate_key_file = %q\nstate_dir = %q\n[stream]\nmode = \"bond\"\n", key, runDir+"/state") +
			fmt.Sprintf("[[exit]]\nname = \"first\"\naddress = %q\nrelays = %q\nkey = %q\nfailover_after = \"2s\"\n", remote(0), relayAddr(0), l.keys.exitPublic) +
			fmt.Sprintf("[[exit]]\nname = \"second\"\naddress = %q\nkey = %q\n", relayAddr(1), second.exitPublic) +
			fmt.Sprintf("[[rule]]\nsource = %q\nexit = \"first\"\n", dayGuest) +
			fmt.Sprintf("[lan]\ninterfaces = %q\n[dns]\nlisten = %q\nservers = [%q]\n", lanIf, dayGateway, Server4) +
			"[[uplink]]\ninterface = \"adsl\"\n[[uplink]]\nname = \"modem\"\ninterface = \"modem*\"\n" +
			"[[uplink]]\ninterface = \"umts\"\nmode = \"backup\"\nquota = \"1MB\"\n"
	}))
	d.until("the gateway has its routes and has tried the exit", func(st *endpoints.Status) bool { return st.Hello != nil && st.Hello.Rounds > 0 })
	if p, err := l.Ping(ctx, PingSpec{Source: LAN4, Interval: 50 * time.Millisecond, Count: 10, Wait: 200 * time.Millisecond}); err != nil || len(p.RTTs()) > 0 {
		t.Errorf("without an exit %d echoes were answered, %v", len(p.RTTs()), err)
	}
	if r, err := l.TCP(ctx, TCPSpec{Source: LAN4, Flows: 1, Duration: 500 * time.Millisecond}); err == nil && r.Err() == nil {
		t.Error("without an exit a connection of the LAN reached the server")
	}
	d.must(pause(ctx, unreachable-time.Since(started)))
	d.must(l.StartExit(ctx))
	reached := time.Now()
	d.must(l.WaitBond(ctx, bondTimeout))
	t.Logf("the exit was out of reach for %v; an echo came back %v after it was there", reached.Sub(started).Round(time.Second), time.Since(reached).Round(time.Millisecond))

	// From here on something is downloaded.
	const lasts = 20 * time.Second
	begin := time.Now()
	download := d.download(lasts)
	var names resolved
	asked := make(chan error, 1)
	go func() { // ends with the questions, which the test waits for
		asked <- l.LAN.call(ctx, "test.resolve", resolving{netip.AddrPortFrom(netip.MustParseAddr(dayGateway), 53), lasts - resolveLimit/2}, &names)
	}()
	d.carries(dayADSL, 200e3)

	d.must(l.Plug(ctx, dayModem)) // late
	d.until("the late modem has a path", pathUp("modem", "10.64.1.2"))
	d.carries(dayModem, 200e3)

	d.on(l.Exit, "ip address add 10.65.1.1/30 dev modem")
	d.on(l.Gateway, "ip address flush dev modem; ip address add 10.65.1.2/30 dev modem; ip route add default via 10.65.1.1 metric 101")
	d.until("the modem's new address is in use", pathUp("modem", "10.65.1.2"))
	d.carries(dayModem, 200e3)

	d.on(l.Gateway, "ip link set modem down; ip link set modem name modem7")
	d.until("the modem is gone", func(st *endpoints.Status) bool { return !pathUp("modem", "10.65.1.2")(st) })
	d.on(l.Gateway, "ip link set modem7 up; ip route add default via 10.65.1.1 metric 101")
	d.until("the modem is back under another name", pathUp("modem7", "10.65.1.2"))
	d.carries(dayModem, 200e3)

	d.must(l.Cut(ctx, dayADSL))
	d.must(l.Cut(ctx, dayModem))
	d.carries(dayUMTS, 200e3)
	d.until("the quota of 3G is reached", func(st *endpoints.Status) bool {
		for _, u := range st.Uplinks {
			if u.Interface == "umts" {
				return u.Mode == "off" && u.Used >= u.Quota
			}
		}
		return false
	})
	d.must(l.Restore(ctx, dayADSL))
	d.must(l.Restore(ctx, dayModem))
	d.carries(dayADSL, 200e3)
	d.must(relay.call(ctx, "daemon.stop", stopArgs{}, nil))
	d.until("the paths by the relay are given up", func(st *endpoints.Status) bool { return !throughRelay(st) })
	d.carries(dayADSL, 200e3)
	happened := time.Since(begin)

	// Evening: the download ends in its own time. The exit dies, and everything leaves by the second one.
	if err := <-download; err != nil {
		t.Errorf("the download: %v", l.Explain(err))
	}
	d.must(<-asked)
	t.Logf("%d names were asked for meanwhile; the slowest answer took %v", names.Asked, names.Slowest.Round(time.Millisecond))
	if names.Asked == 0 || names.Silent > 0 {
		t.Errorf("of %d names that the LAN asked for, %d were not answered in %v", names.Asked, names.Silent, resolveLimit)
	}
	d.leavesBy("first", "first")
	d.must(l.startDaemon(ctx, there, second.exit, func(key string) string { return exitConfig(key, l.keys.gatewayPublic, false) }))
	d.must(l.Kill(ctx, l.Exit))
	d.until("the second exit takes over", func(st *endpoints.Status) bool { return st.Exits[1].InUse && st.Rules[0].By == "default" })
	d.must(l.WaitBond(ctx, bondTimeout))
	d.leavesBy("second", "second")

	// It comes back: at once for what a rule sends there, and for the rest when it has lasted a minute. Neither ends what goes by the second one.
	evening, again := 8*time.Second, time.Now()
	if *dayFull {
		evening = 80 * time.Second
	}
	download = d.download(evening)
	d.carries(dayADSL, 200e3)
	d.must(l.StartExit(ctx))
	d.until("the first exit is used by its rule", func(st *endpoints.Status) bool { return st.Rules[0].By == "first" })
	d.leavesBy("second", "first")
	if *dayFull {
		d.within(70*time.Second, "everything leaves by the first exit", func(st *endpoints.Status) bool { return st.Exits[0].InUse })
		d.must(l.WaitBond(ctx, bondTimeout))
		d.leavesBy("first", "first")
	}
	d.until("both sessions live", func(st *endpoints.Status) bool {
		return len(st.Sessions) == 2 && st.Sessions[0].Alive && st.Sessions[1].Alive
	})
	returned := time.Since(again)
	if err := <-download; err != nil {
		t.Errorf("the download by the second exit: %v", l.Explain(err))
	}

	st, err := l.Status(ctx, l.Gateway)
	d.must(err)
	if up := time.Duration(st.Uptime * float64(time.Second)); up < time.Since(started)-5*time.Second {
		t.Errorf("the gateway is a process of %v, started %v ago", up, time.Since(started))
	}
	if sealed := d.counted("sealed"); sealed == 0 {
		t.Error("nothing has left at all, so this test proves nothing")
	}
	if clear := d.counted("clear"); clear != 0 {
		t.Errorf("%d packets have left by uplinks in the clear", clear)
	}
	for _, h := range []*Host{l.Gateway, l.Exit, there} {
		if err := h.call(ctx, "daemon.stop", stopArgs{}, nil); err != nil {
			t.Error(err)
		}
	}
	if happened > lasts || returned > evening {
		t.Skipf("all is as it should be, but this machine was so slow that the downloads have not seen all of it: it took %v and %v", happened, returned)
	}
}

func (d *day) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(d.Explain(err))
	}
}

// on runs commands on a host.
func (d *day) on(h *Host, script string) string {
	d.t.Helper()
	return d.shell(d.ctx, d.t, h, script)
}

// until waits for the gateway's status to be so.
func (d *day) until(what string, is func(st *endpoints.Status) bool) {
	d.t.Helper()
	d.within(20*time.Second, what, is)
}

func (d *day) within(limit time.Duration, what string, is func(st *endpoints.Status) bool) {
	d.t.Helper()
	begin := time.Now()
	for time.Since(begin) < limit {
		if st, err := d.Status(d.ctx, d.Gateway); err == nil && is(st) {
			d.t.Logf("%s: after %v", what, time.Since(begin).Round(time.Millisecond))
			return
		}
		d.must(pause(d.ctx, 20*time.Millisecond))
	}
	d.must(fmt.Errorf("it has not come to pass: %s", what))
}

// carries waits until a line has brought so many bytes more to the gateway.
func (d *day) carries(uplink int, bytes uint64) {
	d.t.Helper()
	_, before, err := d.LinkStats(d.ctx, uplink)
	d.must(err)
	d.until(fmt.Sprintf("line %d carries", uplink), func(*endpoints.Status) bool {
		_, now, err := d.LinkStats(d.ctx, uplink)
		d.must(err)
		return now.Bytes >= before.Bytes+bytes
	})
}

// download has the LAN download for so long; how it ended is sent.
func (d *day) download(lasts time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() { // ends with the transfer, which the test waits for
		r, err := d.TCP(d.ctx, TCPSpec{Source: LAN4, Flows: 1, Duration: lasts})
		if err == nil {
			err = r.Err()
		}
		done <- err
	}()
	return done
}

// leavesBy wants to see new connections and packets leave by these exits: those of the LAN, and those of its guest, whom the rule is for.
func (d *day) leavesBy(lan, guest string) {
	d.t.Helper()
	var questions []asking
	for _, from := range []string{LAN4.String(), dayGuest} {
		questions = append(questions, who("tcp "+from+" "+dayServer.String()), who("udp "+from+" "+dayServer.String()))
	}
	var got []string
	d.must(d.LAN.call(d.ctx, "test.ask", questions, &got))
	names := map[string]string{"198.18.1.1": "first", relayAddr(1).String(): "second"}
	for i, want := range []string{lan, lan, guest, guest} {
		if names[got[i]] != want {
			d.t.Errorf("%s from %v leaves by %q, want the %s exit", questions[i].Network, questions[i].From, got[i], want)
		}
	}
}

// counted is what a rule of dayWatch has counted.
func (d *day) counted(name string) int {
	d.t.Helper()
	for line := range strings.Lines(d.on(d.Gateway, "nft list table inet daywatch")) {
		_, rest, ok := strings.Cut(line, "counter packets ")
		if n, _, _ := strings.Cut(rest, " "); ok && strings.Contains(line, `comment "`+name+`"`) {
			count, err := strconv.Atoi(n)
			d.must(err)
			return count
		}
	}
	d.t.Fatalf("there is no rule %s", name)
	return 0
}

// pathUp tells whether an uplink with that interface and address has a path that is up.
func pathUp(iface, address string) func(st *endpoints.Status) bool {
	return func(st *endpoints.Status) bool {
		for _, u := range st.Uplinks {
			if u.Interface != iface || len(u.Addresses) != 1 || u.Addresses[0].Addr().String() != address {
				continue
			}
			for _, s := range st.Sessions {
				for _, p := range s.Stats.Paths {
					if p.State == "up" && strings.HasPrefix(p.Name, u.Name+">") {
						return true
					}
				}
			}
		}
		return false
	}
}

// throughRelay tells whether a path through the relay is up.
func throughRelay(st *endpoints.Status) bool {
	for _, s := range st.Sessions {
		for _, p := range s.Stats.Paths {
			if p.State == "up" && strings.HasSuffix(p.Name, ">"+relayAddr(0).String()+":7117") {
				return true
			}
		}
	}
	return false
}
