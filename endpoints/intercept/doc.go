// Package intercept takes TCP connections that pass through this machine, or
// start on it, and hands them to the caller with the address they were meant
// for. The devices of the LAN need no configuration and notice nothing but
// what is listed under weaknesses.
//
// How it works (Linux, Documentation/networking/tproxy.rst). A SYN from the LAN
// that the kernel would send into the TUN is given to a listener of ours on
// the loopback address by the nftables statement "tproxy", marked, and routed
// to this machine by a rule on the mark; later packets of the connection are
// recognised by their socket. The accepted socket's local address is the
// original destination. A connection of the machine itself never enters
// prerouting, so it is marked in output, which sends it over the loopback device, and
// taken there; its later packets are recognised by the mark of the connection
// (ct mark).
//
// What is never taken: local, broadcast and multicast destinations; what the
// machine has a more specific route for than into the TUN (other LANs, VPNs);
// connections that were there before; outer datagrams and whatever else carries
// a mark 0xb0ddXXXX; the bypass list; IPv6 unless it is switched on, which
// the owner does while the exit has IPv6, so that a client which tries both
// families is not held up by one that goes nowhere (RFC 8305).
//
// Honest connects. The client's handshake is complete before the exit has been
// asked, so the first refusal can only be shown as a reset. It is remembered
// for some seconds (Config.NegativeTTL) in a set of the kernel, which answers
// further SYNs to that address and port as the destination would have: with
// RST, or with ICMP host unreachable (ICMPv6 address unreachable).
//
// Ownership. The package owns, and touches nothing but: the table `inet
// bondd_intercept`; the routing rules with our priorities, marks and table; the
// routing table 45998; one listening port on the loopback addresses, which also is the
// lock against a second instance in the same network namespace, and one more for each
// exit that rules choose (7120 and on): what the mark of a flow says, by which exit it
// is to leave, comes out at that exit's listener. Close takes all
// of it away, Sweep does after a crash. All calls act on the network namespace
// of the thread that called Open; Sweep on that of its own thread.
//
// Goroutines: one per listener, started by Open, joined by Close. Every
// accepted connection belongs to the caller of Accept.
//
// Known weaknesses. An input chain of the machine's own firewall sees the taken packets
// with their original destination and mark 0xb0de0001 (LAN) or 0xb0de0004 (own) and
// must not drop them. A process on this machine is taken only when it has a
// route into the TUN to begin with. A remembered refusal holds for all clients and
// all exits, also when the service comes back meanwhile. An own connection to an unreachable
// destination may learn so only at its second SYN, a second later, since the kernel
// keeps an ICMPv6 error that arrives inside connect as a soft one. Own connections
// need connection tracking. The bond's own inner network is routed into the TUN and
// hence taken; an owner who does not want that puts it into the bypass list. What
// goes out directly is masqueraded and needs a default route in the main table;
// without one it goes into the bond. `nft flush ruleset`
// by somebody else ends the interception until Restore.
//
// Needs Linux 5.9 (reject in prerouting) with NFT_TPROXY, NFT_SOCKET,
// NFT_FIB_INET, NFT_REJECT_INET, NFT_CT and IP_MULTIPLE_TABLES.
package intercept
