package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

// keys are the key pairs of the two daemons, as text.
type keys struct{ gateway, exit, gatewayPublic, exitPublic string }

func newKeys() (*keys, error) {
	var k keys
	for _, p := range []struct{ private, public *string }{{&k.gateway, &k.gatewayPublic}, {&k.exit, &k.exitPublic}} {
		var err error
		if *p.private, err = config.NewPrivateKey(); err != nil {
			return nil, err
		}
		if *p.public, err = config.PublicKey(*p.private); err != nil {
			return nil, err
		}
	}
	return &k, nil
}

// gatewayConfig and exitConfig are what the daemons run with: nothing but the
// least a user has to write, and where the key is.
func gatewayConfig(keyFile, exitPublic string, remotes int, streams bool, mode, exit, tables string) string {
	var list []string
	for r := range max(1, remotes) {
		list = append(list, fmt.Sprintf("%q", remote(r).String()))
	}
	text := fmt.Sprintf("role = \"gateway\"\nprivate_key_file = %q\n[exit]\naddress = [%s]\nkey = %q\n%s",
		keyFile, strings.Join(list, ", "), exitPublic, exit)
	if !streams {
		text += "[stream]\nintercept = false\n"
	} else if mode != "auto" {
		if mode == "" {
			mode = "bond"
		}
		text += fmt.Sprintf("[stream]\nmode = %q\n", mode)
	}
	return text + tables
}

func exitConfig(keyFile, gatewayPublic string, bench bool, announce ...string) string {
	text := fmt.Sprintf("role = \"exit\"\nprivate_key_file = %q\n[[gateway]]\nname = \"lab\"\nkey = %q\n", keyFile, gatewayPublic)
	if bench || len(announce) > 0 {
		text += fmt.Sprintf("[stream]\nbench = %v\n", bench)
	}
	if len(announce) > 0 {
		text += fmt.Sprintf("announce = [%s]\n", strings.Join(announce, ", "))
	}
	return text
}

// Places of the daemon's files, below runDir.
const (
	keyName    = "bondd-lab/key"
	configName = "bondd-lab/bondd.toml"
)

// bondTimeout bounds the wait for the first answer through the bond. Over a
// satellite, TCP and TLS handshakes and path validation take about 4 s.
const bondTimeout = 20 * time.Second

// StartBond runs bondd on exit and gateway with keys of their own, and returns
// when an echo from the LAN to the server has come back through it.
func (l *Lab) StartBond(ctx context.Context) error {
	if err := l.forwarding(ctx, false); err != nil {
		return err
	}
	if l.keys == nil {
		k, err := newKeys()
		if err != nil {
			return err
		}
		l.keys = k
	}
	if err := l.StartExit(ctx); err != nil {
		return err
	}
	if err := l.startRelays(ctx); err != nil {
		return err
	}
	if err := l.StartGateway(ctx); err != nil {
		return err
	}
	return l.WaitBond(ctx, bondTimeout)
}

// WaitBond waits until an echo from the LAN to the server comes back through
// the bond. Each echo is a flow of its own: what address translation decided
// about an earlier one, before bondd was ready, does not count.
func (l *Lab) WaitBond(ctx context.Context, timeout time.Duration) error {
	const interval = 25 * time.Millisecond
	p, err := l.Ping(ctx, PingSpec{Source: LAN4, Interval: interval, Count: int(timeout / interval), Wait: time.Second, Fresh: true, First: true})
	if err != nil {
		return err
	}
	if len(p.RTTs()) == 0 {
		return l.Explain(fmt.Errorf("no echo has come through the bond within %v", timeout))
	}
	return nil
}

// ErrNoStreams is that of a gateway on which connections do not become streams.
var ErrNoStreams = errors.New("connections are not intercepted")

// WaitStreams waits until the gateway intercepts connections.
func (l *Lab) WaitStreams(ctx context.Context, timeout time.Duration) error {
	for end := time.Now().Add(timeout); ; {
		st, err := l.Status(ctx, l.Gateway)
		switch {
		case err != nil:
			return err
		case st.Streams != nil && st.Streams.Interception == "on":
			return nil
		case time.Now().After(end) && st.Streams != nil:
			return fmt.Errorf("%w: %s", ErrNoStreams, st.Streams.Interception)
		case time.Now().After(end):
			return ErrNoStreams
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// StartGateway and StartExit run bondd on one side. They return when the
// process exists.
func (l *Lab) StartGateway(ctx context.Context) error {
	exit, tables := l.homeConfig()
	return l.startDaemon(ctx, l.Gateway, l.keys.gateway, func(keyFile string) string {
		return gatewayConfig(keyFile, l.keys.exitPublic, l.cfg.Remotes, l.cfg.Streams, l.cfg.Mode, exit, tables) + l.cfg.Extra
	})
}

func (l *Lab) StartExit(ctx context.Context) error {
	return l.startDaemon(ctx, l.Exit, l.keys.exit, func(keyFile string) string {
		return exitConfig(keyFile, l.keys.gatewayPublic, l.cfg.Bench, l.announced()...)
	})
}

func (l *Lab) startDaemon(ctx context.Context, h *Host, key string, conf func(keyFile string) string) error {
	var keyFile, file string
	if err := h.call(ctx, "file", fileArgs{keyName, key + "\n"}, &keyFile); err != nil {
		return err
	}
	if err := h.call(ctx, "file", fileArgs{configName, conf(keyFile)}, &file); err != nil {
		return err
	}
	args := daemonArgs{Role: roleDaemon, Config: file}
	if l.cfg.Profiles != "" {
		args.Profile = filepath.Join(l.cfg.Profiles, h.name+".pprof")
	}
	return h.call(ctx, "daemon.start", args, nil)
}

// Kill ends the daemon of a host with SIGKILL, as a crash would.
func (l *Lab) Kill(ctx context.Context, h *Host) error {
	return h.call(ctx, "daemon.stop", stopArgs{Kill: true}, nil)
}

// StopBond ends both daemons in order, and restores plain forwarding.
func (l *Lab) StopBond(ctx context.Context) error {
	var errs []error
	for _, h := range []*Host{l.Gateway, l.Exit} {
		errs = append(errs, h.call(ctx, "daemon.stop", stopArgs{}, nil))
	}
	errs = append(errs, l.stopRelays(ctx), l.forwarding(ctx, true))
	return errors.Join(errs...)
}

// ProcessorTime is what the daemons of both sides have used so far, user and
// system, to 10 ms.
func (l *Lab) ProcessorTime(ctx context.Context) (time.Duration, error) {
	var sum time.Duration
	for _, h := range []*Host{l.Gateway, l.Exit} {
		var t time.Duration
		if err := h.call(ctx, "daemon.usage", nil, &t); err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// Memory is the resident memory of the daemon of a host, bytes.
func (l *Lab) Memory(ctx context.Context, h *Host) (int64, error) {
	var n int64
	err := h.call(ctx, "daemon.memory", nil, &n)
	return n, err
}

// Status is what the daemon of a host says about itself, as `bondd status`.
func (l *Lab) Status(ctx context.Context, h *Host) (*endpoints.Status, error) {
	var st *endpoints.Status
	err := h.call(ctx, "daemon.status", nil, &st)
	return st, err
}

// Explain adds to an error what the daemons of gateway and exit say about
// themselves, and what they printed last.
func (l *Lab) Explain(err error) error {
	if err == nil {
		return nil
	}
	// The error may be that the caller's context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, h := range []*Host{l.Gateway, l.Exit} {
		if st, e := l.Status(ctx, h); e == nil {
			if text, e := json.MarshalIndent(st, "", " "); e == nil {
				err = fmt.Errorf("%w\n%s, status:\n%s", err, h.name, text)
			}
		}
		if tail := h.log.tail(); tail != "" {
			err = fmt.Errorf("%w\n%s, last lines:\n%s", err, h.name, tail)
		}
	}
	return err
}
