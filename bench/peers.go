package bench

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/endpoints/mptcp"
)

// peer is another way to carry the LAN's traffic over the lines of a lab: the kernel's own, or made of programs that are installed here.
type peer struct {
	name    string
	needs   []string      // programs
	lacks   func() string // what of the kernel is missing, "" for nothing; may be nil
	carrier carrier
}

// peers are those the bench can set up.
var peers = []peer{
	// Plain TCP with CUBIC over the uplink that was the best alone: a home without any of this, with echoes beside it.
	{"plain", nil, nil, carrier{start: nothing, stop: nothing, usage: noTime, plain: true}},
	// The kernel's MPTCP between the ends themselves, as if the LAN's hosts stood at the uplinks, with CUBIC and with BBR.
	{"kernel", nil, lacksMPTCP, carrier{start: startKernel, stop: nothing, usage: noTime, onlyTCP: true, survives: true, multipath: true}},
	{"kernel-bbr", nil, lacksBBR, carrier{start: startKernel, stop: nothing, usage: noTime, onlyTCP: true, survives: true, multipath: true, congestion: mptcp.BBR}},
	// One UDP tunnel over the first uplink, with a static key: what bonds nothing, and costs what it costs.
	{"openvpn", []string{"openvpn"}, nil, carrier{start: startOpenVPN, stop: endPeer, usage: peerTime}},
	// Likewise; it is a library of this program, and always there.
	{"wireguard-go", nil, nil, carrier{start: startWireGuard, stop: stopBond, usage: bondTime}},
	// The gateway of 2014: the LAN's TCP goes by redsocks into shadowsocks, whose connections are the kernel's MPTCP, with the congestion control
	// that this machine has for its own: a namespace cannot have another.
	{"seedstack", []string{"redsocks", "ss-local", "ss-server", "mptcpize", "nft", "ip"}, lacksMPTCP,
		carrier{start: startSeed, stop: endPeer, usage: peerTime, onlyTCP: true, survives: true, note: seedNote}},
}

func peerNames() []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.name)
	}
	return out
}

// absent says why a peer cannot be measured here; "" when it can.
func (p peer) absent() string {
	var missing []string
	for _, program := range p.needs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return strings.Join(missing, ", ") + " not installed"
	}
	if p.lacks != nil {
		return p.lacks()
	}
	return ""
}

// presentPeers leaves out, and names, those that cannot be measured here.
func presentPeers(names []string, stderr io.Writer) (out []string) {
	for _, p := range peers {
		if !slices.Contains(names, p.name) {
			continue
		}
		if why := p.absent(); why != "" {
			fmt.Fprintf(stderr, "%s is absent: %s\n", p.name, why)
			continue
		}
		out = append(out, p.name)
	}
	return out
}

func lacksMPTCP() string { return mptcp.Check().Missing }

func lacksBBR() string {
	s := mptcp.Check()
	if s.Missing == "" && s.Congestion != mptcp.BBR {
		return "the kernel has no BBR (modprobe tcp_bbr)"
	}
	return s.Missing
}

// nothing is what has to be done for what is there anyway.
func nothing(context.Context, *lab.Lab) error { return nil }

func startWireGuard(ctx context.Context, l *lab.Lab) error { return l.StartWireGuard(ctx) }

// peerWait bounds the wait for the first byte through a peer.
const peerWait = 20 * time.Second

func endPeer(ctx context.Context, l *lab.Lab) error {
	if err := l.Gateway.EndPrograms(ctx); err != nil {
		return err
	}
	return l.Exit.EndPrograms(ctx)
}

func peerTime(ctx context.Context, l *lab.Lab) (time.Duration, error) {
	a, err := l.Gateway.ProgramTime(ctx)
	if err != nil {
		return 0, err
	}
	b, err := l.Exit.ProgramTime(ctx)
	return a + b, err
}

// script runs commands on a host, one per line, as a shell would without quotes;
// those that begin with & go on in the background.
func script(ctx context.Context, h *lab.Host, text string) error {
	for line := range strings.Lines(text) {
		line, background := strings.CutPrefix(strings.TrimSpace(line), "& ")
		if line == "" {
			continue
		}
		if _, err := h.Run(ctx, lab.Command{Argv: strings.Fields(line), Background: background}); err != nil {
			return err
		}
	}
	return nil
}

func startOpenVPN(ctx context.Context, l *lab.Lab) error {
	key, err := l.Gateway.Run(ctx, lab.Command{Argv: []string{"openvpn", "--genkey", "secret", "/dev/stdout"}})
	if err != nil {
		return err
	}
	for _, side := range []struct {
		host *lab.Host
		args string
	}{
		{l.Exit, "--local " + lab.ExitAddr.String() + " --lport 1194 --ifconfig 10.8.0.1 10.8.0.2 --route 192.168.77.0 255.255.255.0"},
		{l.Gateway, "--nobind --remote " + lab.ExitAddr.String() + " 1194 --ifconfig 10.8.0.2 10.8.0.1 --route 198.18.1.0 255.255.255.0"},
	} {
		file, err := side.host.File(ctx, "peer/openvpn.key", key)
		if err != nil {
			return err
		}
		if err := script(ctx, side.host, "& openvpn --dev vpn0 --dev-type tun --proto udp --cipher AES-256-CBC --verb 1 --secret "+file+" "+side.args); err != nil {
			return err
		}
	}
	return l.WaitBond(ctx, peerWait)
}

// Ports of the 2014 stack, inside the lab's hosts.
const (
	seedRedsocks = "12345"
	seedSOCKS    = "1080"
	seedServer   = "8388"
)

func startSeed(ctx context.Context, l *lab.Lab) error {
	conf, err := l.Gateway.File(ctx, "peer/redsocks.conf", `base { log_info = off; log = "stderr"; daemon = off; redirector = iptables; }
redsocks { local_ip = 0.0.0.0; local_port = `+seedRedsocks+`; ip = 127.0.0.1; port = `+seedSOCKS+`; type = socks5; }
`)
	if err != nil {
		return err
	}
	rules, err := l.Gateway.File(ctx, "peer/redirect.nft", `table ip peer {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		ip saddr `+lab.LAN4.String()+` meta l4proto tcp redirect to :`+seedRedsocks+`
	}
}
`)
	if err != nil {
		return err
	}
	var subflows strings.Builder
	for i, name := range l.UplinkNames() {
		a := lab.GatewayAddr(i)
		fmt.Fprintf(&subflows, "ip rule add from %s lookup %d\n", a, lab.PlainTable(i))
		if i > 0 { // the first is where the first subflow goes anyway
			fmt.Fprintf(&subflows, "ip mptcp endpoint add %s dev %s subflow\n", a, name)
		}
	}
	const cipher = "-k bench -m aes-256-gcm"
	exit := lab.ExitAddr.String()
	if err := script(ctx, l.Exit, "ip mptcp limits set subflow 8 add_addr_accepted 8\n"+
		"& mptcpize run ss-server -s "+exit+" -p "+seedServer+" "+cipher); err != nil {
		return err
	}
	if err := script(ctx, l.Gateway, "ip mptcp limits set subflow 8 add_addr_accepted 8\n"+subflows.String()+
		"& mptcpize run ss-local -s "+exit+" -p "+seedServer+" -l "+seedSOCKS+" "+cipher+"\n"+
		"& redsocks -c "+conf+"\nnft -f "+rules); err != nil {
		return err
	}
	var last error
	for end := time.Now().Add(peerWait); time.Now().Before(end); {
		res, err := l.TCP(ctx, lab.TCPSpec{Source: lab.LAN4, Flows: 1, Duration: time.Second})
		if err == nil && res.Between(0, time.Second) > 0 {
			return nil
		}
		if last = err; err == nil {
			last = res.Err()
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil { // redsocks ends the connection at once while ss-local does not listen
			return err
		}
	}
	return fmt.Errorf("nothing has come through within %v: %w", peerWait, last)
}

// seedNote says with which congestion control the programs send.
func seedNote(ctx context.Context, l *lab.Lab) (string, error) {
	name, err := l.Exit.Run(ctx, lab.Command{Argv: []string{"cat", "/proc/sys/net/ipv4/tcp_congestion_control"}})
	return "seedstack's programs send with the congestion control of this machine: " + strings.TrimSpace(name), err
}
