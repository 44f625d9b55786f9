package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is the Linux Socket: a non-blocking descriptor in the runtime's poller.
type socket struct {
	file   *os.File
	raw    syscall.RawConn
	local  netip.AddrPort
	v6     bool // an AF_INET6 socket, IPv4 peers in mapped form
	gro    bool
	gso    atomic.Bool
	closed atomic.Bool

	readBuffer, writeBuffer int

	counters
	reader reader
	writer writer
}

// Listen opens a UDP socket. ctx is only asked whether it is over; nothing here waits.
func Listen(ctx context.Context, opts Options) (Socket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.Portable {
		return listenPortable(ctx, opts)
	}
	local := opts.Local
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	wildcard := !local.Addr().IsValid() || local.Addr() == netip.IPv6Unspecified()
	if wildcard {
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())
	}
	s, err := listen(local, opts)
	if wildcard && errors.Is(err, unix.EAFNOSUPPORT) {
		s, err = listen(netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()), opts)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on UDP %v: %w", local, err)
	}
	return s, nil
}

func listen(local netip.AddrPort, opts Options) (*socket, error) {
	family := unix.AF_INET
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	// Raw calls rather than package net: all of them run on this thread, in its network namespace.
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &socket{v6: family == unix.AF_INET6}
	if err := s.setUp(fd, local, opts); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.file = os.NewFile(uintptr(fd), "udp") // owns fd from here
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	s.reader.init(s)
	s.writer.init(s)
	return s, nil
}

// setUp sets the options and binds.
func (s *socket) setUp(fd int, local netip.AddrPort, opts Options) error {
	set := func(what string, level, name, value int) error {
		if err := unix.SetsockoptInt(fd, level, name, value); err != nil {
			return fmt.Errorf("set %s: %w", what, err)
		}
		return nil
	}
	if opts.Device != "" {
		if err := bindDevice(fd, opts.Device); err != nil {
			return err
		}
	}
	if opts.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(int32(opts.Mark))); err != nil {
			return fmt.Errorf("set firewall mark %#x (SO_MARK): %w%s", opts.Mark, err, rights(err, "CAP_NET_ADMIN"))
		}
	}
	dual := s.v6 && local.Addr().IsUnspecified()
	errs := []error{
		set("SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1),
	}
	if s.v6 {
		only := 1
		if dual {
			only = 0
		}
		errs = append(errs,
			set("IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, only),
			set("IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1), // brings IPv4 addresses too, in mapped form
			set("IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1),
			set("IPV6_MTU_DISCOVER", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE))
	} else {
		errs = append(errs, set("IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, 1))
	}
	if !s.v6 || dual {
		errs = append(errs,
			set("IP_RECVTOS", unix.SOL_IP, unix.IP_RECVTOS, 1),
			set("IP_MTU_DISCOVER", unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.readBuffer = setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, opts.ReadBuffer)
	s.writeBuffer = setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, opts.WriteBuffer)
	if !opts.NoOffload {
		// A kernel that knows UDP_SEGMENT (4.18) can tell its value; one that knows UDP_GRO (5.0) takes it.
		_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		s.gso.Store(err == nil)
		s.gro = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	}

	var name [sockaddrLen]byte
	if _, err := putSockaddr(name[:], s.v6, local); err != nil {
		return err
	}
	if err := unix.Bind(fd, toSockaddr(local, name[:])); err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			hint = ": another process listens there"
		case errors.Is(err, unix.EADDRNOTAVAIL):
			hint = ": this host does not have the address"
		}
		return fmt.Errorf("bind: %w%s", err, hint)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	port := local.Port()
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		port = uint16(b.Port)
	case *unix.SockaddrInet6:
		port = uint16(b.Port)
	}
	s.local = netip.AddrPortFrom(local.Addr(), port)
	return nil
}

// toSockaddr is local in the form that unix.Bind takes; name is what putSockaddr made of it.
func toSockaddr(local netip.AddrPort, name []byte) unix.Sockaddr {
	if local.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}
	}
	scope := nativeUint32(name[24:])
	return &unix.SockaddrInet6{Port: int(local.Port()), Addr: local.Addr().As16(), ZoneId: scope}
}

func bindDevice(fd int, device string) error {
	err := unix.BindToDevice(fd, device)
	if err == nil {
		return nil
	}
	hint := rights(err, "CAP_NET_RAW")
	if errors.Is(err, unix.ENODEV) {
		hint = ": there is no such interface"
	}
	return fmt.Errorf("bind to interface %q (SO_BINDTODEVICE): %w%s", device, err, hint)
}

// rights says what is missing where err is about rights.
func rights(err error, capability string) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return ": this needs " + capability + " in the network namespace, run as root"
	}
	return ""
}

// setBuffer asks for a socket buffer of so many bytes, beyond the system's limit where that is allowed, and returns what is granted,
// which Linux gives as twice what it counts payload for (socket(7)). To get less than asked is no error.
func setBuffer(fd, force, name, size int) int {
	if size <= 0 {
		size = DefaultBuffer
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, size)
	}
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
	if err != nil {
		return 0
	}
	return n
}

// LocalAddr implements Socket.
func (s *socket) LocalAddr() netip.AddrPort { return s.local }

// Stats implements Socket.
func (s *socket) Stats() Stats {
	st := s.counters.stats()
	st.GSO, st.GRO = s.gso.Load(), s.gro
	st.ReadBuffer, st.WriteBuffer = s.readBuffer, s.writeBuffer
	return st
}

// Close implements Socket.
func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.file.Close()
}

// waitError is the error of a wait in the poller.
func (s *socket) waitError(err error) error {
	if s.closed.Load() || errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	return err
}
