package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/endpoints/config"
)

// TestMain is bondd where this program goes by that name, and a host of the lab where the lab has started it.
func TestMain(m *testing.M) {
	lab.HostMain()
	if filepath.Base(os.Args[0]) == "bondd" {
		main()
	}
	os.Exit(m.Run())
}

// snippet is a fenced block of the guide. Its tag is a language, hosts, and how it is to be tried:
//
//	sh           run on the hosts, in order
//	sh … foreground   run until the gateway is up, then interrupted
//	sh … vlan    run where the kernel has VLANs
//	toml         becomes the host's configuration
//	toml … add   is added to it
//	toml … try   is parsed only
type snippet struct {
	line     int
	chapter  string // number of the chapter
	language string
	words    []string
	text     string
}

func (s snippet) has(word string) bool { return slices.Contains(s.words, word) }

// guide reads the snippets of docs/setup.md.
func guide(t *testing.T) (out []snippet) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "docs/setup.md"))
	if err != nil {
		t.Fatal(err)
	}
	chapter, in := "", false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```") && !in:
			words := strings.Fields(line[3:])
			if len(words) < 2 {
				t.Fatalf("setup.md:%d: a block without language and host would not be tried", i+1)
			}
			in, out = true, append(out, snippet{line: i + 1, chapter: chapter, language: words[0], words: words[1:]})
		case strings.HasPrefix(line, "```"):
			in = false
		case in:
			out[len(out)-1].text += line + "\n"
		case strings.HasPrefix(line, "## "):
			chapter, _, _ = strings.Cut(line[3:], ".")
		}
	}
	return out
}

// TestGuideFiles parses every configuration of the guide, and looks for every command that it should show.
func TestGuideFiles(t *testing.T) {
	keys := map[string]string{"gateway": newPublic(t), "exit": newPublic(t), "exit2": newPublic(t)}
	files, commands := map[string]string{}, ""
	for _, s := range guide(t) {
		if s.language == "sh" {
			commands += s.text
			continue
		}
		if s.language != "toml" {
			t.Errorf("setup.md:%d: nobody knows how to try %q", s.line, s.language)
			continue
		}
		text := s.text
		if s.has("add") {
			text = files[s.words[0]] + "\n" + text
		}
		if !s.has("try") {
			files[s.words[0]] = text
		}
		if _, err := config.Parse("bondd.toml", []byte(withKeys(text, keys))); err != nil {
			t.Errorf("setup.md:%d: %v", s.line, err)
		}
	}
	for _, c := range []string{"genkey", "check", "check --plan", "rules", "netcheck", "run", "status", "status --json", "top", "reload", "path"} {
		if !strings.Contains(commands, "bondd "+c) {
			t.Errorf("the guide does not show bondd %s", c)
		}
	}
}

// TestHome2014Names holds that every test that docs/home2014.md names is there.
func TestHome2014Names(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs/home2014.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, room := range []string{"bench/lab", "cmd/bondd", "endpoints", "endpoints/*", "tunnel/control"} {
		files, err := filepath.Glob(filepath.Join(root(t), room, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests = append(tests, source...)
		}
	}
	names := regexp.MustCompile(`\bTest[A-Z0-9]\w*`).FindAllString(string(text), -1)
	if len(names) < 20 {
		t.Fatalf("the page names %d tests, so this one proves nothing", len(names))
	}
	for _, name := range names {
		if !strings.Contains(string(tests), "func "+name+"(t ") {
			t.Errorf("there is no %s", name)
		}
	}
}

func newPublic(t *testing.T) string {
	t.Helper()
	private, err := config.NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := config.PublicKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func withKeys(text string, keys map[string]string) string {
	return strings.NewReplacer("PUBLIC KEY OF THE GATEWAY", keys["gateway"], "PUBLIC KEY OF THE EXIT", keys["exit"],
		"PUBLIC KEY OF THE SECOND EXIT", keys["exit2"]).Replace(text)
}

// inLab are the names and addresses of the guide as the lab has them. No hook of the lab signals a pppd of this machine.
var inLab = strings.NewReplacer("pkill -HUP pppd", "true", "relay.example.net", "198.18.10.2", "us.example.net", "198.18.10.2", "exit.example.net", lab.ExitAddr.String(), "192.168.1.", "192.168.77.", "eth0", "lan0")

// reader does what the guide says.
type reader struct {
	t     *testing.T
	lab   *lab.Lab
	hosts map[string]*lab.Host
	keys  map[string]string // public, by host
	files map[string]string // configurations, by host
	bin   string            // what a host has at hand: bondd, docs, and a systemctl
}

// systemctl takes the place of systemd's, of which a host of the lab has none. It obeys the unit that the guide has installed; to start a program
// that stays is left to the test, in /run/start.
const systemctl = `#!/bin/sh
unit=/etc/systemd/system/bondd.service
stop() { [ ! -e /run/pid ] || { p=$(cat /run/pid); kill "$p"; while kill -0 "$p" 2>/dev/null; do sleep 0.02; done; rm /run/pid; }; }
case "$*" in
daemon-reload) [ -s $unit ] ;;
"enable --now bondd") sed -n 's/^ExecStart=//p' $unit > /run/start ;;
"restart bondd") stop; sed -n 's/^ExecStart=//p' $unit > /run/start ;;
"stop bondd") stop ;;
"reload bondd") exec $(sed -n 's/^ExecReload=//p' $unit) ;;
*) echo "systemctl $*: not here" >&2; exit 1 ;;
esac
`

// newReader opens a lab whose hosts have a private /etc and a private place for programs.
func newReader(t *testing.T, home *lab.Home, host func(l *lab.Lab) map[string]*lab.Host) *reader {
	t.Helper()
	if testing.Short() {
		t.Skip("runs in real time; skipped with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("it takes root to make hosts with a network and an /etc of their own")
	}
	line := link.Config{Rate: 20e6, Delay: 5 * time.Millisecond, Queue: 50 * time.Millisecond}
	l, err := lab.Open(t.Context(), lab.Config{Seed: 1, Home: home, Uplinks: []lab.Uplink{{Name: "ppp0", Link: line}, {Name: "wwan0", Link: line}}})
	if errors.Is(err, lab.ErrNotAllowed) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	r := &reader{t: t, lab: l, hosts: host(l), keys: map[string]string{}, files: map[string]string{}, bin: t.TempDir()}
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(os.Symlink(self, filepath.Join(r.bin, "bondd")), os.Symlink(filepath.Join(root(t), "docs"), filepath.Join(r.bin, "docs")),
			os.WriteFile(filepath.Join(r.bin, "systemctl"), []byte(systemctl), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name := range r.hosts {
		r.run(name, `for d in /etc /usr/local/bin /var/lib; do mount -t tmpfs tmpfs $d; done
mkdir -p /etc/systemd/system`)
		t.Cleanup(func() {
			r.hosts[name].Run(context.WithoutCancel(t.Context()), lab.Command{Argv: []string{"sh", filepath.Join(r.bin, "systemctl"), "stop", "bondd"}})
		})
	}
	return r
}

// run runs commands on a host; what they print is returned. The first that fails ends the test.
func (r *reader) run(host, text string) string {
	r.t.Helper()
	out, err := r.hosts[host].Run(r.t.Context(), lab.Command{Argv: []string{"sh", "-exc", "cd " + r.bin + "; PATH=/usr/local/bin:" + r.bin + ":$PATH\n" + text}})
	if err != nil {
		r.t.Fatal(r.lab.Explain(fmt.Errorf("on %s: %w", host, err)))
	}
	return out
}

// background runs a command that stays on a host.
func (r *reader) background(host, text string) {
	r.t.Helper()
	_, err := r.hosts[host].Run(r.t.Context(), lab.Command{Background: true,
		Argv: []string{"sh", "-ec", "PATH=/usr/local/bin:$PATH; echo $$ > /run/pid; exec " + text}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.waitFor(host, 0)
}

// waitFor waits until bondd answers on a host, and so many paths of it are up.
func (r *reader) waitFor(host string, paths int) {
	r.t.Helper()
	var why error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		st, err := r.lab.Status(r.t.Context(), r.hosts[host])
		if why = err; err != nil {
			continue
		}
		up := 0
		for _, s := range st.Sessions {
			for _, p := range s.Stats.Paths {
				if p.State == "up" {
					up++
				}
			}
		}
		if up >= paths {
			return
		}
		why = fmt.Errorf("on %s %d paths are up, not %d", host, up, paths)
	}
	r.t.Fatal(r.lab.Explain(why))
}

// publicKey is what genkey has printed last.
var publicKey = regexp.MustCompile(`(?m)^[A-Za-z0-9+/]{43}=$`)

// confined has a command run with the capabilities that the unit leaves it, and with no way to others, where setpriv(1) can do that.
func (r *reader) confined(command string) string {
	r.t.Helper()
	path, err := exec.LookPath("setpriv")
	if err != nil {
		return command
	}
	unit, err := os.ReadFile(filepath.Join(root(r.t), "docs/systemd/bondd.service"))
	if err != nil {
		r.t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(unit), "\nCapabilityBoundingSet=")
	list, _, _ = strings.Cut(list, "\n")
	if !ok || list == "" {
		r.t.Fatal("the unit bounds no capabilities")
	}
	keep := strings.ToLower(strings.ReplaceAll(" "+list, " CAP_", ",+"))
	return path + " --no-new-privs --bounding-set=-all" + keep + " " + command
}

// try does what one snippet says, on one of its hosts.
func (r *reader) try(s snippet, host string) {
	r.t.Helper()
	r.t.Logf("setup.md:%d: %s %s on %s", s.line, s.language, s.words, host)
	text := inLab.Replace(withKeys(s.text, r.keys))
	if s.language == "toml" {
		if s.has("add") {
			text = r.files[host] + "\n" + text
		}
		r.files[host] = text
		r.run(host, "cat > /etc/bondd/bondd.toml <<'END'\n"+text+"END")
		return
	}
	if s.has("foreground") {
		r.background(host, strings.TrimSpace(text))
		r.waitFor(host, 2)
		r.run(host, "kill -INT $(cat /run/pid); while kill -0 $(cat /run/pid) 2>/dev/null; do sleep 0.02; done; rm /run/pid")
		return
	}
	out := r.run(host, text)
	if key := publicKey.FindString(out); key != "" && strings.Contains(text, "genkey") {
		r.keys[host] = key
	}
	if start := strings.TrimSpace(r.run(host, "cat /run/start 2>/dev/null && rm /run/start || true")); start != "" {
		for line := range strings.Lines(start) {
			if strings.HasPrefix(line, "/usr/local/bin/bondd run") {
				r.background(host, r.confined(strings.TrimSpace(line)))
			}
		}
	}
}

// TestGuide does what the guide says, on a gateway with two lines and a relay, with a LAN behind it.
func TestGuide(t *testing.T) {
	r := newReader(t, &lab.Home{Relays: 1}, func(l *lab.Lab) map[string]*lab.Host {
		return map[string]*lab.Host{"gateway": l.Gateway, "exit": l.Exit, "relay": l.Relays[0]}
	})
	chapter := "1"
	for _, s := range guide(t) {
		if s.has("try") || s.chapter != "1" && s.chapter != "2" {
			continue
		}
		if s.chapter != chapter {
			chapter = s.chapter
			if err := r.lab.WaitBond(t.Context(), 20*time.Second); err != nil { // the lab has no other way for the LAN
				t.Fatal(err)
			}
		}
		for _, host := range s.words {
			if r.hosts[host] != nil {
				r.try(s, host)
			}
		}
	}
	r.waitFor("gateway", 4) // two uplinks, to the exit and to the relay
	if out := r.run("gateway", "bondd status"); !strings.Contains(out, "lte:wwan0>198.18.10.2:7117") {
		t.Errorf("no path of LTE leads through the relay:\n%s", out)
	}
}

// TestGuideExits has two exits, the second one where else the relay is.
func TestGuideExits(t *testing.T) {
	r := newReader(t, &lab.Home{Relays: 1}, func(l *lab.Lab) map[string]*lab.Host {
		return map[string]*lab.Host{"gateway": l.Gateway, "exit": l.Exit, "exit2": l.Relays[0]}
	})
	first := true
	for _, s := range guide(t) {
		// What chapter 1 makes of both machines and of the exit, then chapter 4.
		if s.has("try") || s.chapter != "4" && (s.chapter != "1" || !s.has("exit") || s.has("add") || strings.Contains(s.text, "bondd reload")) {
			continue
		}
		for _, host := range s.words {
			if r.hosts[host] != nil && (s.chapter == "4" || host == "exit" || first) {
				r.try(s, host)
			}
		}
		first = false
	}
	r.waitFor("gateway", 6) // two uplinks and the VPN, to either exit
	out := r.run("gateway", "bondd status")
	for _, want := range []string{`(?m)^us +up\b`, `(?m)^from 192.168.77.20/32 +us +us$`, `(?m)^from 00:11:22:33:44:55 +us +us$`, `(?m)^to 203.0.113.0/24 +default +default$`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no line like %s:\n%s", want, out)
		}
	}
}

// TestGuideOneArm does it on a host with one interface, in whose LAN are the routers of two lines.
func TestGuideOneArm(t *testing.T) {
	r := newReader(t, nil, func(l *lab.Lab) map[string]*lab.Host {
		return map[string]*lab.Host{"pi": l.LAN, "exit": l.Exit, "router": l.Gateway}
	})
	// Both routers are one machine here. The internet knows the way back to the LAN, which it would have from their address translation.
	r.run("router", "ip address add 192.168.77.253/24 dev lan0")
	r.run("exit", "ip route add 192.168.77.0/24 dev ppp0")
	var exit, pi []snippet
	for _, s := range guide(t) {
		switch {
		case s.chapter == "1" && s.has("exit") && !s.has("add"):
			exit = append(exit, s)
		case s.chapter == "3":
			pi = append(pi, s)
		}
	}
	r.try(exit[0], "exit")
	r.try(pi[0], "pi")
	r.keys["gateway"] = r.keys["pi"]
	for _, s := range exit[1:] {
		if !strings.Contains(s.text, "bondd reload") { // of what is added
			r.try(s, "exit")
		}
	}
	vlan := true
	for _, s := range pi[1:] {
		if s.has("vlan") {
			// The routers' side first: it also tells whether this kernel has VLANs.
			if _, err := r.hosts["router"].Run(t.Context(), lab.Command{Argv: []string{"ip", "link", "add", "link", "lan0", "name", "lan0.10", "type", "vlan", "id", "10"}}); err != nil {
				t.Log("VLANs are not tried:", err)
				vlan = false
				continue
			}
			r.waitFor("pi", 2)
			r.run("router", `ip link add link lan0 name lan0.20 type vlan id 20
for i in 10 20; do ip address add 10.0.$i.1/24 dev lan0.$i; ip link set lan0.$i up; done`)
			r.run("exit", "ip route add 10.0.10.0/24 dev ppp0; ip route add 10.0.20.0/24 dev ppp0")
		}
		r.try(s, "pi")
		if s.has("vlan") { // what the DHCP clients do
			r.run("pi", "for i in 10 20; do ip address add 10.0.$i.2/24 dev lan0.$i; ip route add default via 10.0.$i.1 dev lan0.$i metric $i; done")
		}
	}
	if vlan {
		r.waitFor("pi", 2)
		if out := r.run("pi", "bondd status"); !strings.Contains(out, "lan0.20>") {
			t.Errorf("no path by the second VLAN:\n%s", out)
		}
	}
}
