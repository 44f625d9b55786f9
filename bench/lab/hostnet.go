package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netStep is one change to a host's network, as `ip` and `sysctl` would make
// it. Do selects which of the other fields count.
type netStep struct {
	Do     string `json:"do"` // "up", "down", "running", "veth", "vxlan", "addr", "route", "rule", "sysctl"
	Link   string `json:"link,omitempty"`
	Peer   string `json:"peer,omitempty"`     // veth: name of the other end
	Pid    int    `json:"pid,omitempty"`      // veth: whose namespace gets the other end
	Addr   string `json:"addr,omitempty"`     // addr: prefix; route: destination, "" = default v4; rule: source prefix, or destination with Value "to"
	Via    string `json:"via,omitempty"`      // route: gateway
	Table  int    `json:"table,omitempty"`    // route, rule
	Metric int    `json:"metric,omitempty"`   // route
	Prio   int    `json:"priority,omitempty"` // rule
	Value  string `json:"value,omitempty"`    // sysctl: Link is its name, with dots
}

// String is the step as a command line, for errors.
func (s netStep) String() string {
	switch s.Do {
	case "veth":
		return fmt.Sprintf("ip link add %s type veth peer name %s netns %d", s.Link, s.Peer, s.Pid)
	case "vxlan":
		return fmt.Sprintf("ip link add %s type vxlan id 1 local %s remote %s dstport 4789", s.Link, s.Addr, s.Via)
	case "addr":
		return fmt.Sprintf("ip address add %s dev %s", s.Addr, s.Link)
	case "route":
		return fmt.Sprintf("ip route add %q via %q dev %q table %d metric %d", s.Addr, s.Via, s.Link, s.Table, s.Metric)
	case "rule":
		return fmt.Sprintf("ip rule add priority %d from %s lookup %d", s.Prio, s.Addr, s.Table)
	case "sysctl":
		return fmt.Sprintf("sysctl -w %s=%s", s.Link, s.Value)
	}
	return fmt.Sprintf("ip link set %s %s", s.Link, s.Do)
}

func applySteps(steps []netStep) error {
	for _, s := range steps {
		if s.isIPv6() && !haveIPv6() {
			continue // the rest works without
		}
		if err := s.apply(); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (s netStep) isIPv6() bool {
	return strings.Contains(s.Addr, ":") || s.Do == "sysctl" && strings.HasPrefix(s.Link, "net.ipv6.")
}

// haveIPv6 reports whether the kernel speaks IPv6.
func haveIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func (s netStep) apply() error {
	switch s.Do {
	case "up":
		return linkUp(s.Link)
	case "down":
		link, err := netlink.LinkByName(s.Link)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	case "running":
		return waitRunning(s.Link)
	case "veth":
		attrs := netlink.NewLinkAttrs()
		attrs.Name = s.Link
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: s.Peer, PeerNamespace: netlink.NsPid(s.Pid)})
	case "vxlan":
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = s.Link, 1450
		if err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, SrcAddr: net.ParseIP(s.Addr), Group: net.ParseIP(s.Via), Port: 4789}); err != nil {
			return err
		}
		if !haveIPv6() {
			return nil
		}
		return sysctl("net.ipv6.conf."+s.Link+".disable_ipv6", "1").apply() // no router solicitations over the line
	case "addr":
		link, err := netlink.LinkByName(s.Link)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(s.Addr)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD // usable at once; nobody else can have it
		return netlink.AddrAdd(link, addr)
	case "route":
		return s.addRoute()
	case "rule":
		rule := netlink.NewRule()
		_, src, err := net.ParseCIDR(s.Addr)
		if err != nil {
			return err
		}
		rule.Table, rule.Priority = s.Table, s.Prio
		if s.Value == "to" {
			rule.Dst = src
		} else {
			rule.Src = src
		}
		return netlink.RuleAdd(rule)
	case "sysctl":
		path := filepath.Join("/proc/sys", strings.ReplaceAll(s.Link, ".", "/"))
		err := os.WriteFile(path, []byte(s.Value), 0)
		if errors.Is(err, unix.EROFS) {
			return fmt.Errorf("%w (is this a container that may not change its own network settings?)", err)
		}
		return err
	}
	return fmt.Errorf("unknown step %q", s.Do)
}

func (s netStep) addRoute() error {
	route := &netlink.Route{Table: s.Table, Priority: s.Metric}
	if s.Link != "" {
		link, err := netlink.LinkByName(s.Link)
		if err != nil {
			return err
		}
		route.LinkIndex = link.Attrs().Index
	}
	if s.Via != "" {
		route.Gw = net.ParseIP(s.Via)
	}
	dst := s.Addr
	if dst == "" {
		dst = "0.0.0.0/0"
	}
	var err error
	if _, route.Dst, err = net.ParseCIDR(dst); err != nil {
		return err
	}
	if s.Via == "" && route.Dst.IP.To4() != nil {
		route.Scope = netlink.SCOPE_LINK
	}
	return netlink.RouteAdd(route)
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	return nil
}

// waitRunning waits until the kernel has noticed that a wire has both ends up,
// which it may put off for a second; IPv6 does not work before.
func waitRunning(name string) error {
	for range 500 {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the wire has not come up within 5 s")
}

// openTun makes a TUN device that is down, and returns its non-blocking file
// descriptor. The device lives as long as the descriptor. Without IFF_VNET_HDR
// the kernel cuts large segments itself: what is read is what a wire carries.
func openTun(name string, mtu int) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	fail := func(doing string, err error) (int, error) {
		unix.Close(fd)
		return -1, fmt.Errorf("%s %s: %w", doing, name, err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fail("name TUN device", err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fail("make TUN device", err)
	}
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetMTU(link, mtu)
	}
	if err == nil {
		// The emulator is the queue; this one only has to outlast a late wake-up.
		err = netlink.LinkSetTxQLen(link, 1000)
	}
	if err != nil {
		return fail("set up TUN device", err)
	}
	return fd, nil
}

// sendFD passes a file descriptor through a unix socket.
func sendFD(socket, fd int) error {
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("pass a file descriptor to the parent: %w", err)
	}
	return nil
}

// receiveFD takes one file descriptor out of a unix socket.
func receiveFD(socket int) (int, error) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(socket, b[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("take a file descriptor from a host: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return -1, errors.New("a host sent no file descriptor")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("a host sent no file descriptor")
	}
	return fds[0], nil
}
