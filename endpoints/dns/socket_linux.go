package dns

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen opens both sockets of a server. The address need not be there yet (IP_FREEBIND). With a device, only what comes in by it is heard.
func Listen(ctx context.Context, at netip.AddrPort, device string) (net.PacketConn, net.Listener, error) {
	lc := net.ListenConfig{Control: control(func(fd int, v6 bool) error {
		if device != "" {
			if err := unix.BindToDevice(fd, device); err != nil {
				return err
			}
		}
		if v6 {
			return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
		}
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
	})}
	lc.SetMultipathTCP(false) // one short exchange with a neighbour
	p, err := lc.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return nil, nil, err
	}
	l, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		p.Close()
		return nil, nil, err
	}
	return p, l, nil
}

// Dialer connects with a firewall mark on the socket; 0: none.
func Dialer(mark uint32) func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{}
	if mark != 0 {
		d.Control = control(func(fd int, _ bool) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)) })
	}
	d.SetMultipathTCP(false)
	return func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, network, to.String())
	}
}

func control(set func(fd int, v6 bool) error) func(network, _ string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var err error
		if outer := c.Control(func(fd uintptr) { err = set(int(fd), network[len(network)-1] == '6') }); outer != nil {
			return outer
		}
		return err
	}
}
