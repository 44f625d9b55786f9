package lab

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDNS asks the gateway from the LAN: it answers on its own address, and for one that a device has chosen itself; what it says comes from the exit,
// through the bond, whose resolver nobody answers here, so that it is SERVFAIL and not silence.
func TestDNS(t *testing.T) {
	if _, err := exec.LookPath("nsenter"); err != nil || os.Geteuid() != 0 {
		t.Skip("it takes root and nsenter to ask from a host of the lab:", err)
	}
	l := openLab(t, Config{Uplinks: pair(), Seed: 1})
	ctx := t.Context()
	var err error
	if l.keys, err = newKeys(); err != nil {
		t.Fatal(err)
	}
	if err := l.StartExit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
		return gatewayConfig(key, l.keys.exitPublic, 1, true, "bond", "", "") + "[lan]\ninterfaces = \"" + lanIf + "\"\n[dns]\nlisten = \"192.168.77.1\"\nintercept = true\n"
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitBond(ctx, bondTimeout); err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"192.168.77.1", "198.18.1.2"} {
		if code, ok := askFrom(ctx, t, l.LAN, server); !ok || code != 2 { // SERVFAIL
			t.Errorf("asking %s: answered %v, with code %d", server, ok, code)
		}
	}
	for _, h := range []*Host{l.Gateway, l.Exit} {
		if err := h.call(ctx, "daemon.stop", stopArgs{}, nil); err != nil {
			t.Error(err)
		}
	}
}

// askFrom asks a server from a host and returns the code of its answer; bash sends and receives, so that nothing has to be installed.
func askFrom(ctx context.Context, t *testing.T, h *Host, server string) (code int, ok bool) {
	t.Helper()
	const query = `\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01`
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	script := "exec 3<>/dev/udp/" + server + "/53; printf '" + query + "' >&3; dd bs=2000 count=1 <&3 2>/dev/null"
	cmd := exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(h.pid()), "-n", "bash", "-c", script)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || len(out) < 12 || binary.BigEndian.Uint16(out) != 0x1234 {
		t.Logf("%v %s %x", err, errs.String(), out)
		return 0, false
	}
	return int(out[3] & 15), true
}
