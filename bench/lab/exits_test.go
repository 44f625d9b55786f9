package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints"
)

// leakWatch counts what leaves the gateway by an uplink and is not of bondd's port.
func leakWatch(l *Lab) string {
	return `table inet leakwatch {
	chain out {
		type filter hook postrouting priority 300; policy accept;
		oifname != { "` + strings.Join(l.UplinkNames(), `", "`) + `" } accept
		meta l4proto { tcp, udp } th dport 7117 accept
		counter
	}
}
`
}

// TestExitsByRule has two hosts of a LAN behind a gateway with two exits, which give it the same inner address. One of them, and a port of both, leaves by the
// second exit, as packets and as streams; the server tells by which exit it was reached. Then the second exit dies: the port goes by the first,
// and the host is refused; nothing leaves by an uplink in the clear. At the end nothing is left of it.
func TestExitsByRule(t *testing.T) {
	needLab(t)
	python, err := exec.LookPath("python3")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("it takes root and python3 to serve and ask from hosts of the lab:", err)
	}
	for _, program := range []string{"nsenter", "nft", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	l := openLab(t, Config{Uplinks: pair(), Seed: 1, Home: &Home{Relays: 1}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(l.Explain(err))
		}
	}
	there := l.Relays[0] // where the second exit is
	if l.keys, err = newKeys(); err != nil {
		t.Fatal(err)
	}
	second, err := newKeys()
	must(err)
	in := func(h *Host, argv ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(h.pid()), "-n"}, argv...)...)
	}
	on := func(h *Host, script string) string {
		t.Helper()
		out, err := in(h, "sh", "-ec", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	must(l.StartExit(ctx))
	must(l.startDaemon(ctx, there, second.exit, func(key string) string { return exitConfig(key, l.keys.gatewayPublic, false) }))
	before := on(l.Gateway, "ip rule; ip route show table all; nft list ruleset")
	must(l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
		return fmt.Sprintf("role = \"gateway\"\nprivate_key_file = %q\n[stream]\nmode = \"bond\"\n", key) +
			fmt.Sprintf("[[exit]]\nname = \"near\"\naddress = %q\nkey = %q\n", remote(0), l.keys.exitPublic) +
			fmt.Sprintf("[[exit]]\nname = \"far\"\naddress = %q\nkey = %q\nfailover = false\nfailover_after = \"2s\"\n", relayAddr(0), second.exitPublic) +
			"[[rule]]\nport = 443\nexit = \"far\"\n[[rule]]\nsource = \"192.168.77.3\"\nexit = \"far\"\nfallback = \"none\"\n" +
			"[[uplink]]\ninterface = \"" + l.cfg.Uplinks[0].Name + "\"\n[[uplink]]\ninterface = \"" + l.cfg.Uplinks[1].Name + "\"\n"
	}))
	on(l.LAN, "ip address add 192.168.77.3/24 dev "+lanIf)
	must(l.WaitBond(ctx, bondTimeout))

	server := in(l.Server, python, "-c", `
import socket, threading
us = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in (80, 443)]
def udp(u):
    while True:
        _, a = u.recvfrom(100); u.sendto(a[0].encode(), a)
def tcp(t):
    while True:
        c, a = t.accept(); c.sendall(a[0].encode()); c.close()
for u, p in zip(us, (80, 443)):
    u.bind(("", p)); threading.Thread(target=udp, args=(u,), daemon=True).start()
ts = [socket.create_server(("", p)) for p in (80, 443)]
print("ready", flush=True)
threading.Thread(target=tcp, args=(ts[0],), daemon=True).start()
tcp(ts[1])
`)
	out, err := server.StdoutPipe()
	must(err)
	must(server.Start())
	defer func() { server.Process.Kill(); server.Wait() }()
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatal("the server does not start:", err)
	}
	// Whom the server sees, asked from addresses of the LAN: one program asks all there is to ask, over TCP and UDP.
	asker := in(l.LAN, python, "-uc", `
import socket, sys
for line in sys.stdin:
    answers = []
    for word in line.split():
        protocol, source, port = word.split(",")
        try:
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            s.settimeout(2); s.bind((source, 0)); s.connect(("`+Server4.String()+`", int(port)))
            if protocol == "udp": s.send(b"x")
            answers.append(s.recv(100).decode() or "ended")
        except OSError as e:
            answers.append("refused" if not isinstance(e, TimeoutError) or protocol == "udp" else "silence")
    print(" ".join(answers))
`)
	asker.Stderr = os.Stderr
	questions, err := asker.StdinPipe()
	must(err)
	answers, err := asker.StdoutPipe()
	must(err)
	must(asker.Start())
	defer func() { questions.Close(); asker.Wait() }()
	lines := bufio.NewScanner(answers)
	names := map[string]string{"198.18.1.1": "near", relayAddr(0).String(): "far"}
	check := func(when string, want ...string) { // tcp,ADDRESS,PORT=EXIT
		t.Helper()
		var ask, expected []string
		for _, w := range want {
			who, by, _ := strings.Cut(w, "=")
			ask, expected = append(ask, "tcp,"+who, "udp,"+who), append(expected, by, by)
		}
		fmt.Fprintln(questions, strings.Join(ask, " "))
		if !lines.Scan() {
			t.Fatal("nobody asks from the LAN any more:", lines.Err())
		}
		for i, got := range strings.Fields(lines.Text()) {
			if name, ok := names[got]; ok {
				got = name
			}
			if got != expected[i] {
				t.Errorf("%s: %s leaves by %q, want %q", when, ask[i], got, expected[i])
			}
		}
	}
	until := func(what string, f func(st *endpoints.Status) bool) {
		t.Helper()
		for {
			st, err := l.Status(ctx, l.Gateway)
			if err == nil && f(st) {
				return
			}
			if pause(ctx, 20*time.Millisecond) != nil {
				st, err := l.Status(context.WithoutCancel(ctx), l.Gateway)
				if err != nil {
					t.Fatalf("%s: not seen; %v", what, err)
				}
				t.Fatalf("%s: not seen; exits %+v, rules %+v", what, st.Exits, st.Rules)
			}
		}
	}
	rules := func(a, b string) func(st *endpoints.Status) bool {
		return func(st *endpoints.Status) bool {
			return len(st.Rules) == 2 && st.Rules[0].By == a && st.Rules[1].By == b && st.Streams.Interception == "on"
		}
	}
	until("both exits", func(st *endpoints.Status) bool {
		return rules("far", "far")(st) && st.Exits[1].State == "up"
	})
	check("both", "192.168.77.2,80=near", "192.168.77.2,443=far", "192.168.77.3,80=far", "192.168.77.3,443=far")
	if st, err := l.Status(ctx, l.Gateway); err != nil || st.Streams.Opened < 4 {
		t.Errorf("connections have not gone as streams: %+v, %v", st.Streams, err)
	}
	// The machine's own connections follow the same rules.
	if text, _ := in(l.Gateway, python, "-c", "import socket; print(socket.create_connection(('"+Server4.String()+"', 443), 2).recv(100).decode())").CombinedOutput(); strings.TrimSpace(string(text)) != relayAddr(0).String() {
		t.Errorf("an own connection: %s", text)
	}

	on(l.Gateway, "nft -f - <<'END'\n"+leakWatch(l)+"END")
	must(l.Kill(ctx, there))
	until("the second exit is out of reach", rules("default", "refused"))
	check("the second exit is dead", "192.168.77.2,80=near", "192.168.77.2,443=near", "192.168.77.3,443=near", "192.168.77.3,80=refused")

	if text := on(l.Gateway, "nft list table inet leakwatch"); !strings.Contains(text, "counter packets 0") {
		t.Errorf("something of the LAN has left by an uplink in the clear:\n%s", text)
	}
	on(l.Gateway, "nft delete table inet leakwatch")
	must(l.Gateway.call(ctx, "daemon.stop", stopArgs{}, nil))
	if after := on(l.Gateway, "ip rule; ip route show table all; nft list ruleset"); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}
