package forward

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace with a thread in it.
type space struct {
	work chan func()
	fd   int
}

// enter moves the calling test into a namespace of its own, or skips.
func enter(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread and the namespace end with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace of its own: %v", err)
	}
}

// newSpace makes a namespace beside the test's.
func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		ready <- err
		for f := range s.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	t.Cleanup(func() { close(s.work); unix.Close(s.fd) })
	return s
}

// do runs f in the namespace.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setUp gives an interface of the thread's namespace an address, and the namespace a default route if there is a gateway.
func setUp(t *testing.T, name, addr, gateway string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	a, err := netlink.ParseAddr(addr)
	must(t, err)
	must(t, netlink.AddrAdd(l, a))
	must(t, netlink.LinkSetUp(l))
	if gateway != "" {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gateway)}))
	}
}

// TestKernelForwards has a client, a relay (the test's thread) and an exit, in a row.
func TestKernelForwards(t *testing.T) {
	enter(t)
	client, exit := newSpace(t), newSpace(t)
	for name, s := range map[string]*space{"client": client, "exit": exit} {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "up0", PeerNamespace: netlink.NsFd(s.fd)})
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("the kernel has no veth")
		}
		must(t, err)
	}
	setUp(t, "client", "10.1.0.1/24", "")
	setUp(t, "exit", "10.2.0.1/24", "")
	client.do(func() { setUp(t, "up0", "10.1.0.2/24", "10.1.0.1") })
	exit.do(func() { setUp(t, "up0", "10.2.0.2/24", "10.2.0.1") }) // it could answer the client directly, and must not

	to := netip.MustParseAddrPort("10.2.0.2:7117")
	other := netip.MustParseAddrPort("10.2.0.2:22")
	seen := make(chan string, 1) // the first that the exit sees of a client
	for _, at := range []netip.AddrPort{to, other} {
		exit.do(func() {
			l, err := net.Listen("tcp4", at.String())
			must(t, err)
			u, err := net.ListenPacket("udp4", at.String())
			must(t, err)
			t.Cleanup(func() { l.Close(); u.Close() })
			serveEcho(l, watched{u, seen})
		})
	}
	cfg := Config{Listen: netip.MustParseAddrPort("[::]:443"), To: to, Closed: true}
	ask := func(target string, within time.Duration) (udpOK, tcpOK bool) {
		client.do(func() {
			c, err := net.Dial("udp4", target)
			must(t, err)
			defer c.Close()
			udpOK = askUDP(t, c, within)
			d := net.Dialer{Timeout: within}
			if tcp, err := d.Dial("tcp4", target); err == nil {
				defer tcp.Close()
				tcpOK = askUDP(t, tcp, within)
			}
		})
		return udpOK, tcpOK
	}

	// A flow that is tracked from before the rules, and goes on.
	var early net.Conn
	client.do(func() {
		var err error
		early, err = net.Dial("udp4", "10.1.0.1:443")
		must(t, err)
		early.Write([]byte("early"))
	})
	defer early.Close()

	if err := Apply(cfg); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	if u, tcp := ask("10.1.0.1:443", patience); !u || !tcp {
		t.Fatalf("through the relay: UDP %v, TCP %v", u, tcp)
	}
	// The first try may get no further than the error that was waiting: nobody listened.
	if !askUDP(t, early, 100*time.Millisecond) && !askUDP(t, early, patience) {
		t.Error("a flow from before the rules is not passed on")
	}
	if from := <-seen; strings.HasPrefix(from, "10.1.") {
		t.Errorf("the exit sees the client as %v, want the relay", from)
	}
	// Nowhere else: not to another port of the exit, which the machine would route to, nor by another port of the relay.
	for _, target := range []string{"10.2.0.2:22", "10.2.0.2:7117", "10.1.0.1:444"} {
		if u, tcp := ask(target, 100*time.Millisecond); u || tcp {
			t.Errorf("%s is reached past the relay: UDP %v, TCP %v", target, u, tcp)
		}
	}
	must(t, Apply(cfg)) // again, as after a crash
	if u, _ := ask("10.1.0.1:443", patience); !u {
		t.Error("after a second Apply UDP does not pass")
	}
	must(t, Remove(cfg))
	must(t, Remove(cfg))
	if askUDP(t, early, 100*time.Millisecond) {
		t.Error("a flow goes on after Remove")
	}
	if u, tcp := ask("10.1.0.1:443", 100*time.Millisecond); u || tcp {
		t.Errorf("after Remove: UDP %v, TCP %v", u, tcp)
	}
}

// watched notes who sends.
type watched struct {
	net.PacketConn
	seen chan string
}

func (w watched) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := w.PacketConn.ReadFrom(b)
	if err == nil {
		select {
		case w.seen <- a.String():
		default:
		}
	}
	return n, a, err
}

func TestKernelHoldsWhatTextSays(t *testing.T) {
	path, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("the nft command is not installed: nothing to compare with")
	}
	for _, c := range []Config{
		{Listen: netip.MustParseAddrPort("[::]:7117"), To: netip.MustParseAddrPort("192.0.2.1:443"), Closed: true},
		{Listen: netip.MustParseAddrPort("192.0.2.9:7117"), To: netip.MustParseAddrPort("192.0.2.1:7117")},
		{Listen: netip.MustParseAddrPort("[::]:7117"), To: netip.MustParseAddrPort("[2001:db8::1]:7117")},
	} {
		t.Run(c.To.String(), func(t *testing.T) {
			enter(t)
			if err := Apply(c); errors.Is(err, ErrUnsupported) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(path, "list", "ruleset").CombinedOutput()
			if err != nil || string(out) != Text(c) {
				t.Errorf("nft lists (%v)\n%swant\n%s", err, out, Text(c))
			}
			cmd := exec.Command(path, "--check", "-f", "-")
			cmd.Stdin = strings.NewReader(Text(c))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("nft does not take the text: %v %s", err, out)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{
		{},
		{Listen: netip.MustParseAddrPort("[::]:7117"), To: netip.MustParseAddrPort("0.0.0.0:1")},
		{Listen: netip.MustParseAddrPort("192.0.2.1:7117"), To: netip.MustParseAddrPort("[2001:db8::1]:7117")},
	} {
		if Apply(c) == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
