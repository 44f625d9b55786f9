package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
)

// someStatus is a gateway in the middle of its life.
func someStatus() *endpoints.Status {
	remote := netip.MustParseAddrPort("192.0.2.1:7117")
	return &endpoints.Status{
		Role: "gateway", Software: "bondd devel", Uptime: 93784, State: "up",
		TUN: endpoints.TUNStatus{Name: "bondd0", MTU: 1420},
		Uplinks: []endpoints.UplinkStatus{
			{Name: "dsl", Interface: "ppp0", Mode: "always", Up: true, IPv4: true, MTU: 1492, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}},
			{Name: "lte", Interface: "wwan0", Mode: "backup", Metered: true},
		},
		Remotes: []netip.AddrPort{remote, netip.MustParseAddrPort("[2001:db8::1]:7117")},
		Exits: []endpoints.ExitStatus{
			{Name: "sg", State: "down", Reason: "no path answers", Remotes: []netip.AddrPort{remote}},
			{Name: "us", InUse: true, State: "up"},
		},
		Hello:   &endpoints.HelloStatus{Rounds: 2, Error: "no route to host"},
		Streams: &endpoints.StreamStatus{Open: 3, Opened: 1000, Refused: map[string]uint64{"timeout": 7, "no_name": 1}, Interception: "on"},
		Sessions: []endpoints.SessionStatus{{
			Peer: "exit", Suite: "AES-128-GCM", Age: 61.2, Alive: true, InnerMTU: 1420, Hello: remote,
			Inner:   []netip.Prefix{netip.MustParsePrefix("10.177.0.2/32")},
			Traffic: []endpoints.Traffic{{Out: 750e3, In: 2.5e6, OutShare: 0.75, InShare: 1}, {Path: 3, Out: 250e3, OutShare: 0.25}},
			Stats: &tunnel.Stats{
				Paths: []tunnel.PathStats{
					{Name: "dsl", State: "up", Remote: "192.0.2.1:7117", RTT: 21340 * time.Microsecond, Queue: time.Millisecond, Rate: 6.25e6,
						PathStats: scheduler.PathStats{SentBytes: 1500, SentDatagrams: 200, RecvBytes: 2.5e9, LostDatagrams: 1}},
					{ID: 3, State: "probing", Backup: true},
				},
				Drops: tunnel.Drops{Forged: 2, Replayed: 1},
			},
		}},
		Drops:    map[string]uint64{"stranger": 4, "forged": 1, "never": 0},
		Notes:    []string{"no GSO"},
		Problems: []string{"Uplink lte is down: interface wwan0 has no link."},
	}
}

const someTable = `gateway      up
running for  1d2h3m, bondd devel
TUN device   bondd0, MTU 1420
exit at      192.0.2.1:7117, [2001:db8::1]:7117
last hello   no route to host
TCP goes     as streams over the bond: it is intercepted, and the exit carries streams
streams      3 open, 1000 opened, 1 no name, 7 timeout

EXIT  STATE                  AT
sg    down: no path answers  192.0.2.1:7117
us    up, in use

UPLINK  INTERFACE  MODE             STATE     MTU   ADDRESSES
dsl     ppp0       always           up, IPv4  1492  198.51.100.7/32
lte     wwan0      backup, metered  down      0

SESSION  STATE  AGE   CIPHER       MTU   FROM OR TO      INNER ADDRESSES
exit     alive  1m1s  AES-128-GCM  1420  192.0.2.1:7117  10.177.0.2/32

PATH    STATE            RTT      ADDED   LOST    OUT             UP TO      IN               SENT    RECEIVED  REMOTE
dsl     up               21.3 ms  1.0 ms  0.50 %  6.0 Mb/s  75 %  50.0 Mb/s  20.0 Mb/s 100 %  1.5 kB  2.5 GB    192.0.2.1:7117
exit/3  probing, backup  0.0 ms   0.0 ms  -       2.0 Mb/s  25 %  0.0 Mb/s   0.0 Mb/s   0 %   0 B     0 B

dropped: forged 3, replayed 1, stranger 4

Uplink lte is down: interface wwan0 has no link.
note: no GSO
`

func TestPrintStatus(t *testing.T) {
	var out bytes.Buffer
	if err := printStatus(&out, someStatus()); err != nil {
		t.Fatal(err)
	}
	if out.String() != someTable {
		t.Errorf("got\n%s\nwant\n%s", &out, someTable)
	}
	out.Reset()
	if err := printStatus(&out, &endpoints.Status{Role: "exit", State: "ready", Sessions: []endpoints.SessionStatus{{Peer: "home"}}}); err != nil {
		t.Errorf("a status with little in it: %v", err)
	}
}

// TestStatus asks a control socket that answers with someStatus.
func TestStatus(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	want(t, exitFailed, "", "bondd status: no bondd answers at "+socket, "status", "-s", socket)

	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(someStatus()); err != nil {
			t.Error(err)
		}
	})}
	done := make(chan error)
	go func() { done <- server.Serve(l) }() // ends with Close, below
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	}()

	want(t, exitOK, someTable, "", "status", "-w", "0s", "-s", socket)
	code, out, errs := call(t, "", "status", "--json", "-w", "0s", "-s", socket)
	var got endpoints.Status
	if code != exitOK || errs != "" || json.Unmarshal([]byte(out), &got) != nil || got.Sessions[0].Stats.Paths[0].Name != "dsl" {
		t.Errorf("--json: code %d\n%s%s", code, out, errs)
	}
}
