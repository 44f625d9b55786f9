package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// envVanish makes the test binary open a lab, print its process group's
// members, and wait to be killed.
const envVanish = "BONDD_LAB_TEST_VANISH"

func vanishMain() {
	l, err := Open(context.Background(), Config{Uplinks: []Uplink{{"line", link.Config{Rate: 1e6}}}})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println(l.LAN.pid(), l.Gateway.pid(), l.Exit.pid(), l.Server.pid(), l.emulator.cmd.Process.Pid, l.spinner.Process.Pid)
	select {}
}

// TestVanish kills the process that opened a lab, with SIGKILL, and waits until
// nothing of the lab is left.
func TestVanish(t *testing.T) {
	needLab(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envVanish+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	pids := strings.Fields(line)
	if err != nil || len(pids) != 6 || pids[0] == "error" {
		t.Fatalf("the lab said %q, %v", line, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %s of the lab has outlived it", pid)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
}

// alive reports whether a process exists and is not merely waiting to be
// reaped by whoever inherited it.
func alive(pid string) bool {
	if _, err := strconv.Atoi(pid); err != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
