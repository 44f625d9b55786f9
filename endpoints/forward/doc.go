// Package forward passes TCP and UDP of one port on to one address and port, and nothing to anywhere else: what a relay does.
//
// Two ways to the same end:
//
//   - Apply puts it into the kernel, as the nftables table `inet bondd_relay`: destination and source are translated, the packets never
//     leave the kernel, and MPTCP's options pass. Remove takes the table away. Flows that the kernel tracks from before would go on as
//     they were decided then; both forget them. No other table is read or written.
//   - A Relay does it itself, with sockets: one listening pair, and one socket towards the target for each client, since the target tells
//     clients by their address. It needs no right but the port.
//
// Both pass one family only, that of the target, except that a Relay accepts clients of both.
//
// # Nowhere else
//
// A machine that forwards for the relay would forward everything that is routed to it. With Config.Closed, what
// is not the relay's is dropped in the forward hook, as it was before forwarding was switched on. An owner sets it when the machine did not
// forward before.
//
// # Goroutines of a Relay
//
// One reads the listening UDP socket, one accepts, one looks for idle flows; one per UDP flow reads its answers; two per TCP connection
// copy. Close ends and joins all of them. The table of flows is the only thing shared, under one lock.
//
// # Bounds
//
// UDP flows and TCP connections are bounded, in all and by source (an IPv6 /64). What does not fit is refused and counted. A UDP flow ends when it
// has been idle for flowIdle. Strangers can fill the table of a Relay for that long, as they can a NAT's.
//
// # Known weaknesses
//
// A Relay ends TCP itself: subflows of MPTCP cannot join through it (through the kernel they can). One full send buffer holds up the others
// for as long as the local link takes to drain.
//
// References: RFC 4787 REQ-5 (a UDP mapping lives for at least two minutes), RFC 8684 (MPTCP).
package forward
