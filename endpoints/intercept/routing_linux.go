package intercept

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routing are our rules and routes in one network namespace.
type routing struct{ h *netlink.Handle }

// openRouting opens a socket in the network namespace of the calling thread.
func openRouting() (*routing, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explainRoute("open a route netlink socket", err)
	}
	if err := h.SetSocketTimeout(answerTimeout); err != nil {
		h.Close()
		return nil, explainRoute("set the timeout of a netlink socket", err)
	}
	return &routing{h}, nil
}

func (r *routing) close() { r.h.Close() }

// put makes the route and the rules of a family; what is there already is as wanted.
func (r *routing) put(c Config, v6 bool) error {
	if err := r.h.RouteReplace(r.route(v6)); err != nil {
		return explainRoute(routeText(v6), err)
	}
	for _, want := range c.routing(v6) {
		if err := r.h.RuleAdd(toRule(want)); err != nil && !errors.Is(err, unix.EEXIST) {
			return explainRoute(want.text(), err)
		}
	}
	return nil
}

// remove takes away all that is ours in both families, whatever the
// configuration was; it is no error when there is nothing.
func (r *routing) remove() error {
	var errs []error
	for _, v6 := range []bool{false, true} {
		if v6 && !ipv6Known() {
			continue
		}
		for _, known := range []rule{
			{v6: v6, priority: priorityCheck, mark: MarkLAN, local: true, table: tableMain},
			{v6: v6, priority: priorityLAN, mark: MarkLAN, table: RouteTable},
			{v6: v6, priority: priorityOwn, mark: MarkOwn, mask: markOwnMask, table: RouteTable},
			{v6: v6, priority: priorityDirect, mark: MarkDirect, table: tableMain},
		} {
			if err := r.h.RuleDel(toRule(known)); err != nil && !gone(err) {
				errs = append(errs, explainRoute("undo "+known.text(), err))
			}
		}
		if err := r.h.RouteDel(r.route(v6)); err != nil && !gone(err) {
			errs = append(errs, explainRoute("undo "+routeText(v6), err))
		}
	}
	return errors.Join(errs...)
}

func toRule(r rule) *netlink.Rule {
	n := netlink.NewRule()
	n.Family = netlink.FAMILY_V4
	if r.v6 {
		n.Family = netlink.FAMILY_V6
	}
	all := ^uint32(0)
	if r.mask != 0 {
		all = r.mask
	}
	n.Priority, n.Mark, n.Mask, n.Table, n.Protocol = r.priority, r.mark, &all, r.table, Protocol
	if r.local {
		n.IifName = "lo"
	}
	return n
}

// route makes every address one of this machine. The loopback device is number 1
// in every network namespace (LOOPBACK_IFINDEX).
func (r *routing) route(v6 bool) *netlink.Route {
	n := &netlink.Route{
		Family: netlink.FAMILY_V4, Table: RouteTable, Protocol: Protocol, Type: unix.RTN_LOCAL,
		Scope: netlink.SCOPE_HOST, LinkIndex: 1, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	}
	if v6 {
		n.Family, n.Scope = netlink.FAMILY_V6, netlink.SCOPE_UNIVERSE // IPv6 routes have no scope
		n.Dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return n
}

// gone tells whether a removal failed because there is nothing to remove.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EAFNOSUPPORT)
}

// ipv6Known tells whether the kernel has IPv6, be it switched off or not.
func ipv6Known() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// ipv6Usable tells whether the loopback device has IPv6 too.
func ipv6Usable() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
	return err == nil && strings.TrimSpace(string(b)) == "0"
}

func explainRoute(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("intercept: %s: %w (%w)", what, ErrRights, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("intercept: %s: %w: IP_MULTIPLE_TABLES and IPV6_MULTIPLE_TABLES in the kernel (%w)", what, ErrUnsupported, err)
	}
	return fmt.Errorf("intercept: %s: %w", what, err)
}
