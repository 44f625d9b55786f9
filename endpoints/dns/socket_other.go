//go:build !linux

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

// Listen always fails: a gateway is a Linux machine.
func Listen(context.Context, netip.AddrPort, string) (net.PacketConn, net.Listener, error) {
	return nil, nil, fmt.Errorf("%w: answering DNS is done on Linux only, not on %s", errors.ErrUnsupported, runtime.GOOS)
}

// Dialer connects; there are no marks here.
func Dialer(uint32) func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	return func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, to.String())
	}
}
