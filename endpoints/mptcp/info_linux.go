package mptcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From include/uapi/linux/mptcp.h.
const (
	solMPTCP      = 284
	mptcpInfo     = 1
	mptcpFullInfo = 4

	infoFallback = 1 << 0 // in mptcpi_flags

	stateEstablished = 1 // TCP_ESTABLISHED

	maxInfo     = 256 // room for struct mptcp_info, which has 96 bytes on Linux 6.18
	maxSubflows = 32  // that are read; a connection has 8 at most with the Manager's limit
	addrPair    = 256 // bytes of struct mptcp_subflow_addrs: two sockaddr_storage
	sizeSubflow = 264 // room for struct mptcp_subflow_info: an id and the addresses, aligned
)

// fullInfo is struct mptcp_full_info.
type fullInfo struct {
	tcpKernel, tcpUser         uint32
	subflowKernel, subflowUser uint32
	subflows, arrays           uint32
	subflowInfo, tcpInfo       uint64
	info                       [maxInfo]byte
}

// Read tells what became of a connection. The error matches ErrPlain when it is TCP
// over one path.
func Read(c *net.TCPConn) (Info, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Info{}, err
	}
	var out Info
	ctlErr := raw.Control(func(fd uintptr) { out, err = read(int(fd)) })
	if ctlErr != nil {
		return Info{}, ctlErr
	}
	return out, err
}

func read(fd int) (Info, error) {
	// The kernel fills in what it has and says how much; older ones have less.
	var b [maxInfo]byte
	n, err := getsockopt(fd, mptcpInfo, unsafe.Pointer(&b), len(b))
	switch {
	case isPlain(err):
		return Info{}, ErrPlain
	case err != nil:
		return Info{}, fmt.Errorf("ask the kernel about an MPTCP connection: %w", err)
	}
	count, fallback := parseInfo(b[:n])
	if fallback {
		return Info{}, ErrPlain
	}
	out := Info{Count: count}
	subflows, err := readSubflows(fd)
	if err == nil && len(subflows) > 0 {
		out.Count, out.Subflows = len(subflows), subflows
	} else if isPlain(err) && !errors.Is(err, unix.EOPNOTSUPP) {
		return Info{}, ErrPlain // it fell back between the two questions
	}
	return out, nil
}

// isPlain tells whether the kernel says that a socket is not MPTCP (any more): EOPNOTSUPP or
// EINVAL for IPv4, ENOPROTOOPT for IPv6.
func isPlain(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOPROTOOPT)
}

// parseInfo reads struct mptcp_info as far as it goes.
func parseInfo(b []byte) (subflows int, fallback bool) {
	if len(b) > 0 {
		subflows = int(b[0]) + 1 // mptcpi_subflows does not count the first
	}
	if len(b) >= 12 {
		fallback = binary.NativeEndian.Uint32(b[8:])&infoFallback != 0
	}
	if len(b) > 80 && b[80] > 0 {
		subflows = int(b[80]) // mptcpi_subflows_total, since Linux 6.6
	}
	return subflows, fallback
}

func readSubflows(fd int) ([]Subflow, error) {
	const sizeTCP = int(unsafe.Sizeof(unix.TCPInfo{}))
	addrs := make([]byte, maxSubflows*sizeSubflow)
	tcp := make([]byte, maxSubflows*sizeTCP)
	var pin runtime.Pinner // the kernel is given their addresses as numbers
	pin.Pin(&addrs[0])
	pin.Pin(&tcp[0])
	defer pin.Unpin()
	f := &fullInfo{
		tcpUser: uint32(sizeTCP), subflowUser: sizeSubflow, arrays: maxSubflows,
		subflowInfo: uint64(uintptr(unsafe.Pointer(&addrs[0]))), tcpInfo: uint64(uintptr(unsafe.Pointer(&tcp[0]))),
	}
	// The kernel wants the size it knows at most; what is behind mptcp_info does not interest it.
	if _, err := getsockopt(fd, mptcpFullInfo, unsafe.Pointer(f), int(unsafe.Sizeof(*f))); err != nil {
		return nil, err
	}
	return parseSubflows(int(min(f.subflows, maxSubflows)), int(f.subflowKernel), addrs, tcp), nil
}

// parseSubflows reads n subflows. kernelSize is the kernel's size of struct mptcp_subflow_info, whose
// last member are the addresses.
func parseSubflows(n, kernelSize int, addrs, tcp []byte) []Subflow {
	const sizeTCP = int(unsafe.Sizeof(unix.TCPInfo{}))
	at := kernelSize - addrPair
	if at < 4 || at > sizeSubflow-addrPair {
		return nil
	}
	var out []Subflow
	for i := range n {
		a := addrs[i*sizeSubflow+at:][:addrPair]
		var t unix.TCPInfo
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), sizeTCP), tcp[i*sizeTCP:][:sizeTCP])
		if t.State != stateEstablished {
			continue // the first subflow is listed also after it was closed
		}
		out = append(out, Subflow{
			Local: parseSockaddr(a[:addrPair/2]), Remote: parseSockaddr(a[addrPair/2:]),
			RTT: time.Duration(t.Rtt) * time.Microsecond, MinRTT: time.Duration(t.Min_rtt) * time.Microsecond,
			Rate: float64(t.Delivery_rate), Sent: t.Bytes_sent, Received: t.Bytes_received, Retransmitted: t.Bytes_retrans,
			Acked: t.Bytes_acked, CongestionState: t.Ca_state,
		})
	}
	return out
}

// parseSockaddr reads a struct sockaddr_in or sockaddr_in6; the zero AddrPort for anything else.
func parseSockaddr(b []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(b[2:])
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), port)
	}
	return netip.AddrPort{}
}

// getsockopt returns how many bytes the kernel has written.
func getsockopt(fd, option int, to unsafe.Pointer, size int) (int, error) {
	n := uint32(size)
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), solMPTCP, uintptr(option), uintptr(to), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
