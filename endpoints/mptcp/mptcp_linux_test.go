package mptcp

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace moves the test into a network namespace of its own, with three addresses on its loopback, or skips with the reason. The
// thread is never unlocked, so it ends with the test.
func namespace(t *testing.T) (dev int) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace of its own: %v", err)
	}
	if s := Check(); s.Missing != "" {
		t.Skip(s.Missing)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.2.1/24", "192.0.2.2/24", "192.0.2.9/24"} {
		addr, _ := netlink.ParseAddr(a)
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
	}
	return lo.Attrs().Index
}

var (
	addr1      = netip.MustParseAddr("192.0.2.1")
	addr2      = netip.MustParseAddr("192.0.2.2")
	serverAddr = netip.MustParseAddr("192.0.2.9") // not a client: an address that fails fails at both ends here
)

func manager(t *testing.T) *Manager {
	t.Helper()
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *Manager) sync(t *testing.T, want ...Endpoint) {
	t.Helper()
	if err := m.Sync(want); err != nil {
		t.Fatal(err)
	}
}

// addrs lists the addresses of the kernel's endpoints.
func (m *Manager) addrs(t *testing.T) []netip.Addr {
	t.Helper()
	list, err := m.kernel.list()
	if err != nil {
		t.Fatal(err)
	}
	var out []netip.Addr
	for _, e := range list {
		out = append(out, e.Addr)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// pair is a connection with both its ends.
func pair(t *testing.T, o Options) (client, server *net.TCPConn) {
	t.Helper()
	l, err := Listen(t.Context(), serverAddr.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client, err = Dial(context.Background(), o, l.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return client, s.(*net.TCPConn)
}

// subflows reads until a connection has n subflows; it fails after a while.
func subflows(t *testing.T, c *net.TCPConn, n int) []Subflow {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		info, err := Read(c)
		if err != nil {
			t.Fatal(err)
		}
		if info.Count == n {
			return info.Subflows
		}
		if time.Now().After(end) {
			t.Fatalf("%d subflows, want %d: %+v", info.Count, n, info.Subflows)
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 5e6}, nil) // the kernel joins on its own time, and tells nobody here
	}
}

func TestJoinFailReturn(t *testing.T) {
	dev := namespace(t)
	m := manager(t)
	one, two := Endpoint{Addr: addr1, Ifindex: dev}, Endpoint{Addr: addr2, Ifindex: dev}
	m.sync(t, one, two)
	c, s := pair(t, Options{Source: addr1, Device: "lo"})
	go io.Copy(s, s) // ends with s
	echo := func() {
		t.Helper()
		b := make([]byte, 4)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	echo() // a path joins once the first one has carried something
	for _, f := range subflows(t, c, 2) {
		if a := f.Local.Addr(); a != addr1 && a != addr2 || f.Remote.Addr() != serverAddr {
			t.Errorf("subflow %v to %v", f.Local, f.Remote)
		}
	}
	if len(subflows(t, s, 2)) != 2 {
		t.Error("the other end has not both")
	}
	// The address with which the connection began fails: the other one carries it.
	if err := m.Fail(one); err != nil {
		t.Fatal(err)
	}
	if f := subflows(t, c, 1); f[0].Local.Addr() != addr2 {
		t.Errorf("left is the subflow of %v", f[0].Local)
	}
	echo()
	m.sync(t, one, two)
	subflows(t, c, 2)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCrash: what a killed owner has made is removed by the next one, and what others have made is left by both.
func TestCrash(t *testing.T) {
	dev := namespace(t)
	m := manager(t)
	before, err := m.kernel.limits()
	if err != nil {
		t.Fatal(err)
	}
	foreign := Endpoint{Addr: addr2, Ifindex: dev}
	if err := m.kernel.add(foreign); err != nil {
		t.Fatal(err)
	}
	m.sync(t, Endpoint{Addr: addr1, Ifindex: dev, Backup: true}, foreign)
	if got := m.addrs(t); !slices.Equal(got, []netip.Addr{addr1, addr2}) {
		t.Errorf("endpoints %v", got)
	}
	if l, _ := m.kernel.limits(); l.Subflows != subflowLimit {
		t.Errorf("limits %+v", l)
	}
	m = manager(t) // as after a kill: the first has not closed
	if got := m.addrs(t); !slices.Equal(got, []netip.Addr{addr2}) {
		t.Errorf("the successor has left %v", got)
	}
	if l, _ := m.kernel.limits(); l != before {
		t.Errorf("limits %+v, before they were %+v", l, before)
	}
	m.sync(t, Endpoint{Addr: addr1, Ifindex: dev})
	if err := m.kernel.setLimits(limits{Subflows: 5}); err != nil { // by somebody else
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := m.addrs(t); !slices.Equal(got, []netip.Addr{addr2}) {
		t.Errorf("left behind: %v", got)
	}
	if l, _ := m.kernel.limits(); l.Subflows != 5 {
		t.Errorf("the limit of somebody else is now %+v", l)
	}
	if _, err := os.Stat(m.state.path); err == nil {
		t.Error("the state file is left")
	}
}

// TestAnnounced: an address that the server announces, which need not be one of its own, gets a subflow from each meshed endpoint, bound to its device, on
// the connection's port; limits and endpoints are as before in the end.
func TestAnnounced(t *testing.T) {
	dev := namespace(t)
	m := manager(t)
	before, err := m.kernel.limits()
	if err != nil {
		t.Fatal(err)
	}
	relay := netip.MustParseAddr("127.9.9.9") // which leads to the same listener, as a relay does
	m.sync(t, Endpoint{Addr: addr1, Ifindex: dev, Mesh: true}, Endpoint{Addr: addr2, Ifindex: dev, Mesh: true}, Endpoint{Addr: relay, Announce: true})
	l, err := Listen(t.Context(), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	c, err := Dial(t.Context(), Options{Source: addr1, Device: "lo"}, netip.AddrPortFrom(serverAddr, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go io.Copy(s, s) // ends with s
	c.Write([]byte("ping"))
	want := map[[2]netip.Addr]bool{{addr1, serverAddr}: true, {addr2, serverAddr}: true, {addr1, relay}: true, {addr2, relay}: true}
	for _, f := range subflows(t, c, len(want)) {
		if !want[[2]netip.Addr{f.Local.Addr(), f.Remote.Addr()}] || f.Remote.Port() != port {
			t.Errorf("subflow %v to %v", f.Local, f.Remote)
		}
	}
	if err := m.Fail(Endpoint{Addr: addr2, Ifindex: dev}); err != nil {
		t.Fatal(err)
	}
	subflows(t, c, 2)
	m = manager(t) // as after a kill
	if got, _ := m.kernel.limits(); got != before || len(m.addrs(t)) != 0 {
		t.Errorf("left: %v, limits %+v", m.addrs(t), got)
	}
}

// TestReceiveBuffer: both ends have the buffer in which nothing gets stuck.
func TestReceiveBuffer(t *testing.T) {
	namespace(t)
	c, s := pair(t, Options{Source: addr1, Device: "lo"})
	for i, end := range []*net.TCPConn{c, s} {
		raw, err := end.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var n int
		var denied error
		if ctlErr := raw.Control(func(fd uintptr) {
			n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
			denied = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
		}); ctlErr != nil || err != nil {
			t.Fatal(ctlErr, err)
		}
		if denied != nil {
			t.Skipf("the machine's limit holds: %v", denied)
		}
		if n < receiveBufferLeast {
			t.Errorf("end %d has a receive buffer of %d bytes", i, n)
		}
	}
}

func TestPlain(t *testing.T) {
	namespace(t)
	c, s := pair(t, Options{Plain: true})
	for _, end := range []*net.TCPConn{c, s} {
		if _, err := Read(end); !errors.Is(err, ErrPlain) {
			t.Errorf("plain TCP: %v", err)
		}
	}
}

// TestOlderInfo reads what kernels with shorter structures give.
func TestOlderInfo(t *testing.T) {
	full := make([]byte, 96)
	full[0], full[80] = 2, 3
	for _, n := range []int{0, 1, 12, 80, 81, 96} {
		want := 3
		if n == 0 {
			want = 0
		}
		if got, fallback := parseInfo(full[:n]); got != want || fallback {
			t.Errorf("%d bytes: %d subflows, fallback %v", n, got, fallback)
		}
	}
	binary.NativeEndian.PutUint32(full[8:], infoFallback)
	if _, fallback := parseInfo(full[:12]); !fallback {
		t.Error("fallback is not seen")
	}
	if parseSubflows(1, 100, make([]byte, sizeSubflow), make([]byte, 1000)) != nil {
		t.Error("a structure of unknown size was read")
	}
}
