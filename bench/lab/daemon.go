package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// daemon is bondd in a process of its own inside a host, so that it can be
// killed and started again while the host's network stays.
type daemon struct {
	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when the process has ended
	spent time.Duration // processor time of predecessors
}

type daemonArgs struct {
	Role    string `json:"role"`              // roleDaemon or rolePeer
	Config  string `json:"config"`            // path of the configuration
	Profile string `json:"profile,omitempty"` // path of a CPU profile to write
}

// envConfig carries the path of the configuration to the daemon process.
const envConfig = "BONDD_LAB_CONFIG"

func (h *host) startDaemon(_ context.Context, a daemonArgs) (int, error) {
	d := &h.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd != nil {
		return 0, errors.New("the daemon runs already")
	}
	cmd := self(a.Role, 0)
	cmd.Env = append(cmd.Env, envConfig+"="+a.Config, envProfile+"="+a.Profile)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := h.spawner.start(cmd); err != nil {
		return 0, err
	}
	d.cmd, d.stdin, d.done = cmd, stdin, make(chan struct{})
	go func(done chan struct{}) { // ends with the daemon
		err := cmd.Wait()
		fmt.Fprintf(os.Stderr, "daemon ended: %v\n", cmp(err, "exit status 0"))
		d.mu.Lock()
		if d.cmd == cmd {
			d.cmd = nil
			d.spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
		d.mu.Unlock()
		close(done)
	}(d.done)
	return cmd.Process.Pid, nil
}

func cmp(err error, ok string) string {
	if err == nil {
		return ok
	}
	return err.Error()
}

type stopArgs struct {
	Kill bool `json:"kill"` // SIGKILL, as a crash; else SIGTERM
}

// stopDaemon ends the daemon and waits for its end.
func (h *host) stopDaemon(_ context.Context, a stopArgs) (struct{}, error) {
	d := &h.daemon
	d.mu.Lock()
	cmd, done := d.cmd, d.done
	d.mu.Unlock()
	if cmd == nil {
		return struct{}{}, errors.New("no daemon runs")
	}
	sig := unix.SIGTERM
	if a.Kill {
		sig = unix.SIGKILL
	}
	cmd.Process.Signal(sig) // fails only when it has just ended
	select {
	case <-done:
		return struct{}{}, nil
	case <-time.After(10 * time.Second):
		cmd.Process.Kill()
		return struct{}{}, errors.New("the daemon did not end within 10 s of SIGTERM and was killed")
	}
}

// daemonUsage is the processor time all daemons of this host have used, user
// and system, to the kernel's 10 ms.
func (h *host) daemonUsage(context.Context, struct{}) (time.Duration, error) {
	d := &h.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return d.spent, nil
	}
	t, err := processTime(d.cmd.Process.Pid)
	return d.spent + t, err
}

// daemonMemory is the resident memory of the daemon in bytes.
func (h *host) daemonMemory(context.Context, struct{}) (int64, error) {
	d := &h.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return 0, errors.New("no daemon runs")
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(d.cmd.Process.Pid) + "/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text) // proc(5): total, resident, ... in pages
	if len(fields) < 2 {
		return 0, errors.New("unexpected form of /proc/PID/statm")
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// processTime is the user and system time of a process, to the kernel's 10 ms.
func processTime(pid int) (time.Duration, error) {
	p, err := readProcStat(pid)
	return time.Duration(p.ticks) * 10 * time.Millisecond, err
}
