package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run inside a host. It dies with the host.
type Command struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env"` // beside the host's own
	// Background: it goes on; its output is among the host's last words.
	Background bool `json:"background"`
}

// execOutput bounds what is kept of a program's output, in bytes.
const execOutput = 1 << 20

// Run runs a program inside the host and returns its output. In the background it
// returns at once.
func (h *Host) Run(ctx context.Context, c Command) (string, error) {
	var out string
	err := h.call(ctx, "exec", c, &out)
	return out, err
}

// File writes a file inside the host, below a directory that goes with it,
// readable by root alone, and returns its path.
func (h *Host) File(ctx context.Context, name, text string) (string, error) {
	var path string
	err := h.call(ctx, "file", fileArgs{name, text}, &path)
	return path, err
}

// EndPrograms ends all programs in the background of the host, and waits for them.
func (h *Host) EndPrograms(ctx context.Context) error { return h.call(ctx, "exec.end", nil, nil) }

// ProgramTime is the processor time of the programs in the background, user and
// system, to 10 ms.
func (h *Host) ProgramTime(ctx context.Context) (t time.Duration, err error) {
	err = h.call(ctx, "exec.usage", nil, &t)
	return t, err
}

// programs are those in the background of a host.
type programs struct {
	mu      sync.Mutex
	running map[*exec.Cmd]chan struct{} // closed when it has ended; guarded by mu
}

func (h *host) exec(_ context.Context, c Command) (string, error) {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if c.Background {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // standard output is for answers
		if err := h.spawner.start(cmd); err != nil {
			return "", err
		}
		ended := make(chan struct{})
		h.programs.mu.Lock()
		if h.programs.running == nil {
			h.programs.running = map[*exec.Cmd]chan struct{}{}
		}
		h.programs.running[cmd] = ended
		h.programs.mu.Unlock()
		go func() { // ends with the program
			fmt.Fprintf(os.Stderr, "%s ended: %s\n", c.Argv[0], cmp(cmd.Wait(), "exit status 0"))
			h.programs.mu.Lock()
			delete(h.programs.running, cmd)
			h.programs.mu.Unlock()
			close(ended)
		}()
		return "", nil
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.spawner.start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	text := out.String()[:min(out.Len(), execOutput)]
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", strings.Join(c.Argv, " "), err, text)
	}
	return text, nil
}

func (h *host) endPrograms(context.Context, struct{}) (struct{}, error) {
	h.programs.mu.Lock()
	var all []chan struct{}
	for cmd, ended := range h.programs.running {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // with what it has started: each has a group of its own
		all = append(all, ended)
	}
	h.programs.mu.Unlock()
	for _, ended := range all {
		<-ended
	}
	return struct{}{}, nil
}

func (h *host) programTime(context.Context, struct{}) (sum time.Duration, _ error) {
	h.programs.mu.Lock()
	defer h.programs.mu.Unlock()
	for cmd := range h.programs.running {
		t, err := processTime(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}
