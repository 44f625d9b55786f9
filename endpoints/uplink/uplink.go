package uplink

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// Uplink is one local way out: an interface with at least one usable source
// address and a way to reach the rest of the world over it, or one of several
// next hops on such an interface.
type Uplink struct {
	// Index is the number of the uplink in marks and tables, 1..MaxIndex. It
	// belongs to the name for the life of the monitor: an uplink that
	// vanishes and returns has the same number, and no number changes because
	// another uplink came or went.
	Index   int
	Name    string // unique: the interface's, e.g. "eth1", or Hop.Name
	Device  string // the interface where Name is that of a Hop; see Interface
	Ifindex int    // kernel's interface number; changes when the device is made anew
	MTU     int    // IP MTU of the interface in bytes

	// Addrs are the usable addresses with the length of their subnet: no
	// link-local, tentative, deprecated or failed ones. IPv4 before IPv6, each in
	// ascending order.
	Addrs []netip.Prefix

	// Source4 and Source6 are the addresses to send from; the zero Addr when
	// the uplink has none of that family.
	Source4, Source6 netip.Addr

	// Gateway4 and Gateway6 are the next hops of the best default route in the
	// main table; the zero Addr when there is none (point-to-point, or no
	// default route). Gateway4 may be an IPv6 address (RFC 5549), Gateway6 may
	// be link-local.
	Gateway4, Gateway6 netip.Addr

	// Peer4 is the far end of a point-to-point interface's IPv4 address; the zero
	// Addr when there is none.
	Peer4 netip.Addr

	// Default4 and Default6 tell whether the main table has a default route
	// over this interface.
	Default4, Default6 bool

	PointToPoint bool // the interface needs no next hop (ppp, tun, wireguard)
	Named        bool // the configuration asks for it by name
	Up           bool // administratively up and the link is running
}

// Mark is the firewall mark (SO_MARK) of outer sockets on this uplink.
func (u Uplink) Mark() uint32 { return MarkBase | uint32(u.Index) }

// Table is the number of the uplink's routing table.
func (u Uplink) Table() int { return TableBase + u.Index }

// Interface is the name of the interface.
func (u Uplink) Interface() string {
	if u.Device != "" {
		return u.Device
	}
	return u.Name
}

// Usable4 tells whether an IPv4 datagram can leave by this uplink now.
func (u Uplink) Usable4() bool {
	return u.Up && u.Source4.IsValid() && (u.Gateway4.IsValid() || u.Default4 || u.PointToPoint || u.onLink(true))
}

// Usable6 tells whether an IPv6 datagram can leave by this uplink now.
func (u Uplink) Usable6() bool {
	return u.Up && u.Source6.IsValid() && (u.Gateway6.IsValid() || u.Default6 || u.PointToPoint || u.onLink(false))
}

// onLink tells whether the uplink reaches at least its own subnet.
func (u Uplink) onLink(v4 bool) bool {
	return slices.ContainsFunc(u.Addrs, func(p netip.Prefix) bool {
		return p.Addr().Is4() == v4 && !p.IsSingleIP()
	})
}

// Equal compares everything.
func (u Uplink) Equal(v Uplink) bool { return reflect.DeepEqual(u, v) }

// Snapshot is the whole picture at one moment: a value, never a delta.
type Snapshot struct {
	Uplinks []Uplink // sorted by Name
	IPv6    bool     // the kernel has IPv6 and it is not switched off for all interfaces
}

// Equal compares everything.
func (s Snapshot) Equal(t Snapshot) bool {
	return s.IPv6 == t.IPv6 && slices.EqualFunc(s.Uplinks, t.Uplinks, Uplink.Equal)
}

// Find returns the uplink with that name.
func (s Snapshot) Find(name string) (Uplink, bool) {
	i, ok := slices.BinarySearchFunc(s.Uplinks, name, func(u Uplink, n string) int { return strings.Compare(u.Name, n) })
	if !ok {
		return Uplink{}, false
	}
	return s.Uplinks[i], true
}

// Monitor reports which uplinks exist. One goroutine calls Next; Close may be
// called from any.
type Monitor interface {
	// Next returns the present snapshot at the first call and after that blocks
	// until the picture differs from the one returned last, or ctx ends
	// (its error), or the monitor is closed (ErrClosed). An uplink that was lost
	// and is back before anybody looked is reported too, by an equal snapshot: its
	// routes have to be put back (System.Sync).
	Next(ctx context.Context) (Snapshot, error)
	// SetOptions changes what counts as an uplink; Next sees it. Any goroutine may call it. Uplinks that stay keep their numbers.
	SetOptions(o WatchOptions)
	Close() error
}

// WatchOptions say what counts as an uplink.
type WatchOptions struct {
	TUN     string   // our own device: never an uplink
	Exclude []string // interface names that are never uplinks
	Named   []string // interface names that are uplinks even without a default route
	Hops    []Hop    // next hops that are uplinks of their own; their interfaces are none beside them
	// Patterns are beginnings of interface names; with a default route, such
	// interfaces are uplinks.
	Patterns []string
	// NamedOnly turns finding by default route off: only Named, Hops and Patterns
	// are uplinks.
	NamedOnly bool
}

// Hop is one of several next hops on one interface: a router that is an uplink of
// its own. A family without a next hop is not used.
type Hop struct {
	Device             string
	Gateway4, Gateway6 netip.Addr
}

// Name is the name of the uplink, e.g. "eth0@192.168.1.254".
func (h Hop) Name() string {
	if h.Gateway4.IsValid() {
		return h.Device + "@" + h.Gateway4.String()
	}
	return h.Device + "@" + h.Gateway6.String()
}
