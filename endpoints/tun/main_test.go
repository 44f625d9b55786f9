//go:build linux

package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace marks the child process that has a network namespace of its own, where tests may change interfaces.
const inNamespace = "BONDD_TUN_TEST_NAMESPACE"

// TestMain runs the tests again in a child with its own network namespace (and user namespace, without root). Where that
// is not allowed they run here, and those that need one skip.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		if err := linkUp("lo", true); err != nil {
			fmt.Fprintln(os.Stderr, "bring lo up:", err)
			os.Exit(1)
		}
		// A congestion control that measures rates goes astray on a busy test machine.
		_ = os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte("reno"), 0o644)
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

// addIPv4 gives an interface an address in a /24.
func addIPv4(name string, a netip.Addr) error {
	ip := a.As4()
	if err := ifIoctl(name, unix.SIOCSIFADDR, func(r *unix.Ifreq) { r.SetInet4Addr(ip[:]) }); err != nil {
		return err
	}
	return ifIoctl(name, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) { r.SetInet4Addr([]byte{255, 255, 255, 0}) })
}

// addIPv6 gives an interface an address in a /64.
func addIPv6(name string, a netip.Addr) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	// struct ifaddrmsg and one IFA_LOCAL attribute (rtnetlink(7)).
	body := []byte{unix.AF_INET6, 64, unix.IFA_F_NODAD, 0}
	body = binary.NativeEndian.AppendUint32(body, uint32(ifi.Index))
	body = binary.NativeEndian.AppendUint16(body, 4+16)
	body = binary.NativeEndian.AppendUint16(body, unix.IFA_LOCAL)
	ip := a.As16()
	return netlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(body, ip[:]...))
}

// removeLink deletes an interface.
func removeLink(name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(ifi.Index))
	return netlinkRequest(unix.RTM_DELLINK, 0, body)
}

// netlinkRequest makes one rtnetlink request and waits for its answer.
func netlinkRequest(typ, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, typ)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(append(msg, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink answered %x", answer[:n])
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}
