package uplink

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestWhereThingsGo asks the kernel for its decision on the traffic that the
// rules are there for.
func TestWhereThingsGo(t *testing.T) {
	k := newKernel(t)
	k.home()
	s := k.open(Options{})
	snap := k.snapshot(watchHome)
	k.must(s.Sync(t.Context(), MakePlan(snap, wantGateway)))
	mark := func(name string) uint32 {
		u, ok := snap.Find(name)
		if !ok {
			t.Fatalf("no uplink %s", name)
		}
		return u.Mark()
	}
	type packet struct {
		name           string
		to, from, in   string
		mark           uint32
		want, via, src string // want is the device, "" for refused
	}
	cases := []packet{
		{name: "the LAN's traffic goes into the bond", to: "203.0.113.1", from: "192.168.50.7", in: "eth0", want: "bondd0"},
		{name: "the gateway's own traffic goes into the bond", to: "203.0.113.1", want: "bondd0", src: "10.177.0.2"},
		{name: "answers go to the LAN", to: "192.168.50.7", from: "203.0.113.1", in: "bondd0", want: "eth0"},
		{name: "the LAN is asked directly", to: "192.168.50.7", want: "eth0"},
		{name: "an outer datagram takes its uplink", to: "203.0.113.1", mark: mark("eth1"), want: "eth1", via: "192.168.1.1", src: "192.168.1.2"},
		{name: "and its uplink's own subnet", to: "10.20.0.9", mark: mark("eth2"), want: "eth2", src: "10.20.0.2"},
		{name: "never the bond when that uplink has no way", to: "203.0.113.1", mark: mark("eth2")},
		{name: "nor when the uplink is gone", to: "203.0.113.1", mark: MarkBase | 77},
		{name: "nor by another uplink's subnet", to: "192.168.1.9", mark: mark("eth2")},
		{name: "an answer from an uplink's address leaves by it", to: "203.0.113.1", from: "192.168.1.2", want: "eth1", via: "192.168.1.1"},
		{name: "but reaches the LAN", to: "192.168.50.7", from: "192.168.1.2", want: "eth0"},
	}
	if ipv6Enabled() {
		cases = append(cases,
			packet{name: "IPv6 goes into the bond", to: "2001:db8:ffff::1", want: "bondd0", src: "fd77:b0dd::2"},
			packet{name: "an outer IPv6 datagram takes its uplink", to: "2001:db8:ffff::1", mark: mark("eth2"), want: "eth2", via: "2001:db8:2::1"},
			packet{name: "or none", to: "2001:db8:ffff::1", mark: mark("eth1")},
			packet{name: "an IPv6 answer leaves by its uplink", to: "2001:db8:ffff::1", from: "2001:db8:2::2", want: "eth2", via: "2001:db8:2::1"},
		)
	}
	for _, c := range cases {
		o := &netlink.RouteGetOptions{Mark: c.mark, Iif: c.in}
		if c.from != "" {
			o.SrcAddr = net.ParseIP(c.from)
		}
		routes, err := k.h.RouteGetWithOptions(netip.MustParseAddr(c.to).AsSlice(), o)
		if c.want == "" {
			// The first is what an unreachable route says, the second an unreachable rule.
			if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("%s: got %v %v, want unreachable", c.name, routes, err)
			}
			continue
		}
		if err != nil || len(routes) != 1 {
			t.Errorf("%s: %v %v", c.name, routes, err)
			continue
		}
		r := routes[0]
		dev, err := k.h.LinkByIndex(r.LinkIndex)
		k.must(err)
		if dev.Attrs().Name != c.want || c.via != "" && toAddr(r.Gw).String() != c.via || c.src != "" && toAddr(r.Src).String() != c.src {
			t.Errorf("%s: goes out of %s via %v from %v, want %s %s %s", c.name, dev.Attrs().Name, r.Gw, r.Src, c.want, c.via, c.src)
		}
	}
}

// TestAsTheIpCommandShowsIt compares with what a person sees.
func TestAsTheIpCommandShowsIt(t *testing.T) {
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("the ip command is not installed: nothing to compare with")
	}
	k := newKernel(t)
	k.home()
	s := k.open(Options{})
	snap := k.snapshot(WatchOptions{TUN: "bondd0"})
	k.must(s.Sync(t.Context(), MakePlan(snap, wantGateway)))
	show := func(args ...string) []string {
		out, err := exec.Command(path, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v %s", args, err, out)
		}
		var lines []string
		for _, l := range strings.Split(string(out), "\n") {
			// The TUN of the test has no process that would give it a carrier.
			l = strings.TrimSuffix(strings.Join(strings.Fields(l), " "), " linkdown")
			if l != "" {
				lines = append(lines, l)
			}
		}
		return lines
	}
	wantLines := func(got []string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("no %q in\n\t%s", w, strings.Join(got, "\n\t"))
			}
		}
	}
	wantLines(show("rule"),
		"17700: from all fwmark 0xb0dd0001 lookup 45001 proto 177",
		"17701: from all fwmark 0xb0dd0000/0xffff0000 unreachable proto 177",
		"17710: from all lookup main suppress_prefixlength 0 proto 177",
		"17720: from 192.168.1.2 lookup 45001 proto 177",
		"17730: from all lookup 45999 proto 177")
	wantLines(show("route", "show", "table", "45001"),
		"default via 192.168.1.1 dev eth1 proto 177",
		"unreachable default proto 177 metric 1000000",
		"192.168.1.0/24 dev eth1 proto 177 scope link")
	wantLines(show("route", "show", "table", "45999"),
		"default dev bondd0 proto 177 scope link",
		"unreachable default proto 177 metric 1000000")
}

func TestControlBindsToTheUplink(t *testing.T) {
	k := newKernel(t)
	k.home()
	snap := k.snapshot(watchHome)
	u, _ := snap.Find("eth1")
	tun := ExitTUN{Number: 2, TUN: "eth1"} // any device will do
	for _, x := range []struct {
		control func(string, string, syscall.RawConn) error
		mark    uint32
	}{{u.Control, u.Mark()}, {tun.Control, tun.Mark()}} {
		lc := net.ListenConfig{Control: x.control}
		c, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
		k.must(err)
		defer c.Close()
		raw, err := c.(*net.UDPConn).SyscallConn()
		k.must(err)
		var mark int
		var dev string
		k.must(raw.Control(func(fd uintptr) {
			mark, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK)
			dev, _ = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		}))
		if uint32(mark) != x.mark || dev != "eth1" {
			t.Errorf("mark %#x device %q, want %#x", mark, dev, x.mark)
		}
	}
	u.Name = "nosuch"
	if _, err := (&net.ListenConfig{Control: u.Control}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("got %v, want ENODEV", err)
	}
}
