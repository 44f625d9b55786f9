package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"
)

// Config describes a lab.
type Config struct {
	Uplinks []Uplink
	Remotes int       // addresses of the exit; 0 means 1
	Home    *Home     // relays and a VPN; nil for neither
	Seed    uint64    // of the accidents on the links
	Log     io.Writer // where to copy what hosts and daemons print; may be nil
	// Profiles is a directory for CPU profiles of the daemons, gateway.pprof and
	// exit.pprof, written when they end; "" for none.
	Profiles string
	Bench    bool   // the exit serves `bondd bench live`
	Bare     bool   // the uplinks are bare wires: no emulator, no rate, no delay
	Streams  bool   // the gateway carries TCP as streams, as it does by default; otherwise as packets
	Extra    string // of the gateway's configuration, behind the least there has to be; with Mode "auto" that has no [stream]
	// Mode is the gateway's stream.mode; "" means "bond": the stream service alone.
	Mode    string
	NoMPTCP []string // hosts on which the kernel's MPTCP is off, by name: "gateway", "exit"
	Strip   []int    // uplinks on which a box removes the MPTCP option from TCP packets
	NoUDP   []int    // uplinks on which a box drops UDP
}

// Lab is a running lab. Its measuring methods may be used side by side.
type Lab struct {
	LAN, Gateway, Exit, Server *Host
	Relays                     []*Host

	cfg      Config
	spawner  *spawner
	spinner  *exec.Cmd
	emulator *process
	devices  []*os.File // TUN devices, the gateway's and the exit's of each uplink, until the emulator has them
	runs     atomic.Uint64
	keys     *keys
}

// Open builds a lab: hosts, wires, uplinks, emulator, traffic servers. bondd
// does not run yet. Close ends it; so does the end of this process, however
// it comes.
func Open(ctx context.Context, cfg Config) (*Lab, error) {
	for _, u := range cfg.Uplinks {
		if err := u.Link.Check(); err != nil {
			return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
		}
	}
	for _, i := range slices.Concat(cfg.Strip, cfg.NoUDP) {
		if i < 0 || i >= len(cfg.Uplinks) {
			return nil, fmt.Errorf("there is no uplink %d: there are %d, from 0", i, len(cfg.Uplinks))
		}
	}
	l := &Lab{cfg: cfg, spawner: newSpawner()}
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lab) open(ctx context.Context) error {
	for _, h := range []struct {
		name string
		to   **Host
	}{{"lan", &l.LAN}, {"gateway", &l.Gateway}, {"exit", &l.Exit}, {"server", &l.Server}} {
		host, err := startHost(ctx, l.spawner, h.name, l.cfg.Log)
		if err != nil {
			return err
		}
		*h.to = host
	}
	if l.cfg.Home != nil {
		for k := range l.cfg.Home.Relays {
			h, err := startHost(ctx, l.spawner, relayIf(k), l.cfg.Log)
			if err != nil {
				return err
			}
			l.Relays = append(l.Relays, h)
		}
	}
	if err := l.wire(ctx); err != nil {
		return err
	}
	if err := l.startSpinner(); err != nil {
		return err
	}
	if !l.cfg.Bare {
		if err := l.startEmulator(ctx); err != nil {
			return err
		}
	}
	if err := l.forwarding(ctx, true); err != nil {
		return err
	}
	return l.Server.call(ctx, "serve", nil, nil)
}

// startSpinner keeps the processors awake while the lab is open.
func (l *Lab) startSpinner() error {
	cmd := self(roleSpin, 0)
	if _, err := cmd.StdinPipe(); err != nil { // closed by our end, whatever it is
		return err
	}
	if err := l.spawner.start(cmd); err != nil {
		return fmt.Errorf("start the spinner: %w", err)
	}
	l.spinner = cmd
	return nil
}

// hosts are those that run.
func (l *Lab) hosts() []*Host {
	var out []*Host
	for _, h := range append([]*Host{l.LAN, l.Gateway, l.Exit, l.Server}, l.Relays...) {
		if h != nil {
			out = append(out, h)
		}
	}
	return out
}

// Close ends every process of the lab; their namespaces go with them.
func (l *Lab) Close() {
	if l.emulator != nil {
		l.emulator.stop()
	}
	if l.spinner != nil {
		l.spinner.Process.Kill()
		l.spinner.Wait()
	}
	for _, h := range l.hosts() {
		h.stop()
	}
	for _, f := range l.devices {
		f.Close()
	}
	l.spawner.close()
}

// Unplug sets the gateway's interface of uplink i down, as when a cable is pulled
// or a modem hangs up; the kernel takes its routes away.
func (l *Lab) Unplug(ctx context.Context, i int) error {
	return l.Gateway.net(ctx, netStep{Do: "down", Link: l.cfg.Uplinks[i].Name})
}

// Plug ends what Unplug began.
func (l *Lab) Plug(ctx context.Context, i int) error {
	return l.Gateway.net(ctx, l.gatewayRoutes(i)...)
}

// TCP makes bulk transfers between the LAN host and the server and returns what
// the receiver saw. Flows that ended early are in the result, not an error.
func (l *Lab) TCP(ctx context.Context, spec TCPSpec) (TCPResult, error) {
	spec.Flows = max(1, spec.Flows)
	if !spec.Server.IsValid() {
		spec.Server = Server4
	}
	id := l.runs.Add(1)
	var res TCPResult
	if err := l.LAN.call(ctx, "tcp.run", tcpArgs{TCPSpec: spec, Run: id}, &res); err != nil {
		return res, err
	}
	var far TCPResult
	err := l.Server.call(ctx, "tcp.collect", collectArgs{id}, &far)
	if spec.Up {
		if err != nil && res.Err() != nil {
			return res, nil // nothing arrived, and the client says why
		}
		res.Series = far.Series
		return res, err
	}
	return res, nil
}

// UDP sends datagrams at a constant rate between the LAN host and the server.
func (l *Lab) UDP(ctx context.Context, spec UDPSpec) (UDPResult, error) {
	if !spec.Server.IsValid() {
		spec.Server = Server4
	}
	id := l.runs.Add(1)
	var near, far UDPResult
	if err := l.LAN.call(ctx, "udp.run", udpArgs{UDPSpec: spec, Run: id}, &near); err != nil {
		return near, err
	}
	if spec.Up {
		if err := pause(ctx, spec.Linger); err != nil { // what is still in queues
			return near, err
		}
	}
	if err := l.Server.call(ctx, "udp.collect", collectArgs{id}, &far); err != nil {
		return near, err
	}
	if spec.Up {
		far.Sent = near.Sent
		return far, nil
	}
	near.Sent = far.Sent
	return near, nil
}

// Ping sends echoes from the LAN host.
func (l *Lab) Ping(ctx context.Context, spec PingSpec) (Pings, error) {
	if !spec.Target.IsValid() {
		spec.Target = Server4
	}
	var res Pings
	err := l.LAN.call(ctx, "ping", spec, &res)
	return res, err
}

// pause waits, or returns the reason why ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
