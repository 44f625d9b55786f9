package lab

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestForward has a stranger on the internet reach a host of the LAN by ports of the exit, TCP and UDP. The host tells whom it sees: the stranger, or
// the gateway where the connection goes as a stream.
func TestForward(t *testing.T) {
	_, err := exec.LookPath("nsenter")
	python, err2 := exec.LookPath("python3")
	if err != nil || err2 != nil || os.Geteuid() != 0 {
		t.Skip("it takes root, nsenter and python3 to serve and ask from hosts of the lab:", err, err2)
	}
	l := openLab(t, Config{Uplinks: pair(), Seed: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if l.keys, err = newKeys(); err != nil {
		t.Fatal(err)
	}
	if err := l.startDaemon(ctx, l.Exit, l.keys.exit, func(key string) string {
		return exitConfig(key, l.keys.gatewayPublic, false) + "[[gateway.forward]]\nport = 8443\n[[gateway.forward]]\nport = [8444, 8445]\nkeep_source = false\n" +
			"[[gateway.forward]]\nprotocol = \"udp\"\nport = [5000, 5001]\n"
	}); err != nil {
		t.Fatal(err)
	}
	lan := LAN4.String()
	if err := l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(key string) string {
		return gatewayConfig(key, l.keys.exitPublic, 1, true, "auto", "", "") +
			"[[forward]]\nport = 8443\nto = \"" + lan + ":443\"\n[[forward]]\nport = 8444\nkeep_source = false\nto = \"" + lan + ":443\"\n" +
			"[[forward]]\nport = 8445\nto = \"" + lan + ":443\"\n[[forward]]\nprotocol = \"udp\"\nport = 5000\nto = \"" + lan + "\"\n"
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitBond(ctx, bondTimeout); err != nil {
		t.Fatal(err)
	}
	in := func(h *Host, script string) *exec.Cmd {
		return exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(h.pid()), "-n", python, "-c", script)
	}
	// The server answers with the address it sees, on TCP 443 and UDP 5000, and says when it listens.
	server := in(l.LAN, `
import socket, threading
t = socket.create_server(("", 443)); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 5000))
def udp():
    while True:
        _, a = u.recvfrom(100); u.sendto(a[0].encode(), a)
threading.Thread(target=udp, daemon=True).start()
print("ready", flush=True)
while True:
    c, a = t.accept(); c.sendall(a[0].encode()); c.close()
`)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { server.Process.Kill(); server.Wait() }()
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatal("the server of the LAN does not start:", err)
	}
	const exit = "198.18.1.1"
	ask := func(script string) string {
		text, _ := in(l.Server, "import socket\n"+script).CombinedOutput()
		return strings.TrimSpace(string(text))
	}
	udp := func(port string) string {
		return ask("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.sendto(b'x', ('" + exit + "', " + port + ")); print(s.recvfrom(100)[0].decode())")
	}
	tcp := func(port string) string {
		return ask("print(socket.create_connection(('" + exit + "', " + port + "), 5).recv(100).decode())")
	}
	if got := tcp("8443"); got != Server4.String() {
		t.Errorf("TCP: the host saw %q, want %s", got, Server4)
	}
	if got, want := tcp("8444"), "192.168.77.1"; got != want {
		t.Errorf("TCP as a stream: the host saw %q, want the gateway, %s", got, want)
	}
	if got := tcp("8445"); !strings.Contains(got, "ConnectionResetError") {
		t.Errorf("a port for which the gateway keeps the client's address was carried as a stream: %q", got)
	}
	if got := udp("5000"); got != Server4.String() {
		t.Errorf("UDP: the host saw %q, want %s", got, Server4)
	}
	if got := udp("5001"); got == Server4.String() {
		t.Error("a port that the gateway does not list was led to the LAN")
	}
	for _, h := range []*Host{l.Gateway, l.Exit} {
		if err := h.call(ctx, "daemon.stop", stopArgs{}, nil); err != nil {
			t.Error(err)
		}
	}
}
