// Package proxy has the servers by which programs reach an exit explicitly:
// SOCKS5 (RFC 1928; CONNECT and UDP ASSOCIATE, without authentication) and HTTP
// CONNECT (RFC 9110 9.3.6), and Relay, which joins any two streams until both
// have ended.
//
// What a client asks for goes to a Dialer as a Target. A name stays a name: it is looked
// up where the Dialer connects, at the exit, with that side's answer. Why a Dialer failed is
// told by dial.CodeOf, and to the client by the SOCKS reply or by an HTTP
// status with a Proxy-Status field (RFC 9209) and a sentence.
//
// Handshakes are bounded: in time (Config.Handshake), in bytes by the protocol
// (SOCKS) or by 8 KiB (HTTP). The parsers are strict and read nothing that
// belongs to what follows; bytes that a client sends ahead of the answer are kept
// for the target. A client that goes away with a reset while it waits cancels the dial.
//
// Ownership. Serve owns its listener and the connections accepted from it. Relay
// takes both streams and closes them.
//
// Goroutines: Serve starts one per connection and joins all of them before it
// returns. A connection starts one that watches the client during the dial, joined when the
// dial is over; Relay one, joined before it returns; a UDP association two, joined
// before it ends.
//
// Known weaknesses. There is no authentication: whoever reaches the listener may use
// it, so listen on local addresses. Fragments of SOCKS datagrams are dropped, which RFC
// 1928 7 allows. HTTP does CONNECT only, no forwarding of plain requests. A reset
// discards what was still on its way to the other side, as TCP does itself. A client
// that only closes its sending direction while it waits is taken to be waiting for the answer.
package proxy
