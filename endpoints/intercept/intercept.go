package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Names and numbers by which everything of ours is recognised. They lie outside
// of what endpoints/uplink sweeps (priorities 17700..17799, protocol 177).
const (
	// Table is the name of the nftables table, of family inet.
	Table = "bondd_intercept"

	// MarkLAN is on packets of the LAN that are taken, MarkOwn on those of this
	// machine. They differ because the kernel checks where a packet of the LAN
	// came from, with its mark where src_valid_mark is set (wg-quick does), and that
	// check must not find the rule that makes every address local.
	MarkLAN uint32 = 0xb0de0001
	// In the second byte of MarkOwn is the number of the exit.
	MarkOwn     uint32 = 0xb0de0004
	markOwnMask uint32 = 0xffff00ff
	// MarkSocket is on the listeners and the accepted sockets: it keeps
	// tcp_fwmark_accept from giving them the mark of the SYN, with which their
	// answers would be routed back to this machine.
	MarkSocket uint32 = 0xb0de0002
	// MarkDirect sends a packet by the main table instead of into the bond.
	MarkDirect uint32 = 0xb0de0003

	// markOuter under markOuterMask is on everything that carries the bond itself
	// (endpoints/uplink, MarkBase).
	markOuter     uint32 = 0xb0dd0000
	markOuterMask uint32 = 0xffff0000

	// markExit with an exit's number is on what a rule sends by that exit (endpoints/nft, MarkExit).
	markExit uint32 = 0xb0df0000

	// RouteTable has one route: everything is local.
	RouteTable = 45998
	// Protocol is the origin written on our routes and rules; not endpoints/uplink's 177.
	Protocol = 178

	priorityCheck  = 17690 // where a taken packet of the LAN came from, see MarkLAN
	priorityLAN    = 17691
	priorityOwn    = 17692
	priorityDirect = 17693
)

const (
	// DefaultPort is where the listeners are if Config.Port is 0: next to the
	// exit's 7117 and below the usual ephemeral range, so that no connection gets it by chance.
	DefaultPort = 7118

	// DefaultNegativeTTL covers a client's immediate further tries (browsers
	// make theirs within some seconds) and is over soon for a service that restarts.
	DefaultNegativeTTL = 5 * time.Second
	minNegativeTTL     = 100 * time.Millisecond
	maxNegativeTTL     = 10 * time.Minute

	// maxNegative bounds each set of negative results: about 0.5 MB of kernel
	// memory each when a scan fills it. What does not fit is not remembered.
	maxNegative = 4096

	// maxBypass bounds the spans of the bypass list, which are sent in one transaction.
	maxBypass = 20000
)

// Service says how a connection that is not taken goes out.
type Service uint8

const (
	// Packet leaves it to the kernel: into the TUN, like what is not TCP.
	Packet Service = iota
	// Direct sends it by the main table's default route, around the bond, with
	// the uplink's address (masqueraded).
	Direct
)

func (s Service) String() string {
	if s == Direct {
		return "direct"
	}
	return "packet"
}

// PortRange is First..Last, both included.
type PortRange struct{ First, Last uint16 }

// Bypass is one entry of the list of what is not intercepted. It applies to a
// destination in one of Prefixes (empty: any) and, if Ports is not empty, to
// TCP and UDP to one of these; without Ports to every protocol. The first entry
// that applies counts. Both lists empty is an error.
type Bypass struct {
	Prefixes []netip.Prefix // IPv4 and IPv6; may overlap
	Ports    []PortRange    // may overlap
	Service  Service
}

// Config is all that the interception depends on.
type Config struct {
	// TUN is the bond's device: only what the kernel would send there is taken.
	// Empty: everything that is forwarded, and all own traffic that leaves the machine.
	TUN string
	// LAN are the inbound interfaces whose traffic is taken; empty: all.
	LAN []string
	// Own takes the connections of this machine too.
	Own bool
	// IPv6 is the state that SetIPv6 changes.
	IPv6   bool
	Bypass []Bypass
	// Port of the listeners on 127.0.0.1 and ::1; 0: DefaultPort. The exit with number n has port Port + 1 + n.
	Port uint16
	// Exits are those beside the one of TUN for which packets are marked, by their numbers from 1 on.
	Exits []Exit
	// NegativeTTL is how long a negative result is remembered: 0 is
	// DefaultNegativeTTL, else 100 ms to 10 min.
	NegativeTTL time.Duration
}

// Exit is an exit with a device of its own. Accept tells by its number what was for it.
type Exit struct {
	Number uint8 // 1 to 99
	TUN    string
	Takes4 bool // IPv4 connections for it are taken
	Takes6 bool // IPv6 ones are, where any are
}

// Connection is one that was taken.
type Connection struct {
	Conn           *net.TCPConn
	Client, Target netip.AddrPort
	Exit           uint8 // number of the exit it is for; 0: that of TUN
}

var (
	// ErrRights says that the process may not change the network. It also is
	// fs.ErrPermission.
	ErrRights = fmt.Errorf("not allowed to intercept: run as root or give the binary CAP_NET_ADMIN: %w", fs.ErrPermission)

	// ErrUnsupported says that the kernel lacks a feature. It also is
	// errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("this system lacks a needed feature: %w", errors.ErrUnsupported)

	// ErrRemoved says that somebody else removed the table; Restore puts it back.
	ErrRemoved = errors.New("the nftables table of the interception was removed by somebody else")

	// ErrBusy says that the port is in use, most likely by another bondd that
	// intercepts in the same network namespace.
	ErrBusy = errors.New("another bondd intercepts here, or another program has the port")
)

// maxName is the longest name of a network device in bytes (IFNAMSIZ - 1).
const maxName = 15

func (c Config) port() uint16 {
	if c.Port == 0 {
		return DefaultPort
	}
	return c.Port
}

// exitPort is the port of the listeners for an exit, 0: the one of TUN.
func (c Config) exitPort(number uint8) uint16 {
	if number == 0 {
		return c.port()
	}
	return c.port() + 1 + uint16(number)
}

// tuns are the devices of all exits, without those that have none yet.
func (c Config) tuns() []string {
	names := []string{c.TUN}
	for _, e := range c.Exits {
		if e.TUN != "" {
			names = append(names, e.TUN)
		}
	}
	return names
}

// ownMark is on connections of this machine for an exit.
func ownMark(number uint8) uint32 { return MarkOwn | uint32(number)<<8 }

func (c Config) negativeTTL() time.Duration {
	if c.NegativeTTL == 0 {
		return DefaultNegativeTTL
	}
	return c.NegativeTTL
}

// direct tells whether anything goes out directly.
func (c Config) direct() bool {
	for _, b := range c.Bypass {
		if b.Service == Direct {
			return true
		}
	}
	return false
}

// Check tells what is wrong with the configuration. Open does so too.
func (c Config) Check() error {
	for _, name := range append(c.tuns(), c.LAN...) {
		if len(name) > maxName || strings.ContainsAny(name, "\"*\\/ \t\n") {
			return fmt.Errorf("intercept: %q cannot be the name of an interface: give at most %d letters or digits", name, maxName)
		}
	}
	for _, name := range c.LAN {
		if name == "" || name == c.TUN {
			return fmt.Errorf("intercept: %q cannot be an interface of the LAN", name)
		}
	}
	if ttl := c.negativeTTL(); ttl < minNegativeTTL || ttl > maxNegativeTTL {
		return fmt.Errorf("intercept: %v is no time to remember refusals: give %v to %v", ttl, minNegativeTTL, maxNegativeTTL)
	}
	total := 0
	for i, b := range c.Bypass {
		if err := b.check(); err != nil {
			return fmt.Errorf("intercept: entry %d of the bypass list: %w", i+1, err)
		}
		total += len(b.Prefixes) + len(b.Ports)
	}
	if total > maxBypass {
		return fmt.Errorf("intercept: the bypass list has %d prefixes and ports: give at most %d", total, maxBypass)
	}
	return nil
}

func (b Bypass) check() error {
	if len(b.Prefixes) == 0 && len(b.Ports) == 0 {
		return errors.New("it has neither a prefix nor a port and would apply to everything: give one")
	}
	for _, p := range b.Prefixes {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("%v is not a prefix: write it like 192.0.2.0/24 or 2001:db8::/32", p)
		}
	}
	for _, r := range b.Ports {
		if r.First == 0 || r.Last < r.First {
			return fmt.Errorf("%d-%d is not a range of ports: give 1 to 65535, the lower one first", r.First, r.Last)
		}
	}
	if b.Service > Direct {
		return fmt.Errorf("service %d is neither direct nor packet", b.Service)
	}
	return nil
}
