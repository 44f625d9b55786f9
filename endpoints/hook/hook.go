package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

const (
	// Pause is the least time between two starts of one Runner: a line that flaps must not make the machine busy with telling so.
	Pause = 10 * time.Second
	// maxOutput is what of a command's output is kept, bytes.
	maxOutput = 4096
	// killWait bounds the wait for the output of children that keep it open after the command has ended.
	killWait = time.Second
)

// Event is something to be told.
type Event struct {
	Command string
	Env     []string // beside the environment of this process, "NAME=value"
	Timeout time.Duration
}

// Result is what became of a command.
type Result struct {
	Command string
	Output  string
	Err     error // that it could not be run, failed, or was killed
	Took    time.Duration
}

// Runner runs the commands of one thing.
type Runner struct {
	done func(Result)
	run  func(ctx context.Context, e Event) (string, error)

	mu      sync.Mutex
	next    *Event // guarded by mu
	running bool   // guarded by mu
	last    time.Time
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// New makes a Runner. It tells done what became of each command, in its own goroutine.
func New(done func(Result)) *Runner {
	r := &Runner{done: done, run: shell}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Tell has the command run, soon. It does not wait.
func (r *Runner) Tell(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	r.next = &e
	if !r.running {
		r.running = true
		r.wg.Go(r.loop) // joined by Close
	}
}

func (r *Runner) loop() {
	for {
		r.mu.Lock()
		wait := time.Until(r.last.Add(Pause))
		if r.last.IsZero() {
			wait = 0
		}
		if r.next == nil || r.ctx.Err() != nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		if wait <= 0 {
			e := *r.next
			r.next, r.last = nil, time.Now()
			r.mu.Unlock()
			r.one(e)
			continue
		}
		r.mu.Unlock()
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-r.ctx.Done():
			pause.Stop()
		}
	}
}

func (r *Runner) one(e Event) {
	ctx, cancel := context.WithTimeout(r.ctx, e.Timeout)
	defer cancel()
	start := time.Now()
	out, err := r.run(ctx, e)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("killed after %v", e.Timeout)
	}
	r.done(Result{e.Command, out, err, time.Since(start)})
}

// Close kills what runs, forgets what waits, and joins the goroutine.
func (r *Runner) Close() {
	r.mu.Lock()
	r.stop() // under the lock, so that no Tell comes after it
	r.mu.Unlock()
	r.wg.Wait()
}

// shell runs a command with /bin/sh.
func shell(ctx context.Context, e Event) (string, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", e.Command)
	cmd.Env = append(os.Environ(), e.Env...)
	var out limited
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = killWait
	ownGroup(cmd)
	err := cmd.Run()
	endGroup(cmd)
	return out.String(), err
}

// limited keeps the first maxOutput bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), maxOutput-l.Len())])
	return len(p), nil
}
