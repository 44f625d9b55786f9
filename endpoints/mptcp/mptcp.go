package mptcp

import (
	"errors"
	"net/netip"
	"time"
)

// Support is what this machine can do.
type Support struct {
	// Missing is why connections cannot have several paths; empty when they can.
	Missing string
	// Congestion is the congestion control for SetCongestion that fills a line with
	// loss: "bbr" where the kernel has it, else empty.
	Congestion string
}

// BBR is the congestion control that stands loss and unlike paths; others than this
// one need lines that lose nothing.
const BBR = "bbr"

// Cubic is the congestion control that every kernel has.
const Cubic = "cubic"

// ErrPlain says that a connection is TCP over one path: one end, or a box on the
// way, does not speak MPTCP.
var ErrPlain = errors.New("plain TCP: the other end or a box on the way does not speak MPTCP")

// Options are those of a connection.
type Options struct {
	Source netip.Addr // local address; the zero Addr leaves it to the kernel
	Device string     // interface of the first subflow; empty: by routing
	Plain  bool       // TCP over one path
}

// Info is what the kernel tells of a connection.
type Info struct {
	Count    int       // subflows now, the first one included
	Subflows []Subflow // empty where the kernel cannot list them
}

// Subflow is one path of a connection. Rates and times are those of this end's
// sending side.
type Subflow struct {
	Local, Remote   netip.AddrPort
	RTT, MinRTT     time.Duration
	Rate            float64 // delivery rate, bytes/s; 0: unknown
	Sent, Received  uint64  // bytes
	Retransmitted   uint64  // bytes of Sent that were sent again
	Acked           uint64  // bytes
	CongestionState uint8   // tcp_ca_state; 0: open
}

// Endpoint is a local address from which the kernel may make subflows, or one that it announces.
type Endpoint struct {
	Addr    netip.Addr
	Ifindex int  // of the device that has it; its subflows leave there
	Backup  bool // carries only while no other subflow can
	// Mesh has subflows made to the addresses that the other end announces, too: without it those would leave wherever the routing of this
	// machine says, from any address.
	Mesh bool `json:",omitempty"`
	// Announce tells the other end of the address, with the port of the connection; no subflow is made from it. It need not be one of this machine:
	// a box that forwards from there will do.
	Announce bool `json:",omitempty"`
}
