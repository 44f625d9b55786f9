package config

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestUplinkInFull(t *testing.T) {
	c := read(t, `role = "gateway"`, `exit.address = "192.0.2.1"`, `exit.relays = "192.0.2.2:443"`, `exit.key = "`+keyA+`"`, `state_dir = "/var/lib/x"`,
		`[[uplink]]`, `name = "a"`, `interface = "eth0"`, `gateway = ["192.168.1.254", "fe80::1"]`, `line = "copper"`, `probe = "gateway"`,
		`[[uplink]]`, `interface = "wwan*"`, `mode = "backup"`, `backup_when = "full"`, `quota = "1.5GB"`, `quota_day = 31`,
		`quota_then = "throttle"`, `on_down = "pkill -HUP pppd"`, `hook_repeat = "5m"`, `max_down = "2mbit"`,
		`[[uplink]]`, `interface = "*"`, `name = "rest"`, `mode = "drain"`, `on_up = "true"`)
	want := []Uplink{
		{Name: "a", Interface: "eth0", Mode: ModeAlways, Gateway: []netip.Addr{netip.MustParseAddr("192.168.1.254"), netip.MustParseAddr("fe80::1")},
			Line: "copper", Probe: []string{"gateway"}},
		{Name: "wwan", Interface: "wwan*", Mode: ModeBackup, When: BackupFull, Metered: true, MaxDown: 2e6,
			Quota: Quota{Bytes: 15e8, Day: 31, Then: QuotaThrottle, Throttle: 64e3},
			Hooks: Hooks{Down: "pkill -HUP pppd", Timeout: 30 * time.Second, Repeat: 5 * time.Minute}},
		{Name: "rest", Interface: "*", Mode: ModeDrain, Hooks: Hooks{Up: "true", Timeout: 30 * time.Second}},
	}
	if !reflect.DeepEqual(c.Uplinks, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c.Uplinks, want)
	}
	if !reflect.DeepEqual(c.Exit.Relays, []Address{{"192.0.2.2", 443}}) || c.StateDir != "/var/lib/x" {
		t.Errorf("relays %v, state in %s", c.Exit.Relays, c.StateDir)
	}
	none := netip.Addr{}
	for _, x := range []struct {
		device string
		hop    netip.Addr
		want   int
	}{{"eth0", netip.MustParseAddr("192.168.1.254"), 0}, {"wwan3", none, 1}, {"eth0", netip.MustParseAddr("192.168.1.1"), 2}, {"eth7", none, 2}} {
		got := -1
		for i, u := range c.Uplinks {
			if u.Is(x.device, x.hop, none) {
				got = i
				break
			}
		}
		if got != x.want {
			t.Errorf("%s by %v is uplink %d, want %d", x.device, x.hop, got, x.want)
		}
	}
}

func TestRelay(t *testing.T) {
	c := read(t, `role = "relay"`, `exit.address = "exit.example.net"`)
	if c.Relay != (Relay{Forward: ForwardAuto, Flows: 1024, PerSource: 64}) || len(c.Listen) != 1 || c.Listen[0].Port() != DefaultPort || c.PrivateKeyFile != "" {
		t.Errorf("got %+v", c)
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]Size{"5GB": 5e9, "1.5TB": 15e11, "20MB": 2e7} {
		if got, err := ParseSize(s); err != nil || got != want || got.String() != s {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "5gb", "5 GB", "-1GB", "1e3GB", "0.5MB", "2000TB"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q gives %v", s, got)
		}
	}
}
