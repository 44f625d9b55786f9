// Package uplink knows which ways out the machine has and keeps its routing as
// bondd wants it.
//
// Three parts, from the outside in:
//
//   - a Monitor reports the uplinks as whole Snapshots, by netlink;
//   - MakePlan and Diff are pure: a snapshot and a Want give a Plan, two plans
//     give Ops, and every Op prints as the `ip` or `sysctl` command it stands for;
//   - a System reads the kernel (Current), carries Ops out (Apply), both in one
//     (Sync), removes a crashed predecessor's leavings (Sweep) and its own (Close).
//
// The owner's life: Check or Open, Sweep, then Sync(MakePlan(snapshot, want)) at
// every snapshot, Close. The TUN device must be open before the first Sync. Sync
// looks at the kernel each time, because the kernel drops routes by itself when
// an interface goes down.
//
// An interface is an uplink when the main table has a default route over it, or
// when it is named; never when it is the loopback, our TUN, or excluded. A machine
// with one arm has several routers on one subnet of one interface: there each
// named next hop (Hop) is an uplink, with a number, mark and table of its own, and
// what they share is the interface and its addresses.
//
// # What is put into the kernel
//
// On a gateway, for both families (i is the uplink's Index):
//
//	17700  fwmark 0xb0dd0000+i          -> table 45000+i   outer datagrams, each by its uplink
//	17701  fwmark 0xb0dd0000/0xffff0000 -> unreachable     outer datagrams whose uplink is gone
//	17710  all                          -> main, no default routes: the LAN, specific routes
//	17720  from an uplink's address     -> table 45000+i   answers leave by the way of the question
//	17725  fwmark 0xb0df0000+n          -> table 46000+n   what a rule sends by exit n, which has a TUN of its own
//	17730  all                          -> table 45999     the rest goes into the TUN
//
//	table 45000+i   the uplink's subnets, its default route, and behind them an
//	                "unreachable" one: an outer datagram never falls through to the TUN
//	table 46000+n   default by the TUN of exit n while it has an address, and
//	                behind it an "unreachable" one
//	table 45999     default by the TUN, for a family with an inner address, and
//	                behind it an "unreachable" one
//
// All of it has protocol 177. 17710 stands before 17720 so that an uplink's
// address can be spoken to from the LAN, and so that a machine with one arm
// answers its neighbours directly. Further: addresses and state of the TUN,
// ip_forward, IPv6 forwarding (and accept_ra 2 where it was 1, or the uplinks
// would lose their advertised routes), rp_filter 2 where it was strict. An exit
// gets only the TUN and forwarding.
//
// Forwarding comes after the rules and goes before them, so that no packet of the
// LAN is forwarded without them.
//
// Table 45999 stays when the bond has no live path, so LAN traffic is not leaked
// to a direct uplink. When the process is killed, the TUN and its route go and
// everything else stays: what would go into the bond, of the LAN and of the
// machine itself, is refused until bondd has started again (or until Sweep, an
// orderly end, or a reboot has taken the rules away). The LAN, specific routes and
// connections to an uplink's own address go on.
//
// # Flows from before
//
// Connection tracking decides on masquerading at the first packet of a flow and
// keeps to it. A flow that the machine has forwarded before the bond had its
// routes would enter it with an address that the exit does not accept, for as
// long as it lives. So when the TUN's default route comes into table 45999, Sync
// removes the entries of forwarded flows that the routing now sends into the TUN
// and whose answers are awaited at another address than the TUN's
// (conntrack_linux.go); their next packet begins them anew. Entries of the
// machine's own connections, the outer datagrams among them, are not touched.
//
// # What is taken back
//
// Rules are ours by priority (17700..17799) and protocol, routes by protocol and
// table, both found in the kernel itself. What cannot be found there,
// earlier sysctl values and what we did to the TUN, is in a state file that is
// written before the change, locked while its owner lives, and named by the TUN
// and the network namespace. A value that somebody else has changed in the
// meantime is left. Only one living System per namespace owns rules and tables; a
// second one gets ErrBusy for them and nothing else (an exit beside a gateway works).
//
// # Threads
//
// Pure functions and values are free of any rule. A Monitor has one goroutine,
// which turns netlink events into hints and is joined by Close; snapshots are
// taken on the caller's goroutine in Next. A System has none; one caller at a
// time. Watch, Open and every System method act on the network namespace of the
// calling thread, and must all be called in the same one.
//
// Losses (link down, interface or address gone) are reported at once; whatever
// comes or changes is awaited for 50 ms of quiet (200 ms at most).
//
// # Known weaknesses
//
//   - The main table's default routes are recognised as such: one made of
//     0.0.0.0/1 and 128.0.0.0/1 (OpenVPN's def1) is a specific route and bypasses
//     the bond.
//   - The outer datagrams of another tunnel on the same machine go into the bond
//     like everything else. If that tunnel is an uplink itself, its own socket must
//     be routed by a specific route in the main table, or it runs in a circle.
//   - A VXLAN (not WireGuard, IPIP, GRE) gives its packets the mark of what is in them:
//     as an uplink it needs a rule "to" its far end before 17700, too.
//   - Rules or routes that somebody deletes while all uplinks stay as they are
//     come back only with the next snapshot.
//   - Answers from an address that several next hops share leave by the first of
//     them, whichever the question came by.
//   - A next hop is not looked for: it counts as usable while its interface is up
//     and has an address; whether it answers is for the paths to find out.
//   - A listing of routes is filtered by the kernel from Linux 4.20 on; before, a full
//     routing table is copied at each look.
//   - State files of namespaces that died with their process stay in /run/bondd
//     until the next boot; short-lived namespaces should name their own (Options.State).
//   - Flows from before are recognised by asking the kernel for a route by addresses
//     alone: a foreign rule that tells flows apart by port or protocol is not seen.
//     Ones with a connection mark or in a zone are left as they are, since
//     somebody else steers them. The listing copies the whole tracking table once.
//
// References: RFC 3704 (reverse path), RFC 4861 6.2.2 (routers and
// advertisements), RFC 5549 (IPv4 by an IPv6 next hop), RFC 6724 and RFC 8981
// (source addresses), Linux Documentation/networking/ip-sysctl.
package uplink
