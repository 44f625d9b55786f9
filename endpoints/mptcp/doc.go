// Package mptcp is TCP over several paths as the kernel does it (RFC 8684): what
// the kernel can do, connections and listeners, what became of a connection, and
// the addresses by which the kernel may add paths to it.
//
//	Check                    has this kernel it, is it switched on, which congestion control
//	Dial, Listen             sockets that ask for it
//	Read                     whether a connection has it, and its subflows
//	Manager                  endpoints: the local addresses from which subflows are made
//
// # What is put into the kernel
//
// The Manager adds one endpoint ("ip mptcp endpoint add ADDRESS dev DEVICE
// subflow", with "backup" or "fullmesh"; or "signal" for one that is announced) per address it is given, and raises the limit of
// subflows per connection to subflowLimit, and with "fullmesh" that of announced addresses to acceptLimit. The device is always given: it binds
// the subflow's socket, and without it two uplinks with default routes share the
// first one's. What was made stands in a file that is written before the change;
// Close removes exactly that and sets the limit back, and Open does the same for
// a predecessor that was killed. An endpoint that somebody else has made for the
// same address is left and serves as well.
//
// Sockets carry no mark: the kernel would copy it to the subflows of the
// other uplinks, which would then leave by the first one's routing table. They are
// bound to an address and a device, and the rules that uplinks have for their
// addresses route them.
//
// # Goroutines
//
// There are none. Functions may be called from any; a Manager by one at a time.
// Open and every method of a Manager act on the network namespace of the calling thread.
//
// # Known weaknesses
//
//   - Before Linux 6.5 subflows cannot be listed (MPTCP_FULL_INFO); Read then tells only how many there are.
//   - The kernel's events are not listened to; a Read every now and then tells as much.
//   - The limit of subflows is common to the namespace, and so are the endpoints: programs of
//     the same machine that ask for MPTCP get subflows over the uplinks too.
//   - The structures are read in the layout of little- and big-endian machines alike, but
//     were tried on 64-bit ones only.
//
// References: RFC 8684; Linux Documentation/networking/mptcp.rst and
// netlink/specs/mptcp_pm.yaml; include/uapi/linux/mptcp.h.
package mptcp
