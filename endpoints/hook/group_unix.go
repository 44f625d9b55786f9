//go:build unix

package hook

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the command the head of a process group, which dies with it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// endGroup kills what the command has left running in its group. The number of the group cannot be another's while one of it lives, and if
// none does there is nobody to be hit: numbers are given out again only after all others.
func endGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails when none is left
	}
}
