package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bondd/bondd/endpoints"
)

// TestNetcheckExits: every exit has a table of its own, and one that fails anywhere makes the whole incomplete.
func TestNetcheckExits(t *testing.T) {
	well := endpoints.NetcheckUplink{Name: "vdsl", Interface: "eth0", TCP: true, UDP: true, MPTCP: "yes"}
	n := &endpoints.Netcheck{Role: "gateway", Exits: []endpoints.NetcheckExit{
		{Name: "near", Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7117")}, Uplinks: []endpoints.NetcheckUplink{well}},
		{Name: "far", Error: "its name is not known"},
	}}
	var b strings.Builder
	if err := printNetcheck(&b, n); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"exit near at 192.0.2.1:7117\nUPLINK", "\nvdsl", "\nexit far\nits name is not known\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, b.String())
		}
	}
	if _, uplinks := n.Complete(); uplinks {
		t.Error("complete, though one exit was not found")
	}
	n.Exits = n.Exits[:1]
	if _, uplinks := n.Complete(); !uplinks {
		t.Error("not complete")
	}
	n.Exits[0].Uplinks[0].UDP = false
	if _, uplinks := n.Complete(); uplinks {
		t.Error("complete without UDP")
	}
	n.Exits = nil
	if _, uplinks := n.Complete(); uplinks {
		t.Error("complete without an exit")
	}
}
