package live

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
)

func gateway() *endpoints.Status {
	return &endpoints.Status{Role: "gateway", State: "up",
		Uplinks:  []endpoints.UplinkStatus{{Name: "dsl", Up: true, Mode: "always"}, {Name: "lte", Up: true, Mode: "always", Metered: true}},
		Sessions: []endpoints.SessionStatus{{Index: 7, Bench: netip.MustParseAddrPort("10.77.0.1:7119")}}}
}

func TestMeteredUplinksAreSpared(t *testing.T) {
	o := Options{Services: Services, Directions: []string{"down", "up"}, Duration: 10 * time.Second}
	if _, err := o.check(gateway()); !errors.Is(err, ErrMetered) || !strings.Contains(err.Error(), "lte, for up to 40s") {
		t.Errorf("a metered uplink: %v", err)
	}
	o.Alone = true
	if _, err := o.check(gateway()); !errors.Is(err, ErrMetered) || !strings.Contains(err.Error(), "lte, for up to 1m0s") {
		t.Errorf("a metered uplink, alone too: %v", err)
	}
	o.Metered = true
	if at, err := o.check(gateway()); err != nil || at != netip.MustParseAddrPort("10.77.0.1:7119") {
		t.Errorf("allowed: %v, %v", at, err)
	}
	o.Metered = false
	st := gateway()
	st.Uplinks[1].Up = false
	if _, err := o.check(st); err != nil {
		t.Errorf("a metered uplink that is down: %v", err)
	}
	st.State = "down"
	if _, err := o.check(st); err == nil {
		t.Error("a bond that is down is measured")
	}
	st = gateway()
	st.Sessions[0].Bench = netip.AddrPort{}
	if _, err := o.check(st); err == nil || !strings.Contains(err.Error(), "bench = true") {
		t.Errorf("an exit that serves nothing: %v", err)
	}
	if _, err := o.check(&endpoints.Status{Role: "exit", State: "ready"}); err == nil {
		t.Error("an exit measures")
	}
}

// What is kept back is left as it is, and one uplink that is left is the bond.
func TestLone(t *testing.T) {
	st := gateway()
	if got := lone(st); len(got) != 2 {
		t.Errorf("of two, %v", got)
	}
	st.Uplinks = append(st.Uplinks, endpoints.UplinkStatus{Name: "umts", Up: true, Mode: "backup"}, endpoints.UplinkStatus{Name: "sat", Mode: "always"})
	if got := strings.Join(lone(st), " "); got != "dsl lte" {
		t.Errorf("of two, a backup and one that is down: %v", got)
	}
	st.Uplinks[1].Mode = "drain"
	if got := lone(st); got != nil {
		t.Errorf("of one in use: %v", got)
	}
}

func TestCompare(t *testing.T) {
	path := func(id tunnel.PathID, name string, sent, recv, datagrams, lost uint64, rate float64) tunnel.PathStats {
		return tunnel.PathStats{ID: id, Name: name, State: "up", RTT: 20 * time.Millisecond, Rate: rate,
			PathStats: scheduler.PathStats{SentBytes: sent, RecvBytes: recv, SentDatagrams: datagrams, LostDatagrams: lost}}
	}
	at := time.Unix(100, 0)
	snap := func(at time.Time, busy uint64, paths ...tunnel.PathStats) snapshot {
		st := gateway()
		st.Sessions[0].Stats = &tunnel.Stats{Paths: paths}
		return snapshot{at: at, status: st, busy: busy, total: 1000 + uint64(at.Unix()-100)*200}
	}
	a := snap(at, 0, path(1, "dsl>1.2.3.4:7117", 1e6, 0, 100, 0, 0))
	b := snap(at.Add(10*time.Second), 500, path(1, "dsl>1.2.3.4:7117", 6e6, 2e6, 1100, 50, 1e6), path(2, "dsl>1.2.3.5:7117", 5e6, 0, 0, 0, 2e6))
	up := Transfer{Direction: "up"}
	up.compare(a, b)
	if len(up.Uplinks) != 1 || up.Uplinks[0].Name != "dsl" || up.Uplinks[0].Carried != 8 || *up.Uplinks[0].Rate != 16 || *up.Uplinks[0].Lost != 0.05 || up.Busy != 0.25 {
		t.Errorf("up: %+v, busy %v", up.Uplinks, up.Busy)
	}
	down := Transfer{Direction: "down"}
	down.compare(a, b)
	if len(down.Uplinks) != 1 || down.Uplinks[0].Carried != 1.6 || down.Uplinks[0].Rate != nil {
		t.Errorf("down: %+v", down.Uplinks)
	}
	b.status.Sessions[0].Index = 8
	other := Transfer{Direction: "up"}
	if other.compare(a, b); other.Uplinks != nil {
		t.Errorf("counters of two sessions are compared: %+v", other.Uplinks)
	}
}

func TestVerdict(t *testing.T) {
	x := func(v float64) *float64 { return &v }
	full := []Uplink{{Name: "dsl", State: "up", Carried: 48, Rate: x(50), Lost: x(0)}, {Name: "lte", State: "up", Carried: 19, Rate: x(20), Lost: x(0.03)}}
	for want, list := range map[string][]Transfer{
		"the uplinks are the limit, all were full; the slowest is lte": {{Service: "stream", Direction: "up", Mbps: x(60), Uplinks: full}},
		"uplink lte lost 3.0 %":                    {{Service: "stream", Direction: "up", Mbps: x(60), Uplinks: full}},
		"this box is the limit":                    {{Service: "stream", Direction: "up", Mbps: x(60), Busy: 0.95, Uplinks: full}},
		"uplink dsl was not full: it carried 20.0": {{Service: "packet", Direction: "up", Mbps: x(20), Uplinks: []Uplink{{Name: "dsl", State: "up", Carried: 20, Rate: x(50)}}}},
		"uplink lte is suspect":                    {{Service: "packet", Direction: "down", Mbps: x(20), Uplinks: []Uplink{{Name: "lte", State: "suspect"}}}},
		"streams carry 50 % more than packets":     {{Service: "packet", Direction: "down", Mbps: x(40)}, {Service: "stream", Direction: "down", Mbps: x(60)}},
		"stream, up: 1.20 times the best uplink alone (dsl, 50.0 Mb/s), 86 % of the sum of all (70.0 Mb/s).": {
			{Service: "packet", Direction: "up", Alone: "dsl", Mbps: x(50)}, {Service: "packet", Direction: "up", Alone: "lte", Mbps: x(20)}, {Service: "stream", Direction: "up", Mbps: x(60)}},
		"lte alone, up: not measured: no way": {{Service: "packet", Direction: "up", Alone: "lte", Error: "no way"}},
		"not measured: no way":                {{Service: "stream", Direction: "down", Error: "no way"}},
	} {
		if got := strings.Join(Verdict(list), "\n"); !strings.Contains(got, want) {
			t.Errorf("verdict %q lacks %q", got, want)
		}
	}
}
