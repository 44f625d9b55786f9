// Package dns answers the DNS queries of a network by handing them to other servers, with a small cache. A gateway answers its LAN with it, through the
// bond; an exit answers its gateways, from the resolvers of its machine. Messages are miekg/dns's, which knows the format; what to ask whom, when to
// ask again and what to keep stands here.
//
//	client ─► Server (server.go: UDP and TCP, bounded) ─► Resolver (resolver.go: cache, one question at a time, stale answers) ─► Upstream
//	                                                                                                      upstream.go: tries, TCP after truncation
//
// # What an answer can be
//
// Fresh from the cache, its times to live counted down. From a server: asked over UDP, again after a growing pause, each try by a new socket and with a new
// number, the servers in turn; over TCP when the answer does not fit. Stale (RFC 8767): when no server has answered within staleAfter, the last answer
// there was, for staleTTL, while the question goes on being asked. Else SERVFAIL, which clients ask again. What does not exist is remembered as long as its zone
// says (RFC 2308).
//
// Options of a client's EDNS are not passed on, only its wish for DNSSEC; a client learns over UDP at most what it can take, and at most 1232 bytes, and asks by TCP
// for the rest.
//
// # Bounds
//
// Queries at a time, questions at a time, TCP connections, entries and their size: all bounded; what is beyond gets no answer, or SERVFAIL. Names of
// the cache are kept in lower case; answers are sent as they came.
//
// # Goroutines
//
// Server.Serve has one per listener, one per query and one per connection, and joins them all. A Resolver has one per question under way, which ends by itself within
// questionTime and which Close joins.
//
// # Known weaknesses
//
// No DNSSEC validation: that is the resolver's behind it. A client that repeats its query with another number gets two answers. The cache forgets the entry that was
// asked for longest ago, without looking how often it was.
//
// RFCs: 1035, 2308, 6891, 7766, 8767; DNS flag day 2020 for the 1232 bytes.
package dns
