// Package tunnel is the session between two nodes: packets of the user on one side, sealed datagrams on the other.
//
// A Session composes scheduler (which path, when, what is lost, what may be released), tunnel/wire (bytes) and
// tunnel/seal (keys). It is pure: no goroutine, lock, clock or socket. It is symmetric; the only difference between the
// ends is that the initiator opens paths.
//
// # Contract
//
// One goroutine owns a Session and calls, with now on its monotonic clock and never running backwards:
//
//	PushPackets      IP packets from the TUN device; takes the buffers
//	PushDatagrams    what the sockets received; takes the buffers
//	Advance          timers, when now >= Deadline()
//	PullPackets      IP packets for the TUN device, until 0
//	PullDatagrams    sealed datagrams for the sockets, until 0 or until the sockets are full
//	Event, Stats     news and counters
//
// # A packet's way
//
//	send.go      PushPackets, PullDatagrams: classify, queue, place, frame, seal
//	super.go     super-packets: cut into the datagrams they leave in
//	receive.go   PushDatagrams: open, replay check, frames
//	deliver.go   PullPackets: order, check, hand out
//	path.go      paths: challenge and response, addresses, status
//	mtu.go       datagram size per path (RFC 8899)
//
// # Known weaknesses
//
// A packet is copied once between its buffer and the datagram. A full datagram carries one packet: packets are never
// split over datagrams, so that a path whose datagrams are too small for the TUN's MTU carries only smaller packets
// until the MTU has been lowered.
//
// RFCs: 9000 §8.2 (path validation), 8899 (DPLPMTUD), 6040 (ECN in tunnels), 9001 §6.6 (AEAD limits).
package tunnel
