package endpoints

import "sync/atomic"

// drop names a reason for which the shell did not carry something further. Drops are counted, never logged one by
// one; what a session drops for reasons of its own is in its statistics.
type drop uint8

const (
	dropStranger       drop = iota // datagram whose header is not ours
	dropUnknownIndex               // datagram for a session that does not exist (any more)
	dropArrivalTooLong             // datagram longer than any of ours
	dropEngineBusy                 // datagram: the engine's inbox was full
	dropPacketBusy                 // packet from the TUN device: the engine's inbox was full
	dropNoSession                  // packet from the TUN device while there is no session
	dropNoGateway                  // packet from the TUN device to an address no connected gateway has
	dropOtherExit                  // packet from an exit by which nothing leaves now
	dropNotRoutable                // packet from the TUN device to a multicast or link-local address
	dropNotIP                      // packet from the TUN device that is neither IPv4 nor IPv6
	dropPacketTooLong              // packet from the TUN device that fits no datagram
	dropMessageTooLong             // datagram larger than the interface or the route allows (MTU probes, as a rule)
	dropPathDown                   // datagram: no way out (address, route or interface is gone)
	dropWriteFailed                // datagram: any other error of the socket
	dropWriterFull                 // datagram: its socket has been stuck for longer than writerPatience
	dropSocketGone                 // datagram for a socket that is closed
	dropReadFailed                 // read of a socket that gave an error; not a datagram
	dropHelloBusy                  // hello refused because too many were under way
	dropHelloFailed                // hello that did not complete: wrong key, wrong version, deadline, garbage

	numDrops
)

var dropNames = [numDrops]string{
	dropStranger:       "datagram_stranger",
	dropUnknownIndex:   "datagram_unknown_session",
	dropArrivalTooLong: "datagram_oversized",
	dropEngineBusy:     "datagram_engine_busy",
	dropPacketBusy:     "packet_engine_busy",
	dropNoSession:      "packet_no_session",
	dropNoGateway:      "packet_no_gateway",
	dropOtherExit:      "packet_other_exit",
	dropNotRoutable:    "packet_not_routable",
	dropNotIP:          "packet_not_ip",
	dropPacketTooLong:  "packet_too_long",
	dropMessageTooLong: "datagram_too_long",
	dropPathDown:       "datagram_path_down",
	dropWriteFailed:    "datagram_write_failed",
	dropWriterFull:     "datagram_writer_full",
	dropSocketGone:     "datagram_socket_gone",
	dropReadFailed:     "socket_read_failed",
	dropHelloBusy:      "hello_busy",
	dropHelloFailed:    "hello_failed",
}

// counters counts drops. Any goroutine may use it.
type counters [numDrops]atomic.Uint64

func (c *counters) add(d drop, n int) {
	if n > 0 {
		c[d].Add(uint64(n))
	}
}

// snapshot returns what was counted so far, by name; reasons that never happened are left out.
func (c *counters) snapshot() map[string]uint64 {
	m := make(map[string]uint64)
	for d := range c {
		if n := c[d].Load(); n > 0 {
			m[dropNames[d]] = n
		}
	}
	return m
}
