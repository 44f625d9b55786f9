package mptcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentLimit is how much data, in bytes, may wait in a socket that could not be sent
// yet: what is there cannot be taken back, and delays what comes behind. It is
// 10 ms at 100 Mbit/s, and one burst of the kernel's MPTCP scheduler is 64 KB.
const unsentLimit = 128 << 10

// receiveBuffer is the receive buffer of a connection, in bytes as the kernel counts them, with what it spends on packets. MPTCP keeps in it what
// has overtaken something on another path, and takes nothing more from its subflows once it is full, not even what is missing: the
// connection then stands still for good. A buffer that the kernel sizes itself gets there, for its window is 61 % of the buffer, and
// full segments need 1.8 times their bytes (seen with Linux 6.18). So it is larger than what a stream of a carrier has under way, which is 4 MB and
// needs 8, by so much that four of them may be held up together. Nothing is allocated before it is needed.
const receiveBuffer = 32 << 20

// receiveBufferLeast makes a fixed buffer better than one that the kernel sizes: it is for one stream.
const receiveBufferLeast = 8 << 20

// Dial connects. Whether the connection has several paths is for Read to tell: the
// other end may not speak MPTCP, and then it is plain TCP.
func Dial(ctx context.Context, o Options, to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	d.SetMultipathTCP(!o.Plain)
	d.Control = func(_, _ string, c syscall.RawConn) error { return o.prepare(c) }
	if o.Source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: o.Source.AsSlice(), Zone: o.Source.Zone()}
	}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// Listen makes a listener that takes MPTCP and plain TCP.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return Options{}.prepare(c) }}
	l.SetMultipathTCP(true)
	return l.Listen(ctx, "tcp", address)
}

// prepare sets the options of a socket before it connects or listens.
func (o Options) prepare(c syscall.RawConn) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		s := int(fd)
		_ = unix.SetsockoptString(s, unix.IPPROTO_TCP, unix.TCP_CONGESTION, Cubic)       // what BBR has begun, to space packets, goes on when it has gone
		_ = unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLimit) // not before Linux 6.11 for MPTCP
		if !o.Plain {
			setReceiveBuffer(s)
		}
		if o.Device != "" {
			if err = unix.SetsockoptString(s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, o.Device); err != nil {
				err = fmt.Errorf("bind a connection to %s: %w", o.Device, err)
			}
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

// setReceiveBuffer gives a socket its receive buffer, of which it is told half. It has to come before the handshake, which decides how large a window
// there can be. Who may not exceed the machine's limit takes that, if it will do: older kernels have 208 KB, and there the kernel goes on sizing the buffer.
func setReceiveBuffer(s int) {
	if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer/2) == nil {
		return
	}
	b, err := os.ReadFile(procNet + "core/rmem_max")
	if err != nil {
		return
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n >= receiveBufferLeast/2 {
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer/2)
	}
}

// SetCongestion changes the congestion control of a connection and of the subflows that it has; those that join later get the one with which the socket was
// made. One that is not to be had, or a connection that is closed, changes nothing.
func SetCongestion(c net.Conn, name string) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) })
}
