// Package nft keeps bondd's one firewall table: it masquerades what enters the
// bond on the gateway and what leaves it on the exit, and lowers the segment
// size of TCP handshakes to what the bond carries.
//
// It owns the table `inet bondd` (Config.Table) and nothing else: Apply replaces
// it as a whole in one transaction, Remove deletes it. No other table is read
// or written, and the table holds no state of its own; connection tracking
// survives a replacement. There is no goroutine and no state here. The calls
// act on the network namespace of the calling thread.
//
// The rules are values (clause) from which both the text, as nft prints it, and
// the kernel's expressions are made; Text shows a user what is in force, and no
// nft binary is needed.
//
// Why there is a clamp: the inner MTU is below 1500 by the headers of the bond,
// and many hosts never see the ICMP message that says so (RFC 4459 3.2, RFC 8900).
// Both directions are clamped on both sides, since either side may be the one
// whose peer runs without.
//
// Choices. On a gateway with several exits, the chains exits and exits_own choose one for each new flow and put its mark on packet and connection
// (ct mark); later packets get the mark of the connection. The mark decides about the route (endpoints/uplink) and about who takes a
// connection (endpoints/intercept). What comes in by an exit's device is answered by it.
//
// Known weaknesses. A connection mark that somebody else's rules give the same flows after ours makes them leave by the default exit. A forward chain of the machine's own firewall whose policy
// is drop still drops: an accept of ours cannot overrule it. A kernel built
// without IPv6 has no inet family, which is reported as ErrUnsupported.
// Masquerading for IPv6 is NAT66, chosen because the inner addresses are unique
// local ones (RFC 4193); an exit with a routed prefix would not need it.
package nft
