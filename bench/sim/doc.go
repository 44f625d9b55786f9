// Package sim runs the scenarios of the bench in virtual time: two real
// sessions (tunnel.Session) over the link model of bench/link, with models of
// TCP and UDP hosts and of applications behind them. Thirty seconds of a bond of 110 Mb/s take one
// or two; nothing sleeps, nothing is random but by the seed.
//
//	client ── gateway ══ lines ══ exit ── pipe ── server        Run (run.go)
//	client ─────────── one line ─────────────── server          Plain (plain.go)
//
// # Parts
//
//	clock.go        virtual time: a heap of actors
//	world.go        two hosts and a network between them
//	run.go          the network that is a bond: both engines, in the real one's order
//	pipe.go         the line between exit and server
//	uplink.go       its lines: addresses, NAT, what is put on them and arrives
//	fault.go        what happens to them: cuts, rates, rebinding, paths that come and go
//	invariant.go    what must hold after every step
//	trace.go        the hash of everything that happened to datagrams
//	flow.go         traffic and what is seen of it
//	packet.go       IPv4, TCP and UDP as bytes, because the session reads 5-tuples
//	tcp*.go         TCP; segments.go its scoreboard; cc.go, hystart.go, bbr.go
//	                congestion control
//	stream.go       the applications at both ends of a stream
//	udp.go          datagrams at a constant rate, and echoes
//
// # Steps
//
// The clock runs one actor: a line delivers, a session's deadline passes, a
// host's timer fires. Then everything moves that can move at this instant:
// hosts hand packets to sessions, sessions datagrams to lines and packets to
// hosts, until nothing is left. Then the invariants are checked, and time
// goes on to the next actor. Actors due at the same instant run in the order in
// which they were made, so that the same scenario is the same run: Run.Hash is
// equal for equal seeds, to the last datagram.
//
// # The TCP model
//
// It stands in for Linux: CUBIC (RFC 9438) with the HyStart of Linux, or
// HyStart++ (RFC 9406); or BBR version 1; SACK and DSACK (RFC 2018, 2883),
// RACK-TLP (RFC 8985) with the adaptive reordering window, PRR (RFC 6937),
// undo by DSACK and timestamps (RFC 3708, 4015), F-RTO in its simplest form
// (RFC 5682), RTO (RFC 6298) with Linux's floor of 200 ms for the variance term,
// delayed and compressed ACKs, optionally ACKs stretched by GRO, an autotuned
// receive window of up to half of 6 MB. No pacing, but by BBR.
//
// Measured against Linux 6.18 over the lab's emulator with the lines of DESIGN
// section 9 (one flow, CUBIC): within 1 % on clean lines, in the first second
// as well as later; on lossy ones 2.1 against 1.9 (20 Mb/s, 1 % loss, 40 ms),
// 2.5 against 1.9 .. 3.1 (30 Mb/s, 0.5 %, 50 ms) Mb/s. Through the bond, packets,
// one flow: V+A 96 against 95 % of the limit in the lab, V+L 92 against 93, V+T 95
// against 91. On L2+L3 both scatter between 50 and 90 % from seed to seed.
//
// # Streams
//
// A stream's applications stand at the sessions, where the node has its TCP
// connections: they write blocks of 64 KB while the session has room and read
// all there is, or at a limited rate. A download is the answer to a request of
// 200 bytes. Every byte is compared with what was written, every end with what
// was ended. The connections between the client and the gateway, and between the
// exit and the server, cost nothing; ServerDelay does not hold for them.
//
// # Ownership and goroutines
//
// A Run belongs to one goroutine and starts none. Sessions, lines and hosts in
// it own the packet buffers as they would in the daemon; a Run that is dropped
// leaves those under way to the garbage collector.
//
// # Known weaknesses
//
// No processor time: no batches that are late, no queue in a socket or a
// device. Hosts stand beside their session without a delay. TCP: data flows one
// way on a connection, no FIN, no ECN, no TSO bursts, no idle restart; a
// receiver that reads at once. Inner packets are IPv4.
package sim
