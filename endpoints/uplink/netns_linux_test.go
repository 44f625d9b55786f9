package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is a network namespace of the test's own.
type kernel struct {
	*testing.T
	h *netlink.Handle
}

// newKernel moves the test into a fresh namespace, or skips with the reason. The
// thread is never unlocked: the runtime ends it with the test's goroutine, and
// the namespace vanishes with it.
func newKernel(t *testing.T) *kernel {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace of its own: %v", err)
	}
	if err := Check(); errors.Is(err, ErrUnsupported) || errors.Is(err, ErrRights) {
		t.Skip(err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	k := &kernel{t, h}
	if ipv6Present() {
		// No link-local addresses that come late and differ at each run.
		k.sysctl("net/ipv6/conf/default/addr_gen_mode", "1")
		k.sysctl("net/ipv6/conf/default/accept_dad", "0")
	}
	k.up("lo")
	return k
}

func (k *kernel) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *kernel) link(name string) netlink.Link {
	k.Helper()
	l, err := k.h.LinkByName(name)
	k.must(err)
	return l
}

func (k *kernel) up(name string)   { k.Helper(); k.must(k.h.LinkSetUp(k.link(name))) }
func (k *kernel) down(name string) { k.Helper(); k.must(k.h.LinkSetDown(k.link(name))) }
func (k *kernel) del(name string)  { k.Helper(); k.must(k.h.LinkDel(k.link(name))) }

// veth makes a pair of which both ends are up; the far one is called name-far.
func (k *kernel) veth(name string) {
	k.Helper()
	err := k.h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-far"})
	if errors.Is(err, unix.EOPNOTSUPP) {
		k.Skip("the kernel has no veth")
	}
	k.must(err)
	k.up(name + "-far")
	k.up(name)
}

// tun makes a device that stands for the TUN: persistent, for lack of a process
// that holds it.
func (k *kernel) tun(name string) {
	k.Helper()
	err := k.h.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN})
	if err != nil {
		k.Skipf("no TUN device: %v", err)
	}
}

func (k *kernel) addr(dev, prefix string) *netlink.Addr {
	k.Helper()
	a := &netlink.Addr{IPNet: toIPNet(netip.MustParsePrefix(prefix)), Flags: unix.IFA_F_NODAD}
	k.must(k.h.AddrAdd(k.link(dev), a))
	return a
}

// defaultVia adds a default route to the main table; no gateway for "".
func (k *kernel) defaultVia(dev, gw string) *netlink.Route {
	k.Helper()
	r := &netlink.Route{LinkIndex: k.link(dev).Attrs().Index, Dst: toIPNet(netip.MustParsePrefix("0.0.0.0/0"))}
	if gw != "" {
		a := netip.MustParseAddr(gw)
		r.Gw = a.AsSlice()
		if a.Is6() {
			r.Dst = toIPNet(netip.MustParsePrefix("::/0"))
		}
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	k.must(k.h.RouteAdd(r))
	return r
}

func (k *kernel) sysctl(key, value string) {
	k.Helper()
	k.must(writeSysctl(key, value))
}

func (k *kernel) wantSysctl(key, want string) {
	k.Helper()
	if got, err := readSysctl(key); err != nil || got != want {
		k.Errorf("%s is %q (%v), want %q", key, got, err, want)
	}
}

// dump is everything that a System may touch, as sorted text.
func (k *kernel) dump() string {
	k.Helper()
	var lines []string
	for _, family := range families() {
		rules, err := k.h.RuleList(family)
		k.must(err)
		for _, r := range rules {
			mask := uint32(0)
			if r.Mask != nil {
				mask, r.Mask = *r.Mask, nil
			}
			lines = append(lines, fmt.Sprintf("rule family %d mask %#x %+v", family, mask, r))
		}
		routes, err := k.h.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		k.must(err)
		for _, r := range routes {
			if r.Table == unix.RT_TABLE_LOCAL {
				continue // the kernel's own, which follow the addresses, some of them late
			}
			lines = append(lines, fmt.Sprintf("route family %d type %d proto %d metric %d %s", family, r.Type, r.Protocol, r.Priority, r))
		}
	}
	links, err := k.h.LinkList()
	k.must(err)
	for _, l := range links {
		addrs, err := k.h.AddrList(l, netlink.FAMILY_ALL)
		k.must(err)
		for _, a := range addrs {
			lines = append(lines, fmt.Sprintf("address on %s: %s", l.Attrs().Name, a))
		}
		lines = append(lines, fmt.Sprintf("link %s mtu %d up %t", l.Attrs().Name, l.Attrs().MTU, isUp(l)))
	}
	for _, glob := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/*/*", "net/ipv6/conf/*/*"} {
		files, err := filepath.Glob(procSys + glob)
		k.must(err)
		for _, f := range files {
			// stable_secret cannot be read until set.
			if b, err := os.ReadFile(f); err == nil {
				lines = append(lines, f+"="+strings.TrimSpace(string(b)))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// wantDump fails with the lines that differ.
func (k *kernel) wantDump(want string) {
	k.Helper()
	got := k.dump()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, l := range g {
		if !slices.Contains(w, l) {
			k.Errorf("too much:  %s", l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			k.Errorf("missing:   %s", l)
		}
	}
}

func (k *kernel) open(o Options) *System {
	k.Helper()
	if o.TUN == "" {
		o.TUN = "bondd0"
	}
	if o.State == "" {
		o.State = filepath.Join(k.TempDir(), "state.json")
	}
	s, err := Open(o)
	k.must(err)
	k.Cleanup(func() { s.Close(k.Context()) })
	return s
}

func (k *kernel) watch(o WatchOptions) Monitor {
	k.Helper()
	m, err := Watch(o)
	k.must(err)
	k.Cleanup(func() { m.Close() })
	return m
}

// snapshot is what a fresh monitor sees.
func (k *kernel) snapshot(o WatchOptions) Snapshot {
	k.Helper()
	m := k.watch(o)
	s, err := m.Next(k.Context())
	k.must(err)
	return s
}

// home builds two uplinks, a LAN, and the TUN.
func (k *kernel) home() {
	k.Helper()
	k.veth("eth0")
	k.addr("eth0", "192.168.50.1/24")
	k.veth("eth1")
	k.addr("eth1", "192.168.1.2/24")
	k.defaultVia("eth1", "192.168.1.1")
	k.veth("eth2")
	k.addr("eth2", "10.20.0.2/24")
	if ipv6Enabled() {
		k.addr("eth2", "2001:db8:2::2/64")
		k.defaultVia("eth2", "2001:db8:2::1")
	}
	k.tun("bondd0")
}
