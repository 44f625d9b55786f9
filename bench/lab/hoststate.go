package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// State is everything about the network of a host that bondd may change: links
// with their addresses, rules, routes of all tables, nftables tables, and the
// system settings. Lines of text, sorted; what the kernel numbers anew each
// time is left out.
func (h *Host) State(ctx context.Context) ([]string, error) {
	var lines []string
	err := h.call(ctx, "state", nil, &lines)
	return lines, err
}

func netState(context.Context, struct{}) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	var out []string
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		out = append(out, fmt.Sprintf("link %s type %s flags %s", a.Name, l.Type(), a.Flags))
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			addrs, err := netlink.AddrList(l, family)
			if err != nil {
				return nil, err
			}
			for _, addr := range addrs {
				if !addr.IP.IsLinkLocalUnicast() { // the kernel's own, at random
					out = append(out, fmt.Sprintf("address %s dev %s", addr.IPNet, a.Name))
				}
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := netlink.RuleList(family)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			out = append(out, fmt.Sprintf("rule family %d: %s", family, r))
		}
		// An explicit table of 0 with the filter asks for the routes of all tables.
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() {
				out = append(out, fmt.Sprintf("route %v via %v dev %s table %d metric %d proto %d", r.Dst, r.Gw, names[r.LinkIndex], r.Table, r.Priority, r.Protocol))
			}
		}
	}
	var nft nftables.Conn
	tables, err := nft.ListTables()
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		out = append(out, fmt.Sprintf("nft table %s family %d", t.Name, t.Family))
	}
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter"} {
		value, err := os.ReadFile("/proc/sys/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, "sysctl "+name+" = "+strings.TrimSpace(string(value)))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
