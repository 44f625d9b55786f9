package lab

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// listeners are the sockets of a host that take what nobody on it has asked for, as the kernel lists them: TCP listeners, and UDP sockets that are
// not connected. "tcp 127.0.0.1:80".
func listeners(t *testing.T, h *Host) []string {
	t.Helper()
	var out []string
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.pid(), proto))
		if err != nil {
			t.Fatal(err)
		}
		waits := "0A" // TCP_LISTEN
		if proto[0] == 'u' {
			waits = "07" // not connected
		}
		for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			f := strings.Fields(line)
			if i == 0 || len(f) < 4 || f[3] != waits {
				continue
			}
			out = append(out, proto[:3]+" "+procAddr(t, f[1]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// procAddr reads an address as /proc/net has it: words of 32 bits in the byte order of the machine, which is little-endian wherever the lab runs.
func procAddr(t *testing.T, s string) string {
	t.Helper()
	host, port, _ := strings.Cut(s, ":")
	var raw []byte
	for i := 0; i < len(host); i += 8 {
		for j := 6; j >= 0; j -= 2 {
			b, err := strconv.ParseUint(host[i+j:i+j+2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, byte(b))
		}
	}
	p, err := strconv.ParseUint(port, 16, 16)
	a, ok := netip.AddrFromSlice(raw)
	if err != nil || !ok {
		t.Fatalf("address %q", s)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)).String()
}

// open tells which of the sockets a stranger on the internet can reach: not those of loopback, nor of the LAN.
func open(list []string) (out []string) {
	for _, l := range list {
		_, at, _ := strings.Cut(l, " ")
		if a := netip.MustParseAddrPort(at).Addr(); !a.IsLoopback() && !a.IsPrivate() {
			out = append(out, l)
		}
	}
	return out
}

// TestListeners lists what listens while everything that can listen is switched on: at the exit its one port, TCP and UDP; at the gateway
// nothing but the sockets of the paths, of which strangers get no answer.
func TestListeners(t *testing.T) {
	l := openLab(t, Config{Uplinks: pair(), Seed: 1})
	ctx := t.Context()
	before := [2][]string{listeners(t, l.Gateway), listeners(t, l.Exit)}
	var err error
	if l.keys, err = newKeys(); err != nil {
		t.Fatal(err)
	}
	if err := l.startDaemon(ctx, l.Exit, l.keys.exit, func(key string) string {
		return "web = \"127.0.0.1:7180\"\n" + exitConfig(key, l.keys.gatewayPublic, false)
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
		return "web = [\"127.0.0.1:7180\", \"192.168.77.1:7180\"]\n" + gatewayConfig(key, l.keys.exitPublic, 1, true, "auto", "", "") +
			"[stream]\nsocks = \"127.0.0.1:1080\"\nhttp = \"127.0.0.1:8080\"\n"
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitBond(ctx, bondTimeout); err != nil {
		t.Fatal(err)
	}
	added := func(i int, h *Host) (all, reachable []string) {
		for _, s := range listeners(t, h) {
			if !slices.Contains(before[i], s) {
				all = append(all, s)
			}
		}
		return all, open(all)
	}
	all, reachable := added(1, l.Exit)
	if want := []string{"tcp [::]:7117", "udp [::]:7117"}; !slices.Equal(reachable, want) {
		t.Errorf("at the exit %q can be reached, want %q", reachable, want)
	}
	if !slices.Contains(all, "tcp 127.0.0.1:7180") {
		t.Errorf("the web page is not there, so this test proves nothing: %q", all)
	}
	all, reachable = added(0, l.Gateway)
	for _, want := range []string{"tcp 127.0.0.1:7180", "tcp 127.0.0.1:1080", "tcp 127.0.0.1:8080", "tcp 127.0.0.1:7118"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not there, so this test proves nothing: %q", want, all)
		}
	}
	for _, s := range reachable {
		if !strings.HasPrefix(s, "udp ") {
			t.Errorf("at the gateway %s can be reached", s)
		}
	}
	if len(reachable) > 2*len(l.cfg.Uplinks) {
		t.Errorf("at the gateway there are more UDP sockets than paths can use: %q", reachable)
	}
	for _, h := range []*Host{l.Gateway, l.Exit} {
		if err := h.call(ctx, "daemon.stop", stopArgs{}, nil); err != nil {
			t.Error(err)
		}
	}
}
