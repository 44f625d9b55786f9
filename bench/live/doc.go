// Package live measures the bond of a gateway that is configured and running,
// over its real uplinks: `bondd bench live`.
//
//	live.go     transfers to and from the exit's bench target, each service, each way
//	alone.go    each uplink by itself, the others in reserve
//	verdict.go  what the figures say, in words: which uplink, which box, which service
//	report.go   the table
//
// The far end is endpoints.BenchPort on the exit's inner address, which the exit
// serves where its configuration says bench = true; no third party is asked. A
// connection that carries the mark of bondd's own sockets is not intercepted and
// goes as packets; one without it becomes a stream, as any of the LAN does. What
// each uplink carried is told by the gateway's own status, before and after.
//
// Goroutines: one per flow, joined before a measurement returns.
//
// Known weaknesses. An uplink alone is measured through the bond, as packets, so it
// pays the bond's headers; and a process that is killed meanwhile leaves the other
// uplinks in reserve until "bondd path NAME up". What a path could carry is known of the way up only, where the
// gateway's congestion controller sits; on the way down what was carried is all
// there is. Other traffic of the LAN meanwhile counts as carried. Both ends'
// TCP (packets) or the gateway's and the exit's own (streams) are part of what is
// measured. The exit's processor is not seen.
package live
