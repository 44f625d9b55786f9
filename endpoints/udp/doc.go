// Package udp is the one place that touches UDP sockets. It sends and receives datagrams in batches, each with its peer, our own
// address, and its ECN field, and knows nothing of sessions or paths.
//
// # Linux
//
// One recvmmsg or sendmmsg moves a batch. Where the kernel has them (probed per socket), UDP_GRO hands over a run of equal datagrams as
// one receive, cut apart here, and UDP_SEGMENT sends a run of equal datagrams to one peer with one walk through the
// stack; both are invisible to the caller. If a device turns out to refuse segmented sends, they are switched off for that socket and
// the run is sent again piece by piece. Control messages carry the local address (IP_PKTINFO, IPV6_PKTINFO) and the ECN field in
// both directions. Fragmentation is off and path MTU messages are ignored (IP_PMTUDISC_PROBE, RFC 8899 does the discovery).
//
// # Other systems
//
// A portable socket over package net: one datagram per system call, no ECN, no choice of source address, no device or mark.
//
// # Goroutines and locks
//
// The package starts none. Sockets are non-blocking and wait in the runtime's poller, so Close unblocks readers and
// writers. One lock for reading and one for writing guard the message headers, which are laid out once; nothing is allocated per
// datagram.
//
// # Namespaces
//
// A socket is made in the network namespace of the thread that calls Listen and is used from any thread afterwards.
//
// # Known weaknesses
//
// Received runs are copied once out of a 64 KB buffer. Up to 1 MiB of such buffers per socket is reserved (touched only as far as datagrams
// fill it). The arrival time is the moment of the system call, not of the interrupt.
//
// References: RFC 768, RFC 3168 (ECN), RFC 3542 (IPv6 control messages), RFC 8899 (DPLPMTUD); Linux udp(7), ip(7), ipv6(7).
package udp
