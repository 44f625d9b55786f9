package mptcp

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const procNet = "/proc/sys/net/"

// Check looks at the kernel, in the calling thread's network namespace.
func Check() Support {
	var s Support
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		s.Missing = "the kernel does not speak MPTCP"
		if b, rerr := os.ReadFile(procNet + "mptcp/enabled"); rerr == nil && strings.TrimSpace(string(b)) == "0" {
			s.Missing = "MPTCP is switched off (sysctl net.mptcp.enabled=0)"
		}
		return s
	}
	defer unix.Close(fd)
	if _, err := os.Stat(procNet + "mptcp/enabled"); err != nil {
		s.Missing = "the kernel does not say whether MPTCP is on (no sysctl net.mptcp.enabled)"
	}
	// What a socket takes is the truth: the module may have to be loaded, and not everybody may use it.
	if unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, BBR) == nil {
		s.Congestion = BBR
	}
	return s
}

// Sysctls lists what is to be set on a machine that dials, "key" to value. A connection that
// lost its first packets would otherwise switch MPTCP off for an hour, everywhere
// (blackhole_timeout): whether an uplink strips it is for its owner to find out.
func Sysctls() map[string]string {
	const key = "mptcp/blackhole_timeout" // since Linux 6.12
	if unix.Access(procNet+key, unix.W_OK) != nil {
		return nil // there is none, or it cannot be changed from within a container
	}
	return map[string]string{"net/" + key: "0"}
}

// Controls lists the congestion controls of this kernel, sorted.
func Controls() []string {
	b, err := os.ReadFile(procNet + "ipv4/tcp_available_congestion_control")
	if err != nil {
		return nil
	}
	return slices.Sorted(slices.Values(strings.Fields(string(b))))
}
