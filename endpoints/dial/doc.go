// Package dial opens the connections that a gateway asks an exit for, and says
// in one type why one could not be opened. A Dialer is one gateway: its policy,
// its limits, its counters.
//
// Policy. By default a gateway reaches the internet and nothing else: not the
// exit's own addresses, loopback, link-local (where clouds keep their
// metadata), private (RFC 1918, RFC 4193, RFC 6598), multicast, broadcast or
// unspecified ones, nor these behind an IPv4-mapped or another IPv6 form that carries an
// IPv4 address. Allow lifts this for some prefixes, Deny closes others. What is checked is the
// address that is dialled: a name is resolved here, once, and every address it
// resolves to is checked, so a name cannot lead where its address may not
// (DNS rebinding).
//
// Names are looked up for both families at the same time and tried as RFC 8305
// says: IPv6 first if it is there within 50 ms, the families in turn, a next attempt each
// 250 ms or at once when the last one failed; the first that connects is it.
//
// Limits: connections open or being opened, and a token bucket for new ones. Beyond
// them the answer is Busy, at once, with the limit in the sentence.
//
// Error and Code are what endpoints/proxy tells its clients from and what the roles
// send to each other: this package is the one that both may import.
//
// Goroutines: DialTarget starts one per lookup and per attempt and joins
// them before it returns. An association starts one per name that is being looked up,
// joined by its Close.
//
// Known weaknesses. An exit behind a one-to-one NAT does not know its own public
// address: put it into Deny. Own addresses are read from the system at most every two
// seconds. What the exit's network does beyond it, such as hairpins, is not
// seen. The bytes that a connection holds in kernel buffers are the kernel's to limit.
package dial
