package endpoints

import (
	"context"

	"github.com/bondd/bondd/endpoints/mptcp"
)

// openPaths lets carriers have a subflow by each uplink of a gateway: the kernel takes two beside the first by default. And it has the kernel announce
// the addresses of relays. Without the right or the feature, carriers have to do with what there is.
func (x *exit) openPaths(context.Context) error {
	if x.config().Stream.Off || x.host.mptcpSupport().Missing != "" {
		return nil
	}
	m, err := x.host.multipath.endpoints()
	if err == nil {
		x.paths = m
		if err = m.Raise(false); err == nil {
			err = x.announce()
		}
	}
	if err != nil {
		x.log.Warn("carriers of gateways with many uplinks may not use all of them, nor relays", "error", err)
	}
	return nil
}

// announce brings what is announced in line with the configuration.
func (x *exit) announce() error {
	if x.paths == nil {
		return nil
	}
	var want []mptcp.Endpoint
	for _, a := range x.config().Stream.Announce {
		want = append(want, mptcp.Endpoint{Addr: a, Announce: true})
	}
	return x.paths.Sync(want)
}

// closePaths takes both back.
func (x *exit) closePaths(context.Context) error {
	if x.paths == nil {
		return nil
	}
	return x.paths.Close()
}
