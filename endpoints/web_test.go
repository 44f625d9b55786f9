package endpoints

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
)

// statusTest is a gateway with a good path and a lossy one.
func statusTest() *Status {
	return &Status{Role: "gateway", Software: `a "quoted" build`, Uptime: 10, State: "up", TUN: TUNStatus{MTU: 1400}, Hello: &HelloStatus{},
		Uplinks: []UplinkStatus{{Name: "dsl", Interface: "ppp0", Mode: "always", Up: true, IPv4: true}, {Name: "lte", Interface: "wwan0", Up: true}},
		Drops:   map[string]uint64{"stranger": 4},
		Streams: &StreamStatus{Open: 3, Refused: map[string]uint64{"timeout": 7}, Interception: "the exit carries no streams"},
		Sessions: []SessionStatus{{Peer: "exit", Index: 7, Alive: true, Age: 100, Stats: &tunnel.Stats{Paths: []tunnel.PathStats{
			{ID: 1, Name: "dsl", State: "up", RTT: 20 * time.Millisecond, PathStats: scheduler.PathStats{SentBytes: 4000, RecvBytes: 1000}},
			{ID: 2, Name: "lte", State: "up", Queue: time.Second, PathStats: scheduler.PathStats{SentBytes: 1000, SentDatagrams: 2000, LostDatagrams: 400}},
			{ID: 3, State: "validating", Remote: "192.0.2.1:7117"},
			{ID: 4, Name: "old", State: "closed"},
		}, Drops: tunnel.Drops{Forged: 2}}}},
	}
}

func TestMeasure(t *testing.T) {
	before, now := statusTest(), statusTest()
	now.Uptime += 2
	paths := now.Sessions[0].Stats.Paths
	paths[0].SentBytes += 6000
	paths[1].SentBytes += 2000
	paths[1].SentDatagrams += 100
	paths[1].LostDatagrams += 25
	now.Measure(before)
	s := &now.Sessions[0]
	if a, b := s.Of(1), s.Of(2); a.Out != 3000 || a.OutShare != 0.75 || b.Out != 1000 || b.OutShare != 0.25 || b.Loss != 0.25 || a.In != 0 || a.InShare != 0 {
		t.Errorf("traffic %+v", s.Traffic)
	}
	other := statusTest()
	other.Uptime, other.Sessions[0].Index = 20, 8
	if other.Measure(before); other.Sessions[0].Traffic != nil {
		t.Error("another session was compared")
	}
}

func TestProblems(t *testing.T) {
	want := []string{
		"Uplink lte cannot be used: interface wwan0 has no address, or no route out.",
		"Path lte loses 20 % of what is sent.",
		"Path exit/3 has never answered: is UDP let through to 192.0.2.1:7117?",
		"Connections go as packets, not as streams: the exit carries no streams.",
	}
	if got := statusTest().findProblems(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	well := statusTest()
	well.Uplinks, well.Streams.Interception, well.Sessions[0].Stats.Paths = well.Uplinks[:1], "on", well.Sessions[0].Stats.Paths[:1]
	if got := well.findProblems(); len(got) != 0 {
		t.Errorf("nothing is wrong, but: %q", got)
	}
	down := statusTest()
	down.State, down.Reason, down.Uplinks = "down", "no path answers", nil
	if got := down.findProblems(); got[0] != "The bond is down: no path answers." || !strings.HasPrefix(got[1], "There is no uplink") {
		t.Errorf("got %q", got)
	}
}

func TestWeb(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWeb(withProblems(func(context.Context) *Status { return statusTest() }))
	w.wg.Go(func() { w.http.Serve(l) })
	defer w.close()
	get := func(path, host, method string) (int, string) {
		req, _ := http.NewRequest(method, "http://"+l.Addr().String()+path, nil)
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := get("/", "", "GET"); code != 200 || !strings.Contains(body, "status.json") || strings.Contains(body, "http://") {
		t.Errorf("the page: %d\n%s", code, body)
	}
	var st Status
	if code, body := get("/status.json", "", "GET"); code != 200 || json.Unmarshal([]byte(body), &st) != nil || len(st.Problems) != 4 {
		t.Errorf("the status: %d\n%s", code, body)
	}
	code, body := get("/metrics", "localhost:7180", "GET")
	for _, want := range []string{
		`bondd_info{role="gateway",software="a \"quoted\" build"} 1`,
		"# TYPE bondd_path_sent_bytes_total counter\n" + `bondd_path_sent_bytes_total{peer="exit",path="dsl"} 4000`,
		`bondd_path_rtt_seconds{peer="exit",path="dsl"} 0.02`, `bondd_path_up{peer="exit",path="exit/3"} 0`,
		`bondd_uplink_usable{uplink="lte",interface="wwan0",mode=""} 0`, `bondd_drops_total{reason="stranger"} 4`,
		`bondd_session_drops_total{peer="exit",reason="forged"} 2`, "bondd_problems 4", `bondd_streams_refused_total{reason="timeout"} 7`,
	} {
		if code != 200 || !strings.Contains(body, want+"\n") {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if strings.Contains(body, `path="old"`) {
		t.Error("a path that is closed is in the metrics")
	}
	for _, c := range []struct {
		path, host, method string
		code               int
	}{{"/metrics", "evil.example", "GET", 421}, {"/metrics", "evil.example:80", "GET", 421}, {"/other", "", "GET", 404}, {"/", "", "POST", 405}} {
		if code, _ := get(c.path, c.host, c.method); code != c.code {
			t.Errorf("%s %s from %q: %d, want %d", c.method, c.path, c.host, code, c.code)
		}
	}
}
