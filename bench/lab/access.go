package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotAllowed: neither this user nor a user namespace may make network
// namespaces and TUN devices here.
var ErrNotAllowed = errors.New("network namespaces and TUN devices are not allowed here, neither to this user nor in a user namespace")

const hostNamespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS

// Enter makes sure that a lab can be opened. Where this user may not, but a
// user namespace may, it runs the whole program again inside one and returns
// done = true with the exit code to leave with. Where nothing helps it returns
// ErrNotAllowed with the reason.
//
// It is to be called early, before anything has been printed or changed.
func Enter() (code int, done bool, err error) {
	asIs := probe(hostNamespaces)
	if asIs == nil {
		return 0, false, nil
	}
	if os.Getenv(envAllowed) != "" {
		return 0, false, fmt.Errorf("%w: %v", ErrNotAllowed, asIs)
	}
	if inside := probe(hostNamespaces | syscall.CLONE_NEWUSER); inside != nil {
		return 0, false, fmt.Errorf("%w: %v", ErrNotAllowed, inside)
	}
	code, err = again()
	return code, true, err
}

// asRoot maps the user to root of the new user namespace.
func asRoot(cmd *exec.Cmd) {
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}

// probe tries, in a child, what every host of a lab does first.
func probe(cloneflags uintptr) error {
	cmd := self(roleProbe, cloneflags)
	cmd.SysProcAttr.Pdeathsig = 0 // short-lived, and not started from a lasting thread
	if cloneflags&syscall.CLONE_NEWUSER != 0 {
		asRoot(cmd)
	}
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	if text := strings.TrimSpace(out.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// probeMain is the child of probe.
func probeMain() int {
	if err := prepareHost(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fd, err := openTun("probe0", 1500)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	unix.Close(fd)
	return 0
}

// again runs this program with the same arguments in a user namespace of its
// own, and waits for it.
func again() (int, error) {
	s := newSpawner()
	defer s.close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envAllowed+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	asRoot(cmd)
	// A Ctrl-C reaches the child as well; it ends the lab, and then we follow.
	// A plain SIGTERM is meant for both and is passed on.
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(sig)
	if err := s.start(cmd); err != nil {
		return 0, fmt.Errorf("start in a user namespace: %w", err)
	}
	go func() { // ends with the process
		for got := range sig {
			if got == syscall.SIGTERM {
				cmd.Process.Signal(got)
			}
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
