package lab

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

// HostMain turns this process into what the lab started it for: a host, a
// daemon, a spinner. It returns at once when the lab did not start it, and
// never otherwise. Programs and test binaries that open labs call it before
// anything else.
func HostMain() {
	role := os.Getenv(envRole)
	if role == "" {
		return
	}
	os.Unsetenv(envRole)
	code := 1
	switch role {
	case roleHost:
		code = hostMain()
	case roleDaemon:
		code = daemonMain()
	case rolePeer:
		code = wireGuardMain()
	case roleSpin:
		code = spinMain()
	case roleLinks:
		code = linksMain()
	case roleUrgent:
		code = emulatorMain()
	case roleProbe:
		code = probeMain()
	default:
		fmt.Fprintf(os.Stderr, "%s=%q is not a role of the lab; unset it\n", envRole, role)
	}
	os.Exit(code)
}

// fdSocket is the number under which a host finds the socket that carries file
// descriptors to the parent: the first of exec.Cmd.ExtraFiles.
const fdSocket = 3

// runDir is a directory of the host's own: a tmpfs that no other process sees
// and that is gone with the last process of the host.
const runDir = "/run"

// prepareHost makes the fresh namespaces usable: mounts that stay inside, an
// empty /run (the daemon's socket, keys and configuration live there), and a
// loopback interface.
func prepareHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the host's mounts its own: %w", err)
	}
	if err := unix.Mount("tmpfs", runDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", runDir, err)
	}
	return linkUp("lo")
}

// testOps are what tests want of a host besides.
var testOps map[string]operation

func hostMain() int {
	debug.SetGCPercent(400) // small heaps; the traffic generator should not collect all the time
	if err := prepareHost(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h := &host{spawner: newSpawner(), traffic: newTraffic()}
	ops := map[string]operation{
		"hello":     op(func(context.Context, struct{}) (int, error) { return os.Getpid(), nil }),
		"net":       op(func(_ context.Context, steps []netStep) (struct{}, error) { return struct{}{}, applySteps(steps) }),
		"tun":       op(h.tun),
		"file":      op(h.file),
		"multipath": op(multipath),
		"netcheck": op(func(ctx context.Context, file string) (*endpoints.Netcheck, error) {
			cfg, err := config.Load(file)
			if err != nil {
				return nil, err
			}
			return endpoints.CheckNetwork(ctx, cfg, ""), nil
		}),
		"state":         op(netState),
		"daemon.start":  op(h.startDaemon),
		"daemon.stop":   op(h.stopDaemon),
		"daemon.usage":  op(h.daemonUsage),
		"daemon.memory": op(h.daemonMemory),
		"daemon.status": op(func(ctx context.Context, _ struct{}) (*endpoints.Status, error) {
			return endpoints.ReadStatus(ctx, config.DefaultControl) // in the host's own /run
		}),
		"exec":        op(h.exec),
		"exec.end":    op(h.endPrograms),
		"exec.usage":  op(h.programTime),
		"serve":       op(h.traffic.serve),
		"tcp.run":     op(h.traffic.tcpRun),
		"tcp.collect": op(h.traffic.tcpCollect),
		"tcp.fetch":   op(h.traffic.fetch),
		"udp.run":     op(h.traffic.udpRun),
		"udp.collect": op(h.traffic.udpCollect),
		"flood.count": op(floodCount),
		"flood.send":  op(floodSend),
		"ping":        op(ping),
	}
	maps.Copy(ops, testOps)
	serve(context.Background(), os.Stdin, os.Stdout, ops)
	return 0 // the parent is gone or done; what we started dies with us
}

// host is the state of a host process.
type host struct {
	spawner *spawner
	traffic *traffic
	daemon  daemon

	programs programs
}

type tunArgs struct {
	Name string `json:"name"`
	MTU  int    `json:"mtu"`
}

// tun makes a TUN device and sends its file descriptor to the parent.
func (h *host) tun(_ context.Context, a tunArgs) (struct{}, error) {
	fd, err := openTun(a.Name, a.MTU)
	if err != nil {
		return struct{}{}, err
	}
	defer unix.Close(fd)
	return struct{}{}, sendFD(fdSocket, fd)
}

type fileArgs struct {
	Name string `json:"name"` // below runDir
	Text string `json:"text"`
}

// file writes a file readable by its owner alone and returns its path.
func (h *host) file(_ context.Context, a fileArgs) (string, error) {
	path := filepath.Join(runDir, a.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(a.Text), 0o600)
}

// untilEOF returns when the parent closed our standard input, or died.
func untilEOF() { io.Copy(io.Discard, os.Stdin) }
