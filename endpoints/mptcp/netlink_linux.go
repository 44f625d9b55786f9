package mptcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From include/uapi/linux/mptcp_pm.h.
const (
	pmFamily  = "mptcp_pm"
	pmVersion = 1

	cmdAddAddr   = 1
	cmdDelAddr   = 2
	cmdGetAddr   = 3
	cmdSetLimits = 5
	cmdGetLimits = 6

	attrAddr       = 1
	attrRcvAddrs   = 2
	attrSubflows   = 3
	attrAddrFamily = 1
	attrAddrID     = 2
	attrAddr4      = 3
	attrAddr6      = 4
	attrAddrFlags  = 6
	attrAddrIfidx  = 7

	flagSignal   = 1 << 0
	flagSubflow  = 1 << 1
	flagBackup   = 1 << 2
	flagFullmesh = 1 << 3
)

// endpoint is one that the kernel has.
type endpoint struct {
	Endpoint
	id    uint8
	flags uint32
}

// limits are those of the namespace.
type limits struct {
	Subflows uint32 `json:"subflows"` // per connection, beside the first
	Accepted uint32 `json:"accepted"` // announced addresses that are used
}

// kernel talks to the path manager.
type kernel struct{ family uint16 }

func openKernel() (kernel, error) {
	f, err := netlink.GenlFamilyGet(pmFamily)
	if err != nil {
		return kernel{}, fmt.Errorf("MPTCP's path manager is not in this kernel: %w", errors.Join(errors.ErrUnsupported, err))
	}
	return kernel{f.ID}, nil
}

func (k kernel) do(command uint8, flags int, attrs ...*nl.RtAttr) ([][]byte, error) {
	req := nl.NewNetlinkRequest(int(k.family), flags)
	req.AddData(&nl.Genlmsg{Command: command, Version: pmVersion})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

// address is an endpoint as an attribute. id 0 stands for none, or with bare for the first subflow's.
func address(e endpoint, bare bool) *nl.RtAttr {
	a := nl.NewRtAttr(attrAddr|unix.NLA_F_NESTED, nil)
	family, attr := uint16(unix.AF_INET), attrAddr4
	if e.Addr.Is6() {
		family, attr = unix.AF_INET6, attrAddr6
	}
	a.AddRtAttr(attrAddrFamily, binary.NativeEndian.AppendUint16(nil, family))
	if e.id != 0 || bare {
		a.AddRtAttr(attrAddrID, []byte{e.id})
	}
	a.AddRtAttr(attr, e.Addr.AsSlice())
	if !bare {
		a.AddRtAttr(attrAddrFlags, binary.NativeEndian.AppendUint32(nil, e.flags))
		a.AddRtAttr(attrAddrIfidx, binary.NativeEndian.AppendUint32(nil, uint32(e.Ifindex)))
	}
	return a
}

func (k kernel) add(e Endpoint) error {
	flags := uint32(flagSubflow)
	if e.Announce {
		flags = flagSignal
	}
	if e.Backup {
		flags |= flagBackup
	}
	if e.Mesh {
		flags |= flagFullmesh
	}
	_, err := k.do(cmdAddAddr, unix.NLM_F_ACK, address(endpoint{Endpoint: e, flags: flags}, false))
	return err
}

// remove takes an endpoint away; its subflows are closed, and what they had under way goes by others.
func (k kernel) remove(e endpoint) error {
	_, err := k.do(cmdDelAddr, unix.NLM_F_ACK, address(e, true))
	return err
}

// removeFirst closes the subflows from an address with which connections began: they are number 0 of the connection rather than the
// endpoint's, and kernels before 6.12 leave them when that goes.
func (k kernel) removeFirst(e Endpoint) {
	k.do(cmdDelAddr, unix.NLM_F_ACK, address(endpoint{Endpoint: e}, true)) // an error says that there was none
}

func (k kernel) list() ([]endpoint, error) {
	msgs, err := k.do(cmdGetAddr, unix.NLM_F_DUMP)
	if err != nil {
		return nil, err
	}
	var out []endpoint
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK == attrAddr {
				e, err := parseEndpoint(a.Value)
				if err != nil {
					return nil, err
				}
				out = append(out, e)
			}
		}
	}
	return out, nil
}

func parseEndpoint(b []byte) (endpoint, error) {
	var e endpoint
	attrs, err := nl.ParseRouteAttr(b)
	for _, a := range attrs {
		switch v := a.Value; a.Attr.Type {
		case attrAddrID:
			e.id = v[0]
		case attrAddr4, attrAddr6:
			e.Addr, _ = netip.AddrFromSlice(v)
		case attrAddrFlags:
			e.flags = binary.NativeEndian.Uint32(v)
			e.Backup, e.Mesh = e.flags&flagBackup != 0, e.flags&flagFullmesh != 0
			e.Announce = e.flags&(flagSignal|flagSubflow) == flagSignal
		case attrAddrIfidx:
			e.Ifindex = int(int32(binary.NativeEndian.Uint32(v)))
		}
	}
	return e, err
}

func (k kernel) limits() (limits, error) {
	var l limits
	msgs, err := k.do(cmdGetLimits, 0)
	if err != nil {
		return l, err
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return l, err
		}
		for _, a := range attrs {
			switch a.Attr.Type {
			case attrRcvAddrs:
				l.Accepted = binary.NativeEndian.Uint32(a.Value)
			case attrSubflows:
				l.Subflows = binary.NativeEndian.Uint32(a.Value)
			}
		}
	}
	return l, nil
}

func (k kernel) setLimits(l limits) error {
	_, err := k.do(cmdSetLimits, unix.NLM_F_ACK,
		nl.NewRtAttr(attrRcvAddrs, binary.NativeEndian.AppendUint32(nil, l.Accepted)),
		nl.NewRtAttr(attrSubflows, binary.NativeEndian.AppendUint32(nil, l.Subflows)))
	return err
}
