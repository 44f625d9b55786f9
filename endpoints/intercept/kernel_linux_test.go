package intercept

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds what must happen; it is long because a busy machine is no error.
const patience = 5 * time.Second

// home is a gateway with a LAN, one uplink and a device that stands for the
// TUN, each with a namespace of its own behind it:
//
//	lan 192.168.50.2 -- eth0 gateway bondd0 -- exit (the bond)
//	                            eth1 -------- wan  (an uplink)
//
// 203.0.113.5 and 2001:db8:5::5 are in exit as well as in wan, with servers that say
// where they are. wan knows no way back to the LAN.
type home struct {
	*testing.T
	gateway, lan, wan, exit namespace
	v6                      bool
}

type namespace struct {
	name string
	fd   int
}

// newHome moves the test into a namespace of its own, the gateway, or skips
// with the reason. The thread is never unlocked: the runtime ends it with the
// test's goroutine, and the namespaces vanish with it.
func newHome(t *testing.T) *home {
	t.Helper()
	runtime.LockOSThread()
	h := &home{T: t}
	for _, ns := range []struct {
		name string
		at   *namespace
	}{{"lan", &h.lan}, {"wan", &h.wan}, {"exit", &h.exit}, {"gateway", &h.gateway}} {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			t.Skipf("no network namespace of its own: %v", err)
		}
		fd, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		h.must(err)
		t.Cleanup(func() { unix.Close(fd) })
		*ns.at = namespace{ns.name, fd}
		h.up("lo")
		if ipv6Known() {
			h.sysctl("net/ipv6/conf/default/accept_dad", "0")
		}
	}
	h.v6 = ipv6Usable()
	h.join("eth0", h.lan, "192.168.50.1/24", "192.168.50.2/24", "fd50::1/64", "fd50::2/64")
	h.join("eth1", h.wan, "198.51.100.2/24", "198.51.100.1/24", "2001:db8:100::2/64", "2001:db8:100::1/64")
	h.join("bondd0", h.exit, "10.177.0.2/16", "10.177.0.1/16", "fd77:b0dd::2/64", "fd77:b0dd::1/64")
	h.sysctl("net/ipv4/ip_forward", "1")
	if h.v6 {
		h.sysctl("net/ipv6/conf/all/forwarding", "1")
	}
	// The strictest check of sources there is, and accepted sockets that would
	// inherit marks: neither must hinder us.
	h.sysctl("net/ipv4/tcp_fwmark_accept", "1")
	for _, dev := range []string{"all", "eth0"} {
		h.sysctl("net/ipv4/conf/"+dev+"/rp_filter", "1")
		h.sysctl("net/ipv4/conf/"+dev+"/src_valid_mark", "1")
	}
	h.sysctl("net/ipv4/conf/all/rp_filter", "0")

	// As endpoints/uplink makes it.
	for _, via := range []struct {
		table    int
		dst, via string
	}{{unix.RT_TABLE_MAIN, "0.0.0.0/0", "198.51.100.1"}, {45999, "0.0.0.0/0", "10.177.0.1"}} {
		h.route(via.table, via.dst, via.via)
	}
	if h.v6 {
		h.route(unix.RT_TABLE_MAIN, "::/0", "2001:db8:100::1")
		h.route(45999, "::/0", "fd77:b0dd::1")
	}
	for _, family := range h.families() {
		main := netlink.NewRule()
		main.Family, main.Priority, main.Table, main.SuppressPrefixlen, main.Protocol = family, 17710, unix.RT_TABLE_MAIN, 0, 177
		h.must(netlink.RuleAdd(main))
		bond := netlink.NewRule()
		bond.Family, bond.Priority, bond.Table, bond.Protocol = family, 17730, 45999, 177
		h.must(netlink.RuleAdd(bond))
	}

	h.in(h.lan, func() {
		h.route(unix.RT_TABLE_MAIN, "0.0.0.0/0", "192.168.50.1")
		if h.v6 {
			h.route(unix.RT_TABLE_MAIN, "::/0", "fd50::1")
		}
	})
	for _, ns := range []namespace{h.wan, h.exit} {
		h.in(ns, func() {
			h.addr("lo", "203.0.113.5/32")
			if h.v6 {
				h.addr("lo", "2001:db8:5::5/128")
			}
			if ns.name == "exit" {
				h.route(unix.RT_TABLE_MAIN, "192.168.50.0/24", "10.177.0.2")
				if h.v6 {
					h.route(unix.RT_TABLE_MAIN, "fd50::/64", "fd77:b0dd::2")
				}
			}
			for _, port := range []string{"80", "443", "2222"} {
				h.serve(ns.name, ":"+port)
			}
		})
	}
	return h
}

func (h *home) families() []int {
	if h.v6 {
		return []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
	}
	return []int{netlink.FAMILY_V4}
}

// in runs f in another namespace. What f starts in goroutines of its own does
// not run there.
func (h *home) in(ns namespace, f func()) {
	h.Helper()
	h.must(unix.Setns(ns.fd, unix.CLONE_NEWNET))
	defer func() {
		if err := unix.Setns(h.gateway.fd, unix.CLONE_NEWNET); err != nil {
			h.Fatal(err)
		}
	}()
	f()
}

func (h *home) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *home) link(name string) netlink.Link {
	h.Helper()
	l, err := netlink.LinkByName(name)
	h.must(err)
	return l
}

func (h *home) up(name string) { h.Helper(); h.must(netlink.LinkSetUp(h.link(name))) }

func (h *home) addr(dev, prefix string) {
	h.Helper()
	a, err := netlink.ParseAddr(prefix)
	h.must(err)
	a.Flags = unix.IFA_F_NODAD // else it may not be used until the kernel has noticed the link, up to a second later
	h.must(netlink.AddrAdd(h.link(dev), a))
}

func (h *home) route(table int, dst, via string) {
	h.Helper()
	_, d, err := net.ParseCIDR(dst)
	h.must(err)
	h.must(netlink.RouteAdd(&netlink.Route{Table: table, Dst: d, Gw: netip.MustParseAddr(via).AsSlice()}))
}

func (h *home) sysctl(key, value string) {
	h.Helper()
	h.must(os.WriteFile("/proc/sys/"+key, []byte(value), 0))
}

// join makes a pair of devices: dev here, "up" there, with their addresses.
func (h *home) join(dev string, there namespace, addrs ...string) {
	h.Helper()
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dev}, PeerName: "up", PeerNamespace: netlink.NsFd(there.fd)})
	if errors.Is(err, unix.EOPNOTSUPP) {
		h.Skip("the kernel has no veth")
	}
	h.must(err)
	setup := func(dev string, addrs ...string) {
		h.up(dev)
		for _, a := range addrs {
			if h.v6 || !strings.Contains(a, ":") {
				h.addr(dev, a)
			}
		}
	}
	setup(dev, addrs[0], addrs[2])
	h.in(there, func() { setup("up", addrs[1], addrs[3]) })
}

// serve listens in the present namespace and answers each connection with a
// line that says where it is, and then with what it reads.
func (h *home) serve(name, at string) net.Listener {
	h.Helper()
	l, err := net.Listen("tcp", at)
	h.must(err)
	h.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				io.WriteString(c, name+"\n")
				io.Copy(c, c)
			}()
		}
	}()
	return l
}

// dial connects from a namespace; mark 0 is none.
func (h *home) dial(ns namespace, to string, mark uint32) (c net.Conn, err error) {
	h.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) error {
		if mark == 0 {
			return nil
		}
		var err error
		cerr := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)) })
		return errors.Join(err, cerr)
	}}
	h.in(ns, func() { c, err = d.Dial("tcp", to) })
	if err == nil {
		h.Cleanup(func() { c.Close() })
		h.must(c.SetDeadline(time.Now().Add(patience)))
	}
	return c, err
}

// wantServer checks that a connection reaches the server in exit or wan.
func (h *home) wantServer(from namespace, to, where string) net.Conn {
	h.Helper()
	return h.wantServerMarked(from, to, where, 0)
}

func (h *home) wantServerMarked(from namespace, to, where string, mark uint32) net.Conn {
	h.Helper()
	c, err := h.dial(from, to, mark)
	if err != nil {
		h.Fatalf("%s from %s: %v", to, from.name, err)
	}
	h.wantLine(c, where)
	return c
}

func (h *home) wantLine(c net.Conn, want string) {
	h.Helper()
	b := make([]byte, len(want)+1)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want+"\n" {
		h.Fatalf("%s answers %q (%v), want %q", c.RemoteAddr(), b, err, want)
	}
}

// wantTaken checks that a connection is taken, and carries bytes both ways.
func (h *home) wantTaken(i *Interceptor, from namespace, to string) (client, ours net.Conn) {
	h.Helper()
	c, err := h.dial(from, to, 0)
	if err != nil {
		h.Fatalf("%s from %s: %v", to, from.name, err)
	}
	// A connection that was not taken would leave Accept waiting.
	watch := time.AfterFunc(patience, func() { i.Close() })
	defer watch.Stop()
	taken, err := i.Accept()
	if err != nil {
		h.Fatalf("%s from %s is not taken: %v", to, from.name, err)
	}
	conn := taken.Conn
	h.Cleanup(func() { conn.Close() })
	if taken.Target.String() != to || taken.Client.String() != c.LocalAddr().String() {
		h.Errorf("taken from %s for %s, want %s for %s", taken.Client, taken.Target, c.LocalAddr(), to)
	}
	h.must(conn.SetDeadline(time.Now().Add(patience)))
	h.wantBytes(c, conn)
	return c, conn
}

func (h *home) wantBytes(a, b net.Conn) {
	h.Helper()
	for _, dir := range [][2]net.Conn{{a, b}, {b, a}} {
		_, err := io.WriteString(dir[0], "some bytes\n")
		h.must(err)
		h.wantLine(dir[1], "some bytes")
	}
}

func (h *home) open(c Config) *Interceptor {
	h.Helper()
	i, err := Open(c)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrRights) {
		h.Skip(err)
	}
	h.must(err)
	h.Cleanup(func() { i.Close() })
	return i
}

// nft runs the command in the present namespace; skips without it.
func (h *home) nft(stdin string, args ...string) string {
	h.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		h.Skip("the nft command is not installed: nothing to compare with")
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("nft %v: %v\n%s%s", args, err, out, stdin)
	}
	return string(out)
}
