package endpoints

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/mptcp"
)

// TestAnnounceRelays: an exit has the kernel announce the relays of its configuration, says so to gateways, and takes it back; without the right it
// does without.
func TestAnnounceRelays(t *testing.T) {
	relay := netip.MustParseAddr("192.0.2.20")
	manager := &endpointsTest{}
	denied := errors.New("not allowed")
	var refuse error
	cfg := &config.Config{Role: config.RoleExit, PrivateKey: testKey(t)}
	cfg.SetDefaults()
	cfg.Stream.Announce = []netip.Addr{relay}
	h := &host{multipath: &multipath{
		support: func() mptcp.Support { return mptcp.Support{} },
		endpoints: func() (endpointManager, error) {
			if refuse != nil {
				return nil, refuse
			}
			return manager, nil
		},
	}}
	for _, refuse = range []error{denied, nil} {
		x := newExit(cfg, slog.New(slog.DiscardHandler), h)
		if err := x.openPaths(t.Context()); err != nil {
			t.Fatal(err)
		}
		if says := slices.Contains(x.capabilities(), capAnnounces); says != (refuse == nil) {
			t.Errorf("refused %v: it says %v", refuse, says)
		}
		if refuse == nil && (!slices.Equal(manager.raised, []bool{false}) || !slices.Equal(manager.list, []mptcp.Endpoint{{Addr: relay, Announce: true}})) {
			t.Errorf("raised %v, announced %+v", manager.raised, manager.list)
		}
		if err := x.closePaths(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if manager.closed != 1 {
		t.Errorf("closed %d times", manager.closed)
	}
}
