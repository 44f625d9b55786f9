// Package scheduler decides: which packet goes on which path and when, what is lost, and when a received packet may
// be released. It is a pure state machine, the heart of bondd.
//
// # Words
//
//   - uplink: a local way out (interface and source address). remote: an address of an exit, or of a relay.
//   - path = uplink × remote, PathID for the life of a session. Paths of one uplink form a group.
//   - packet: an IP packet of the user. frame: a unit inside a datagram. datagram: one UDP payload on one path.
//   - flow: one inner 5-tuple. seq: order inside one ordered flow. pn: number of a datagram on its path, never reused.
//
// # Contract
//
// Bond is the sending side, Reorder the receiving side of ordered flows, Path holds what is known of one path in both
// directions. Nothing here reads a clock, starts a goroutine, takes a lock or rolls its own dice: now is the first
// argument, a time.Duration on the owner's monotonic clock, and never runs backwards. The owner, one goroutine, calls
//
//	Enqueue            a packet has come from the TUN device
//	Next, Record       pull until false: what to send now, and note what was sent
//	OnAck, Received    news from the peer
//	Advance            timers; when now >= Deadline()
//
// A packet is known here by a Handle, a number that its owner chose; the bytes are never looked at. Handles whose packet
// is finished with (acknowledged, dropped, given up) come back from Freed.
//
// # How a packet is placed
//
// Packets wait in one fair queue (DRR++ with CoDel, RFC 8290) and are bound to a path as late as possible. For a frame
// of L bytes on path p the arrival is estimated as
//
//	A_p = now + max(pacing wait, (inflight + L - cwnd)+ / r_p) + L/r_p + D_p + k (D90_p - D_p)
//
// with D_p the relative one-way delay, D90_p its upper quantile, and k = 1 for ordered flows. The path of the least A_p
// is taken if it is ready. Otherwise a ready but slower one is taken only if the faster ones would not drain the backlog
// sooner (ECF), and if its extra delay is allowed for the class. Waiting is a legal answer. What a sender that heeds no drops
// sends too much takes a path beyond that delay, if one idles (deaf.go).
//
// # Known weaknesses
//
// A group of paths over one uplink is served through its best member, and what only several members carry together (per-flow policing at the
// provider) is found by a trial (split.go): not before a transfer has lasted some five seconds, nor beside a neighbour, nor on a metered uplink; where
// jitter looks like a queue that the members share, only after a minute; and anew after each silence of the uplink. One-way delays of paths that carry
// no data are as old as their last probe (1 s).
//
// RFCs: 9002 (loss detection, RTT), 8985 (RACK), 8290 and 8289 (FQ-CoDel), 9000 §13 (ACK ranges).
package scheduler
