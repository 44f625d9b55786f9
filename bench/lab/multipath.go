package lab

import (
	"context"
	"net/netip"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/mptcp"
)

// Multipath lets the kernel of the LAN host make subflows over every uplink, for TCP transfers with Multipath set.
func (l *Lab) Multipath(ctx context.Context) error {
	var addrs []netip.Addr
	for i := range l.cfg.Uplinks {
		addrs = append(addrs, Plain(i))
	}
	return l.LAN.call(ctx, "multipath", addrs, nil)
}

// Netcheck is what `bondd netcheck` finds on the gateway. It takes the configuration of StartGateway.
func (l *Lab) Netcheck(ctx context.Context) (*endpoints.Netcheck, error) {
	var n *endpoints.Netcheck
	err := l.Gateway.call(ctx, "netcheck", filepath.Join(runDir, configName), &n)
	return n, err
}

// multipath makes endpoints for addresses of the LAN host, which end with its namespace.
func multipath(_ context.Context, addrs []netip.Addr) (struct{}, error) {
	link, err := netlink.LinkByName(lanIf)
	if err != nil {
		return struct{}{}, err
	}
	m, err := mptcp.Open()
	if err != nil {
		return struct{}{}, err
	}
	var want []mptcp.Endpoint
	for _, a := range addrs {
		want = append(want, mptcp.Endpoint{Addr: a, Ifindex: link.Attrs().Index})
	}
	return struct{}{}, m.Sync(want)
}
