package udptest

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

// Passage is one datagram on its way, as the hook sees it.
type Passage struct {
	From, To netip.AddrPort
	Data     []byte // to look at only
	ECN      uint8
	Device   string // the sending socket's udp.Options
	Mark     uint32
}

// Verdict is what becomes of a datagram. The zero value delivers it at once.
type Verdict struct {
	Delay  time.Duration  // until it arrives
	Drop   bool           // lost without a word
	Err    error          // WriteBatch fails with this; see the Err variables of this package
	CE     bool           // congestion experienced, if the datagram is ECN-capable
	Copies int            // delivered so many times more
	From   netip.AddrPort // if valid, what the receiver sees as peer (a NAT)
	To     netip.AddrPort // if valid, where it goes instead
}

// Hook decides about a datagram, in the sender's goroutine. Calls come one at a time. It may not use the network's sockets.
type Hook func(Passage) Verdict

// Errors for Verdict.Err, as a Linux socket gives them.
var (
	ErrMessageTooLong error = syscall.EMSGSIZE
	ErrPathDown       error = syscall.ENETUNREACH
)

// inboxDepth is how many datagrams a socket holds, those on the way included. More are lost and counted as KernelDrops.
const inboxDepth = 1 << 16

// Network joins hosts. It is safe for concurrent use.
type Network struct {
	hookMu sync.Mutex
	hook   Hook

	mu    sync.Mutex
	hosts map[netip.Addr]*Host
	seq   uint64
}

// New makes a network without hosts, hook or delay.
func New() *Network { return &Network{hosts: make(map[netip.Addr]*Host)} }

// SetHook puts f in place of the hook before; nil takes it away. Datagrams on the way are not affected.
func (n *Network) SetHook(f Hook) {
	n.hookMu.Lock()
	defer n.hookMu.Unlock()
	n.hook = f
}

// decide asks the hook.
func (n *Network) decide(p Passage) Verdict {
	n.hookMu.Lock()
	defer n.hookMu.Unlock()
	if n.hook == nil {
		return Verdict{}
	}
	return n.hook(p)
}

// Host is a machine with addresses.
type Host struct {
	net     *Network
	addrs   []netip.Addr
	sockets map[netip.AddrPort]*Socket
	port    uint16
}

// Host adds a machine. It panics if an address is taken, which is a mistake in the test.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	h := &Host{net: n, sockets: make(map[netip.AddrPort]*Socket), port: 40000}
	for _, a := range addrs {
		h.AddAddr(a)
	}
	return h
}

// AddAddr gives the host one more address.
func (h *Host) AddAddr(a netip.Addr) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.hosts[a] != nil {
		panic(fmt.Sprintf("udptest: address %v is taken", a))
	}
	h.net.hosts[a] = h
	h.addrs = append(h.addrs, a)
}

// RemoveAddr takes an address away: what is sent from it fails with EADDRNOTAVAIL, what is sent to it is lost, also what is on the way.
func (h *Host) RemoveAddr(a netip.Addr) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.hosts[a] == h {
		delete(h.net.hosts, a)
		h.addrs = slices.DeleteFunc(h.addrs, func(b netip.Addr) bool { return a == b })
	}
}

// Listen opens a socket on the host, with the meaning of udp.Listen. Device and Mark are only shown to the hook.
func (h *Host) Listen(opts udp.Options) (*Socket, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, port := opts.Local.Addr().Unmap(), opts.Local.Port()
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
	}
	if !addr.IsUnspecified() && n.hosts[addr] != h {
		return nil, fmt.Errorf("listen on UDP %v: %w", opts.Local, syscall.EADDRNOTAVAIL)
	}
	for port == 0 {
		h.port++
		if _, taken := h.sockets[netip.AddrPortFrom(addr, h.port)]; !taken {
			port = h.port
		}
	}
	local := netip.AddrPortFrom(addr, port)
	if h.sockets[local] != nil {
		return nil, fmt.Errorf("listen on UDP %v: %w", local, syscall.EADDRINUSE)
	}
	s := &Socket{host: h, opts: opts, local: local, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	h.sockets[local] = s
	return s, nil
}

// socketFor is the socket of the host that a datagram to the address given belongs to. The network is locked.
func (h *Host) socketFor(to netip.AddrPort) *Socket {
	if s := h.sockets[to]; s != nil {
		return s
	}
	if to.Addr().Is4() {
		if s := h.sockets[netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())]; s != nil {
			return s
		}
	}
	return h.sockets[netip.AddrPortFrom(netip.IPv6Unspecified(), to.Port())] // both families
}

// source chooses and checks the address a socket sends from. The network is locked.
func (h *Host) source(s *Socket, d *udp.Datagram) (netip.Addr, error) {
	a := d.Local.Unmap()
	if !a.IsValid() || a.IsUnspecified() {
		a = s.local.Addr()
	}
	if a.IsUnspecified() {
		for _, own := range h.addrs {
			if own.Is4() == d.Peer.Addr().Unmap().Is4() {
				return own, nil
			}
		}
		return a, syscall.ENETUNREACH
	}
	if h.net.hosts[a] != h {
		return a, syscall.EADDRNOTAVAIL
	}
	return a, nil
}

// deliver puts a datagram in the inbox it belongs to.
func (n *Network) deliver(p Passage, v Verdict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to, from, ecn := p.To, p.From, p.ECN
	if v.To.IsValid() {
		to = v.To
	}
	if v.From.IsValid() {
		from = v.From
	}
	if v.CE && ecn != udp.NotECT {
		ecn = udp.CE
	}
	h := n.hosts[to.Addr()]
	if h == nil {
		return
	}
	s := h.socketFor(to)
	if s == nil {
		return
	}
	for range 1 + v.Copies {
		n.seq++
		s.put(letter{
			at:  time.Now().Add(v.Delay),
			seq: n.seq,
			d:   udp.Datagram{Data: bytes.Clone(p.Data), Peer: from, Local: to.Addr(), ECN: ecn},
		})
	}
}
