// Package seal turns payloads into sealed datagrams and back: keys, nonces, key
// epochs and replay windows.
//
// # Keys
//
// A session has one 32-byte secret per direction, from the hello (package
// tunnel/control). Each direction counts its own epochs from 0. The keys of an
// epoch come from the secret of the epoch, and so does the next secret:
//
//	secret(0) --> secret(1) --> secret(2) ...     HKDF-Expand(secret, "bondd next")
//	    |             |
//	  key, iv       key, iv                       HKDF-Expand(secret, "bondd key"), (secret, "bondd iv")
//
// HKDF is that of RFC 5869 with SHA-256. As a secret is forgotten once the next
// one is made, what was sealed in an old epoch stays closed to somebody who
// later takes the memory of a node.
//
// # Nonces
//
//	nonce (12 bytes) = iv XOR ( path id, u32 | pn, u64 )
//
// as in draft-ietf-quic-multipath. The owner of a Sealer must never seal twice
// with the same path id and pn in one epoch; it does so by never using a pn
// again, and never a path id.
//
// # Epochs at the receiver
//
// The header has the low two bits of the epoch. They always name one of three
// epochs, or none, so that every datagram is opened with one key only:
//
//	                bits = epoch-1 mod 4          kept PreviousKept after
//	previous  <---  within PreviousKept           the switch, for datagrams
//	                                              on slower paths
//	current   <---  bits = epoch mod 4
//	next      <---  bits = epoch+1 mod 4          becomes current when, and
//	                                              only when, a datagram opens
//	(refused) <---  the fourth value
//
// The sender decides when to advance: see MaxDatagrams and MaxAge. It has to
// wait until the peer has acknowledged a datagram of the current epoch; then
// sender and receiver are never more than one epoch apart.
//
// # Replay
//
// A Window per path remembers which pns have come. It is asked before a
// datagram is opened and told after it has been, so that forged datagrams
// cannot move it. It does not care about epochs, as pns go on across them.
//
// # Goroutines, memory
//
// No goroutines, no clock, no randomness. A Sealer, an Opener and a Window each
// belong to one caller at a time. Seal, Open and the Window do not allocate,
// except that the first datagram of a new epoch makes the keys of the one after
// it.
//
// # Known weaknesses
//
// Go gives no means to wipe the round keys inside a cipher; forgotten keys stay
// in memory until the garbage collector reuses it. A key of the previous epoch
// that has run out is forgotten at the next call of Open, not before. The
// Opener sets no limit to the number of forged datagrams; the bound of RFC
// 9001, section 6.6, for ChaCha20-Poly1305 (2^36 within one epoch) would take
// eight days at 100,000 per second.
//
// References: RFC 5116, 5869, 6479, 8439, 9001 section 6; NIST SP 800-38D.
package seal
