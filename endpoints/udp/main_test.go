//go:build linux

package udp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace marks the child process that has a network namespace of its own, where tests may change interfaces.
const inNamespace = "BONDD_UDP_TEST_NAMESPACE"

// TestMain runs the tests again in a child with its own network namespace (and user namespace, without root). Where that
// is not allowed they run here, and those that need one skip.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		if err := linkUp("lo", true); err != nil {
			fmt.Fprintln(os.Stderr, "bring lo up:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		os.Exit(m.Run())
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(1, exit.ExitCode()))
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func needNamespace(t *testing.T) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("no network namespace of our own: this system does not allow one")
	}
}

// ifIoctl changes an interface of the test's own namespace.
func ifIoctl(name string, op uint, fill func(*unix.Ifreq)) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	fill(req)
	return unix.IoctlIfreq(fd, op, req)
}

func linkUp(name string, up bool) error {
	return ifIoctl(name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) {
		if up {
			r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		} else {
			r.SetUint16(0)
		}
	})
}

func setMTU(t *testing.T, name string, mtu uint32) {
	t.Helper()
	if err := ifIoctl(name, unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(mtu) }); err != nil {
		t.Fatalf("set MTU of %s: %v", name, err)
	}
}
