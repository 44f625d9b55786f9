package endpoints

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/uplink"
)

// multipath is what a node asks of the kernel's MPTCP. A host without it has a nil one.
type multipath struct {
	support   func() mptcp.Support
	dial      func(ctx context.Context, o mptcp.Options, to netip.AddrPort) (net.Conn, error)
	read      func(c net.Conn) (mptcp.Info, error) // matches mptcp.ErrPlain for plain TCP
	endpoints func() (endpointManager, error)
}

// endpointManager is what is used of an mptcp.Manager, which says what each method does.
type endpointManager interface {
	Raise(announced bool) error
	Sync(want []mptcp.Endpoint) error
	Fail(e mptcp.Endpoint) error
	Close() error
}

// realMultipath is that of the kernel.
func realMultipath() *multipath {
	return &multipath{
		support: mptcp.Check,
		dial: func(ctx context.Context, o mptcp.Options, to netip.AddrPort) (net.Conn, error) {
			c, err := mptcp.Dial(ctx, o, to)
			if err != nil {
				return nil, err // never an interface around a nil pointer
			}
			return c, nil
		},
		read: func(c net.Conn) (mptcp.Info, error) {
			if tcp, ok := c.(*net.TCPConn); ok {
				return mptcp.Read(tcp)
			}
			return mptcp.Info{}, mptcp.ErrPlain
		},
		endpoints: func() (endpointManager, error) {
			m, err := mptcp.Open()
			if err != nil {
				return nil, err
			}
			return m, nil
		},
	}
}

// mptcpSupport is what the kernel can do.
func (h *host) mptcpSupport() mptcp.Support {
	if h.multipath == nil {
		return mptcp.Support{Missing: "this machine has no MPTCP"}
	}
	return h.multipath.support()
}

// isMPTCP tells whether a connection has not fallen back to plain TCP.
func (h *host) isMPTCP(c net.Conn) bool {
	if h.multipath == nil {
		return false
	}
	_, err := h.multipath.read(c)
	return err == nil
}

// listenExit opens an exit's listener, for hellos and carriers. The unspecified IPv6 address serves both families, or IPv4 alone where there
// is no IPv6.
func listenExit(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	address := at.String()
	if at.Addr() == netip.IPv6Unspecified() {
		address = ":" + strconv.Itoa(int(at.Port()))
	}
	return mptcp.Listen(ctx, address)
}

// mptcpSysctls are the settings for MPTCP that a gateway wants while it runs.
func mptcpSysctls() []uplink.Item {
	var out []uplink.Item
	for key, value := range mptcp.Sysctls() {
		out = append(out, uplink.Sysctl{Key: key, Value: value})
	}
	return out
}
