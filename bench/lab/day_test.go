package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/endpoints"
)

// The uplinks of TestDay.
const (
	dayADSL = iota
	dayModem
	dayUMTS
)

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
// else is dead, its quota, a relay that dies, and an exit that dies and comes back. The gateway is one process all the while, nothing of the LAN
// leaves by an uplink in the clear, and a download goes on for as long as there is an exit.
func TestDay(t *testing.T) {
	needLab(t)
	for _, program := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("it takes nft to watch the uplinks, and ip to replug a modem:", err)
		}
	}
	l := openLab(t, Config{Seed: 1, Home: &Home{Relays: 1}, Uplinks: []Uplink{
		{"adsl", link.Config{Rate: 8e6, Delay: 12 * time.Millisecond, Queue: 100 * time.Millisecond}},
		{"modem", link.Config{Rate: 8e6, Delay: 20 * time.Millisecond, Queue: 100 * time.Millisecond}},
		{"umts", link.Config{Rate: 3e6, Delay: 50 * time.Millisecond, Queue: 200 * time.Millisecond}},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	d := &day{l, t, ctx}
	var err error
	if l.keys, err = newKeys(); err != nil {
		t.Fatal(err)
	}
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
	d.must(l.startRelays(ctx))
	started := time.Now()
	d.must(l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
		return "state_dir = \"" + runDir + "/state\"\n" + gatewayConfig(key, l.keys.exitPublic, 1, true, "bond", `relays = ["`+relayAddr(0).String()+"\"]\n", "") +
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
	d.must(l.StartExit(ctx))
	d.must(l.WaitBond(ctx, bondTimeout))

	// From here on something is downloaded.
	const lasts = 18 * time.Second
	begin := time.Now()
	download := make(chan error, 1)
	go func() { // ends with the transfer, which is waited for below
		r, err := l.TCP(ctx, TCPSpec{Source: LAN4, Flows: 1, Duration: lasts})
		if err == nil {
			err = r.Err()
		}
		download <- err
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
	d.must(l.stopRelays(ctx))
	d.until("the paths by the relay are given up", func(st *endpoints.Status) bool { return !throughRelay(st) })
	d.carries(dayADSL, 200e3)
	happened := time.Since(begin)

	// Evening: the download ends in its own time, and the exit is started again.
	if err := <-download; err != nil {
		t.Errorf("the download: %v", l.Explain(err))
	}
	d.must(l.Kill(ctx, l.Exit))
	d.must(l.StartExit(ctx))
	d.must(l.WaitBond(ctx, bondTimeout))
	d.carriesAgain()

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
	for _, h := range []*Host{l.Gateway, l.Exit} {
		if err := h.call(ctx, "daemon.stop", stopArgs{}, nil); err != nil {
			t.Error(err)
		}
	}
	if happened > lasts {
		t.Skipf("all is as it should be, but this machine was so slow that the download has not seen all of it: it took %v", happened)
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
	out, err := h.Run(d.ctx, Command{Argv: []string{"sh", "-ec", script}})
	d.must(err)
	return out
}

// until waits for the gateway's status to be so.
func (d *day) until(what string, is func(st *endpoints.Status) bool) {
	d.t.Helper()
	begin := time.Now()
	for time.Since(begin) < 20*time.Second {
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

// carriesAgain makes a short download.
func (d *day) carriesAgain() {
	d.t.Helper()
	r, err := d.TCP(d.ctx, TCPSpec{Source: LAN4, Flows: 1, Duration: time.Second})
	if err == nil {
		err = r.Err()
	}
	d.must(err)
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
