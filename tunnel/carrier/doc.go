// Package carrier carries TCP connections over one other connection, usually one
// of MPTCP with TLS inside: streams that are opened, ended in each direction, and reset
// like those of a session (package tunnel), so that the LAN cannot tell the two apart.
//
//	Conn      one carrier: Client opens streams, Server takes them
//	Stream    one connection of the LAN on it
//	Pool      warm carriers of a gateway, used again and again
//
// # On the wire
//
// Streams are those of smux, version 2, of which two things are not used: what
// its FIN means, and its CloseWrite. FIN says "nothing more" and never "broken", and
// when both ends have sent it, what has not been read yet is thrown away (v1.5.56). So
// the first stream of a carrier is for messages about the others, 13 bytes each:
//
//	kind u8 | stream u32 | value u64        big endian
//	1 accepted      the target has been reached
//	2 end           of the sender's direction, which has value bytes
//	3 reset         for the reason value, numbered as in a RESET frame
//	4 room          the peer may write value bytes of its direction; before the first one, what smux allows
//
// Messages of other kinds are ignored. A message follows the data that were written before
// it, so at a reset all of them have arrived. A stream begins with its target:
//
//	length u16 | target, to be read by the endpoints
//
// and data follow at once, before the answer. smux closes a stream once both directions have ended or it
// was reset; a stream that smux ends before that is broken.
//
// # Memory and time
//
// A stream holds at most streamWindow bytes that its reader has not taken, a
// carrier connWindow; beyond, its peer waits. A Server with a Memory allows each stream roomFirst, and more by messages,
// as far as its reader takes data and the Memory has some: what is held then is roomFirst for each stream, and what the Memory has given. A peer that is silent for keepAliveTimeout is gone.
// Write copies: smux goes on using what it was given after it has returned an error.
//
// # Goroutines
//
// A Conn has four of smux, one that reads messages and one that writes them; a
// Server's has one more that takes streams, and one per stream for its handler. Close ends
// and joins ours. A Pool has one per dial under way; Run joins them.
//
// # Known weaknesses
//
//   - All streams of a carrier share the order of one connection. A Pool puts a second stream on a
//     carrier only when it has no idle one, and none beside one that has proven to be
//     bulk; two that become bulk together stay together.
//   - A Write that waits for the socket ends with the carrier, not with its stream.
//   - Tests cannot use smux in more than one synctest bubble of a process: it keeps channels in a global pool.
//
// References: github.com/xtaci/smux v1.5.56; RFC 9293 §3.6 (half-closed connections).
package carrier
