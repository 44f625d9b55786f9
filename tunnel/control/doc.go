// Package control is the hello: the short talk over TCP in which a gateway and
// an exit prove who they are, agree on versions, capabilities and addresses,
// and get the keys of a session.
//
//	gateway                                                exit
//	   |  ClientHello: X25519MLKEM768, "bondd/1"             |
//	   |  ------------------------------------------------>  |
//	   |       ServerHello, certificate, proof, Finished     |
//	   |  <------------------------------------------------  |
//	   |  is that the key in my configuration?               |
//	   |  certificate, proof, Finished, Offer                |
//	   |  ------------------------------------------------>  |
//	   |                       which gateway has that key?   |
//	   |                                       Answer        |
//	   |  <------------------------------------------------  |
//	   |  both: secrets of the session from the exporter     |
//
// The TCP connection has then done its work and its owner closes it.
//
// A connection whose ClientHello says "bondd-carrier/1" instead becomes a carrier
// of streams (package carrier) after the same handshake, with the same keys
// (Carrier, Accept).
//
// # Keys
//
// A node is its Ed25519 key. TLS 1.3 wants certificates, so each end makes one
// for its key on the spot. Nobody looks at anything in it but the key: the
// gateway compares it with the one in its configuration, during the handshake
// and before it shows its own; the exit looks up whose it is. There is no
// authority, no name, and no date: a gateway that boots in 1970 gets through.
//
// The only key exchange allowed is X25519MLKEM768, so that datagrams recorded
// today stay closed to a quantum computer of tomorrow. (Ed25519 would not
// resist one, but forging needs it at the time of the hello.)
//
// The secrets of the datagrams come from the TLS exporter (RFC 8446, section
// 7.5) with the label "EXPORTER-bondd-data-1": 64 bytes, of which the first 32
// are for the direction from gateway to exit. Every hello gives new ones; there
// are no session tickets.
//
// # Messages
//
// Offer and Answer are JSON objects, each behind its length as a 32-bit number,
// big endian, and at most MaxMessage long. Unknown members are ignored, so that
// later versions can add some. An exit that says no sends an Answer whose
// "error" is a sentence for the user of the gateway and whose "refusal" is a
// word for the gateway itself. A gateway unknown to the exit gets such an answer
// too, rather than a TLS alert, which says little and is lost when the exit
// closes with the Offer unread.
//
// # Goroutines
//
// Client and Server work in the goroutine of the caller and start none, except
// that the end of ctx is acted on in one that ends with the call. They read the
// wall clock for deadlines only, as a difference.
//
// # Known weaknesses
//
// A stranger can make an exit do a handshake, about a millisecond of CPU time;
// the owner of the listener has to bound how many run at once. With net.Pipe in
// the place of TCP, a gateway that meets the wrong key waits for the deadline,
// as both ends write and neither reads. An exit that has lost its private key
// can be impersonated until the gateways are given its new public key.
//
// References: RFC 8446, 8032, 7301; draft-ietf-tls-ecdhe-mlkem.
package control
