package lab

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints"
)

// carriedBy waits until new connections go by one of the ways and the gateway says why with one of its words.
func carriedBy(t *testing.T, l *Lab, way, why string) *endpoints.CarrierStatus {
	t.Helper()
	var last *endpoints.CarrierStatus
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		st, err := l.Status(t.Context(), l.Gateway) // an error: it has not begun yet
		if err == nil {
			last = st.Carriers
		}
		if last != nil && last.InUse == way && strings.Contains(last.Why, why) {
			return last
		}
		pause(context.Background(), 100*time.Millisecond)
	}
	t.Fatalf("new connections do not go by %q because %q: %+v", way, why, last)
	return nil
}

func (l *Lab) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(l.Explain(err))
	}
}

// shell runs commands on a host, and ends the test when one of them fails.
func (l *Lab) shell(ctx context.Context, t *testing.T, h *Host, script string) string {
	t.Helper()
	out, err := h.Run(ctx, Command{Argv: []string{"sh", "-ec", script}})
	l.must(t, err)
	return out
}

// transfer makes a short one, of which something has to arrive; the next one, where the machine is so busy that the first spends its time on
// being connected. How fast is for the bench to say.
func transfer(t *testing.T, l *Lab, up bool) {
	t.Helper()
	const total = 2 * time.Second
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		r, err := l.TCP(t.Context(), TCPSpec{Source: LAN4, Up: up, Flows: 1, Duration: total})
		if err == nil {
			err = r.Err()
		}
		l.must(t, err)
		if r.Between(0, total) > 0 {
			return
		}
	}
	t.Errorf("up %v: nothing has arrived", up)
}

// TestBondMPTCP carries real TCP by the kernel's MPTCP, also when an uplink has become a black hole; and nothing is left of it.
func TestBondMPTCP(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true, Mode: "mptcp"})
	ctx := t.Context()
	l.must(t, l.forwarding(ctx, false))
	before := state(t, l)
	l.must(t, l.StartBond(ctx))
	carriedBy(t, l, "mptcp", "configuration")
	for _, up := range []bool{false, true} {
		transfer(t, l, up)
	}
	st, err := l.Status(ctx, l.Gateway)
	l.must(t, err)
	if st.Carriers.Opened < 2 || st.Carriers.Subflows < 2*st.Carriers.Carriers-1 {
		t.Errorf("carriers of the gateway: %+v", st.Carriers)
	}
	l.must(t, l.Kill(ctx, l.Gateway))
	l.must(t, l.StartGateway(ctx))
	l.must(t, l.WaitBond(ctx, bondTimeout))
	carriedBy(t, l, "mptcp", "configuration")
	transfer(t, l, false)
	l.must(t, l.StopBond(ctx))
	l.must(t, l.forwarding(ctx, false))
	if d := difference(before, state(t, l)); d != "" {
		t.Errorf("left behind after an orderly end:\n%s", d)
	}
}

// TestMPTCPStripped: where MPTCP does not get through, connections go by the bond, from the first one on.
func TestMPTCPStripped(t *testing.T) {
	for _, x := range []struct {
		name, why string
		cfg       Config
	}{
		{"exit", "exit's kernel", Config{NoMPTCP: []string{"exit"}}},
		{"everywhere", "stripped", Config{Strip: []int{0, 1}}},
		{"one", "stripped", Config{Strip: []int{1}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.cfg.Uplinks, x.cfg.Seed, x.cfg.Streams, x.cfg.Mode = pair(), 1, true, "auto"
			l := openLab(t, x.cfg)
			l.must(t, l.StartBond(t.Context()))
			transfer(t, l, false)
			st := carriedBy(t, l, "bond", x.why)
			if x.name == "one" {
				netchecks(t, l)
			}
			if len(st.Uplinks) != 2 || len(x.cfg.NoMPTCP) == 0 && (st.Uplinks[1].MPTCP != "stripped" || st.Uplinks[1].In) {
				t.Errorf("uplinks: %+v", st.Uplinks)
			}
		})
	}
}

// TestMPTCPAuto: when the bond has measured two alike lines, new connections go by the kernel.
func TestMPTCPAuto(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true, Mode: "auto"})
	l.must(t, l.StartBond(t.Context()))
	carriedBy(t, l, "bond", "measured")
	transfer(t, l, false)
	transfer(t, l, true)
	carriedBy(t, l, "mptcp", "fit")
	transfer(t, l, false)
	st, err := l.Status(t.Context(), l.Gateway)
	l.must(t, err)
	if st.Carriers.Opened == 0 {
		t.Errorf("no connection has gone by a carrier: %+v", st.Carriers)
	}
}

// TestMPTCPStrippedLater: a box that begins to strip MPTCP on one uplink is found by the subflows that are missing, long before the next check.
func TestMPTCPStrippedLater(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true, Mode: "mptcp"})
	l.must(t, l.StartBond(t.Context()))
	carriedBy(t, l, "mptcp", "configuration")
	transfer(t, l, false)
	yes := true
	l.must(t, l.Change(t.Context(), Change{Uplink: 1, Strip: &yes}))
	for end := time.Now().Add(20 * time.Second); ; {
		transfer(t, l, true) // the kernel finds out where it sends
		st, err := l.Status(t.Context(), l.Gateway)
		l.must(t, err)
		if u := st.Carriers.Uplinks[1]; u.MPTCP == "stripped" && !u.In && strings.Contains(u.Note, "stripped") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("nothing is noticed: %+v", st.Carriers)
		}
	}
	carriedBy(t, l, "mptcp", "configuration") // by the other uplink
	transfer(t, l, false)
}

// TestMPTCPRelay: the kernel makes subflows by a relay that the exit announces too, and nothing of it is left at the exit.
func TestMPTCPRelay(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true, Mode: "mptcp", Home: &Home{Relays: 1, Announce: true}})
	ctx := t.Context()
	l.must(t, l.forwarding(ctx, false))
	before := state(t, l)
	l.must(t, l.StartBond(ctx))
	carriedBy(t, l, "mptcp", "configuration")
	want := []netip.Addr{remote(0), relayAddr(0)}
	for end := time.Now().Add(20 * time.Second); ; {
		transfer(t, l, false)
		st, err := l.Status(ctx, l.Gateway)
		l.must(t, err)
		// The three uplinks to both addresses make six for a carrier. A busy machine may take one away as it takes an uplink for dead.
		if slices.Equal(st.Carriers.To, want) && st.Carriers.Subflows > 4*st.Carriers.Carriers {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("subflows go to %v, not %v, or too few of them: %+v", st.Carriers.To, want, st.Carriers)
		}
	}
	l.must(t, l.Kill(ctx, l.Exit))
	l.must(t, l.StartExit(ctx))
	l.must(t, l.WaitBond(ctx, bondTimeout)) // one that is ended before it is ready may not have swept yet
	l.must(t, l.StopBond(ctx))
	l.must(t, l.forwarding(ctx, false))
	if d := difference(before, state(t, l)); d != "" {
		t.Errorf("left behind after an orderly end:\n%s", d)
	}
}

// TestNoUDP: where no datagram comes through, connections go by carriers, the last resort.
func TestNoUDP(t *testing.T) {
	for _, x := range []struct {
		way   string
		strip []int
	}{{"mptcp", nil}, {"tcp", []int{0, 1}}} {
		t.Run(x.way, func(t *testing.T) {
			l := openLab(t, Config{Uplinks: pair(), Seed: 1, Streams: true, Mode: "auto", NoUDP: []int{0, 1}, Strip: x.strip})
			l.must(t, l.forwarding(t.Context(), false))
			k, err := newKeys()
			l.must(t, err)
			l.keys = k
			l.must(t, l.StartExit(t.Context()))
			l.must(t, l.StartGateway(t.Context()))
			carriedBy(t, l, x.way, "no datagrams")
			transfer(t, l, false)
		})
	}
}

// TestStrip takes the option out of a SYN as a kernel makes it, and mends the checksum.
func TestStrip(t *testing.T) {
	p := append(make([]byte, 20), 0x9c, 0x40, 0x1b, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0x70, 2, 0xff, 0xff, 0, 0, 0, 0,
		1, 30, 4, 0x81, 0, 2, 4, 5) // nop, MPTCP of 4 bytes; the last three are an end and what is behind it
	p[0], p[9] = 0x45, 6
	plain := slices.Clone(p)
	copy(plain[41:], []byte{1, 1, 1, 1})
	stripMPTCP(p)
	if !slices.Equal(p[:36], plain[:36]) || !slices.Equal(p[38:], plain[38:]) {
		t.Errorf("got  %x\nwant %x", p, plain)
	}
	sum := uint32(6 + 28) // of a segment with its checksum and the pseudo-header: all ones
	for i := 12; i < len(p); i += 2 {
		sum += uint32(p[i])<<8 + uint32(p[i+1])
	}
	if sum = sum>>16 + sum&0xffff; sum != 0xffff {
		t.Errorf("checksum %x leaves %x", p[36:38], sum)
	}
	again := slices.Clone(p)
	if stripMPTCP(again); !slices.Equal(again, p) {
		t.Error("a packet without the option was changed")
	}
}

// netchecks looks at a gateway whose second uplink strips MPTCP: while bondd runs, and without it.
func netchecks(t *testing.T, l *Lab) {
	t.Helper()
	for _, running := range []bool{true, false} {
		if !running {
			l.must(t, l.Gateway.call(t.Context(), "daemon.stop", stopArgs{}, nil))
		}
		n, err := l.Netcheck(t.Context())
		l.must(t, err)
		if machine, uplinks := n.Complete(); !machine || !uplinks || n.Running != running || len(n.Exits) != 1 || len(n.Exits[0].Uplinks) != 2 {
			t.Fatalf("machine %v, uplinks %v: %+v", machine, uplinks, n)
		}
		for i, want := range []string{"yes", "stripped"} {
			if u := n.Exits[0].Uplinks[i]; u.MPTCP != want || u.Seen.Addr() != GatewayAddr(i) || u.RTT < 9 || u.Datagram == 0 {
				t.Errorf("running %v, uplink %d: %+v", running, i, u)
			}
		}
	}
}
