package hook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// collect makes a Runner whose results come by a channel.
func collect(t *testing.T) (*Runner, chan Result) {
	results := make(chan Result, 16)
	r := New(func(x Result) { results <- x })
	t.Cleanup(r.Close)
	return r, results
}

func TestCommandIsRunWithTheFacts(t *testing.T) {
	r, results := collect(t)
	r.Tell(Event{Command: `echo "$BONDD_UPLINK is $BONDD_EVENT"; echo oh >&2; exit 3`, Env: []string{"BONDD_UPLINK=dsl", "BONDD_EVENT=down"}, Timeout: time.Minute})
	x := <-results
	if x.Output != "dsl is down\noh\n" || x.Err == nil || x.Err.Error() != "exit status 3" {
		t.Errorf("%q, %v", x.Output, x.Err)
	}
}

// A command that does not end is killed, with what it has started; so is one that ends and leaves something behind, and one under way at
// Close.
func TestNothingSurvives(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		timeout time.Duration
		close   bool
	}{
		"timeout":     {"sleep 600 & echo $! > FILE.new; mv FILE.new FILE; wait", 100 * time.Millisecond, false},
		"left behind": {"sleep 600 >/dev/null 2>&1 & echo $! > FILE.new; mv FILE.new FILE", time.Minute, false},
		"close":       {"sleep 600 & echo $! > FILE.new; mv FILE.new FILE; wait", time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			r, results := collect(t)
			r.Tell(Event{Command: strings.ReplaceAll(c.command, "FILE", file), Timeout: c.timeout})
			read := func() (pid int) {
				for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
					if text, err := os.ReadFile(file); err == nil {
						fmt.Sscan(string(text), &pid)
						return pid
					}
				}
				t.Skip("the machine is too busy to start a command in time")
				return 0
			}
			var pid int
			if c.close {
				pid = read()
				r.Close()
			}
			x := <-results
			if !c.close {
				pid = read()
			}
			if name == "timeout" && (x.Err == nil || x.Err.Error() != "killed after 100ms") {
				t.Errorf("it says %v", x.Err)
			}
			for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && !zombie(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("process %d lives", pid)
				}
			}
		})
	}
}

// zombie tells of a process whether it is dead and waits for its new parent to notice.
func zombie(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, ok := strings.Cut(string(text), ") ")
	return ok && strings.HasPrefix(state, "Z")
}

func TestNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		r := New(func(Result) {})
		start := time.Now()
		r.run = func(ctx context.Context, e Event) (string, error) {
			ran = append(ran, fmt.Sprintf("%s at %v", e.Command, time.Since(start)))
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
			return "", nil
		}
		tell := func(s string) { r.Tell(Event{Command: s, Timeout: time.Minute}) }
		tell("down")
		synctest.Wait()
		tell("up")
		tell("down again")
		time.Sleep(time.Second)
		tell("up again")
		time.Sleep(time.Minute)
		tell("down at last")
		synctest.Wait()
		tell("never")
		r.Close()
		tell("after the end")
		want := "[down at 0s up again at 10s down at last at 1m1s]"
		if got := fmt.Sprint(ran); got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestOutputIsBounded(t *testing.T) {
	var l limited
	for range 100 {
		if n, err := l.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if l.Len() != maxOutput {
		t.Errorf("%d bytes are kept", l.Len())
	}
}
