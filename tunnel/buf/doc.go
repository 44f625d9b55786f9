// Package buf is the one packet buffer of bondd: a fixed block of memory with
// spare room in front of and behind its content, so that headers are put in
// place and ciphertext is made in place, and a packet is never copied between
// the TUN device and the UDP socket.
//
//	0            Headroom                                   Size
//	|  headroom  |  content ->                  |  free room  |
//	             ^ front                        ^ end
//
// A super-packet, TCP or UDP payload for many packets behind one header, has a
// larger block, from GetSuper. Its pieces are cut only into the datagrams they
// leave in; until all are done with, they share it.
//
// # Ownership
//
// A Buf has one owner at a time, unless it is shared (Share, Part). A function that is documented to take a *Buf
// becomes its owner, and either passes it on or calls Release, exactly once. A
// slice obtained from a Buf is good only for as long as the caller owns it.
//
// # Goroutines
//
// Get and Release may be called from any goroutine; they share two
// instances of sync.Pool, the only shared state here. Everything else belongs to the owner alone.
//
// # Misuse
//
// Release panics on a buffer that is in the pool already. Builds with the race
// detector also fill released buffers with a pattern and panic when a released
// buffer is touched, or was written to by the time it is used again.
//
// # Known weaknesses
//
// A second Release is not noticed once the buffer has been handed out again.
package buf
