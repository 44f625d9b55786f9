package uplink

import "github.com/vishvananda/netlink"

// ReadTraffic reads the counters of an interface in the network namespace of the calling thread. It needs no rights.
func ReadTraffic(device string) (Traffic, error) {
	h, err := netlink.NewHandle()
	if err != nil {
		return Traffic{}, explain("open a netlink socket", err)
	}
	defer h.Close()
	l, err := h.LinkByName(device)
	if err != nil {
		return Traffic{}, explain("read the counters of "+device, err)
	}
	t := Traffic{Ifindex: l.Attrs().Index, Boot: bootID()}
	if s := l.Attrs().Statistics; s != nil {
		t.Bytes = s.RxBytes + s.TxBytes
	}
	return t, nil
}
