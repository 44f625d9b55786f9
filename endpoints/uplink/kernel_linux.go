package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// scopeAny as the scope of a route to delete matches every scope
// (RT_SCOPE_NOWHERE, fib_table_delete).
const scopeAny = netlink.Scope(unix.RT_SCOPE_NOWHERE)

// ipv6Present tells whether the kernel knows IPv6, be it switched off or not.
func ipv6Present() bool {
	_, err := os.Stat(procSys + "net/ipv6")
	return err == nil
}

// addRule, removeRule: rules have no "replace"; one that exists is as wanted.
func (h *handles) addRule(r Rule) error {
	if err := h.main.RuleAdd(toRule(r)); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func (h *handles) removeRule(r Rule) error {
	if err := h.main.RuleDel(toRule(r)); err != nil && !gone(err) {
		return err
	}
	return nil
}

func toRule(r Rule) *netlink.Rule {
	n := netlink.NewRule()
	n.Family = netlink.FAMILY_V4
	if r.V6 {
		n.Family = netlink.FAMILY_V6
	}
	n.Priority, n.Table, n.Protocol = r.Priority, r.Table, Protocol
	if r.Mask != 0 {
		n.Mark, n.Mask = r.Mark, &r.Mask
	}
	if r.From.IsValid() {
		n.Src = toIPNet(netip.PrefixFrom(r.From, r.From.BitLen()))
	}
	if r.SuppressDefault {
		n.SuppressPrefixlen = 0
	}
	if r.Unreachable {
		n.Type = unix.FR_ACT_UNREACHABLE
	}
	return n
}

// ourRules lists what Sweep may remove: rules with one of our priorities and our
// origin.
func (h *handles) ourRules() ([]Item, error) {
	var items []Item
	for _, family := range families() {
		rules, err := dump(func() ([]netlink.Rule, error) { return h.main.RuleList(family) })
		if err != nil {
			return nil, explain("list routing rules (needs CONFIG_IP_MULTIPLE_TABLES)", err)
		}
		for _, n := range rules {
			if ourRule(n) {
				items = append(items, fromRule(n, family == netlink.FAMILY_V6))
			}
		}
	}
	return items, nil
}

// ourRule decides by the origin; kernels before 4.17 keep none (0), there the
// table decides, or the priority for the two rules that have no table of ours.
func ourRule(n netlink.Rule) bool {
	if n.Priority < PriorityFirst || n.Priority > PriorityLast {
		return false
	}
	return n.Protocol == Protocol ||
		n.Protocol == 0 && (ourTable(n.Table) || n.Priority == PriorityMain || n.Priority == PriorityMarkLost)
}

func fromRule(n netlink.Rule, v6 bool) Rule {
	r := Rule{V6: v6, Priority: n.Priority, Table: n.Table, SuppressDefault: n.SuppressPrefixlen == 0}
	if n.Mask != nil && *n.Mask != 0 {
		r.Mark, r.Mask = n.Mark, *n.Mask
	}
	if n.Src != nil {
		r.From = toAddr(n.Src.IP)
	}
	// The library does not tell the action; of ours only the refusing one has no table.
	r.Unreachable = n.Table == 0
	return r
}

func ourTable(table int) bool {
	return table >= TableBase && table <= TableBond || table > TableExit && table <= TableExit+MaxExit
}

// addRoute puts the route in place of whatever has its key.
func (h *handles) addRoute(r Route) error {
	n, err := h.toRoute(r)
	if err != nil {
		return err
	}
	return h.main.RouteReplace(n)
}

func (h *handles) removeRoute(r Route) error {
	n, err := h.toRoute(r)
	if err == nil {
		n.Scope = scopeAny
		err = h.main.RouteDel(n)
	}
	if err != nil && !gone(err) {
		return err
	}
	return nil
}

func (h *handles) toRoute(r Route) (*netlink.Route, error) {
	n := &netlink.Route{Table: r.Table, Protocol: Protocol, Priority: r.Metric, Family: netlink.FAMILY_V4}
	all := net.IPv4zero.To4()
	if r.V6 {
		n.Family, all = netlink.FAMILY_V6, net.IPv6zero
	}
	n.Dst = &net.IPNet{IP: all, Mask: net.CIDRMask(0, 8*len(all))}
	if r.Dst.IsValid() {
		n.Dst = toIPNet(r.Dst)
	}
	if r.Unreachable {
		n.Type = unix.RTN_UNREACHABLE
		return n, nil
	}
	n.Type = unix.RTN_UNICAST
	link, err := h.main.LinkByName(r.Dev)
	if err != nil {
		return nil, err
	}
	n.LinkIndex = link.Attrs().Index
	switch {
	case !r.Via.IsValid() && !r.V6:
		n.Scope = netlink.SCOPE_LINK
	case r.Via.Is6() && !r.V6:
		n.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: r.Via.AsSlice()}
	case r.Via.IsValid():
		n.Gw = r.Via.AsSlice()
	}
	if r.OnLink {
		n.Flags |= int(netlink.FLAG_ONLINK)
	}
	return n, nil
}

// ourRoutes lists the routes of our origin in our tables.
func (h *handles) ourRoutes() ([]Item, error) {
	links, err := dump(h.main.LinkList)
	if err != nil {
		return nil, explain("list interfaces", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var items []Item
	for _, family := range families() {
		routes, err := h.routes(family, unix.RT_TABLE_UNSPEC, Protocol)
		if err != nil {
			return nil, explain("list routes", err)
		}
		for _, n := range routes {
			if ourTable(n.Table) {
				items = append(items, fromRoute(n, family == netlink.FAMILY_V6, names))
			}
		}
	}
	return items, nil
}

func fromRoute(n netlink.Route, v6 bool, names map[int]string) Route {
	r := Route{V6: v6, Table: n.Table, Metric: n.Priority}
	if n.Dst != nil && !isDefault(n.Dst) {
		r.Dst, _ = toPrefix(n.Dst)
	}
	if n.Type == unix.RTN_UNREACHABLE {
		r.Unreachable = true // the kernel shows IPv6 ones on lo
		return r
	}
	r.Via, r.Dev = gatewayOf(n.Gw, n.Via), names[n.LinkIndex]
	r.OnLink = n.Flags&int(netlink.FLAG_ONLINK) != 0
	return r
}

// families lists the address families in which there can be rules and routes.
func families() []int {
	if ipv6Present() {
		return []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
	}
	return []int{netlink.FAMILY_V4}
}

func toNetlinkAddr(a Address) *netlink.Addr {
	n := &netlink.Addr{IPNet: toIPNet(a.Prefix)}
	if a.Prefix.Addr().Is6() {
		n.Flags = unix.IFA_F_NODAD // nobody else is on the device
	} else {
		n.Broadcast = net.IPv4zero // none: a TUN has no broadcast
	}
	return n
}

// addressesOf lists all addresses of a device.
func (h *handles) addressesOf(link netlink.Link) ([]netip.Prefix, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return h.main.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, explain("list addresses of "+link.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, n := range list {
		if n.IPNet == nil {
			continue
		}
		if p, ok := toPrefix(n.IPNet); ok && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// Check tells whether this process may change the network here and whether the
// kernel has what that takes: nil, or an error that is ErrRights or
// ErrUnsupported. It changes nothing.
func Check() error {
	h, err := openHandles()
	if err != nil {
		return err
	}
	defer h.close()
	return h.check()
}

// check asks the kernel to remove a rule that nobody has: rights are looked at
// first, and a capability that does not reach this namespace is found out too.
func (h *handles) check() error {
	if _, err := h.main.RuleList(netlink.FAMILY_V4); err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return explain("list routing rules (needs CONFIG_IP_MULTIPLE_TABLES)", err)
	}
	none := Rule{Priority: PriorityLast, Mark: MarkBase | 0xffff, Mask: 0xffffffff, Table: TableBase}
	return explain("change routing rules", h.removeRule(none))
}

// readSysctl returns the value of a kernel variable.
func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(procSys + key)
	return strings.TrimSpace(string(b)), err
}

func writeSysctl(key, value string) error {
	// Not os.WriteFile: the file must not be created or truncated.
	f, err := os.OpenFile(procSys+key, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s to %s%s: %w", value, procSys, key, err)
	}
	return nil
}
