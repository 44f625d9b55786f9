package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child that serves operations.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	caller *caller
	log    *hostLog
}

// startProcess starts this executable in a role and waits until it answers.
// What it prints is kept, and copied to echo unless that is nil.
func startProcess(ctx context.Context, s *spawner, name, role string, cloneflags uintptr, files []*os.File, echo io.Writer) (*process, error) {
	p := &process{name: name, cmd: self(role, cloneflags), log: &hostLog{name: name, echo: echo}}
	p.cmd.ExtraFiles = files
	p.cmd.Stderr = p.log
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	var stdout io.Reader
	if err == nil {
		stdout, err = p.cmd.StdoutPipe()
	}
	if err == nil {
		err = s.start(p.cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.caller = newCaller(p.stdin, stdout)
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // it is a matter of milliseconds
	defer cancel()
	if err := p.call(ctx, "hello", nil, nil); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// call runs one operation in the process; see caller.call. An error says which
// process it was and what it printed last.
func (p *process) call(ctx context.Context, op string, args, result any) error {
	err := p.caller.call(ctx, op, args, result)
	if err == nil {
		return nil
	}
	if tail := p.log.tail(); tail != "" {
		return fmt.Errorf("%s: %w; its last words:\n%s", p.name, err, tail)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// stop ends the process and everything in it.
func (p *process) stop() {
	p.stdin.Close()
	select {
	case <-p.caller.gone:
	case <-time.After(2 * time.Second):
		p.cmd.Process.Kill()
		<-p.caller.gone
	}
	p.cmd.Wait()
}

// Host is one machine of the lab: a child process in network and mount
// namespaces of its own.
type Host struct {
	*process
	socket int // our end of the one that brings file descriptors
}

// startHost starts a host and waits until it answers.
func startHost(ctx context.Context, s *spawner, name string, echo io.Writer) (*Host, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket for host %s: %w", name, err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "fds")
	defer theirs.Close()
	p, err := startProcess(ctx, s, name, roleHost, hostNamespaces, []*os.File{theirs}, echo)
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	return &Host{process: p, socket: pair[0]}, nil
}

// pid is the process that owns the host's namespaces.
func (h *Host) pid() int { return h.cmd.Process.Pid }

// net applies changes to the host's network, in order.
func (h *Host) net(ctx context.Context, steps ...netStep) error {
	return h.call(ctx, "net", steps, nil)
}

// tun makes a TUN device on the host and returns its file descriptor, which is
// the caller's to close.
func (h *Host) tun(ctx context.Context, name string, mtu int) (*os.File, error) {
	if err := h.call(ctx, "tun", tunArgs{name, mtu}, nil); err != nil {
		return nil, err
	}
	fd, err := receiveFD(h.socket)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// stop ends the host.
func (h *Host) stop() {
	h.process.stop()
	unix.Close(h.socket)
}

// hostLog keeps the last lines a host and its daemon have printed.
type hostLog struct {
	name string
	echo io.Writer // may be nil

	mu    sync.Mutex
	part  []byte
	lines []string
}

const hostLogLines = 40

// Write takes output in pieces.
func (l *hostLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, b...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte("\n"))
		if !ok {
			break
		}
		l.lines = append(l.lines, string(line))
		if len(l.lines) > hostLogLines {
			l.lines = l.lines[1:]
		}
		if l.echo != nil {
			fmt.Fprintf(l.echo, "[%s] %s\n", l.name, line)
		}
		l.part = append(l.part[:0], rest...)
	}
	return len(b), nil
}

func (l *hostLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
