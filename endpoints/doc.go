// Package endpoints is the shell of bondd: the roles of a node, gateway, exit and relay, and the engine loop that moves
// bytes between the rooms of the operating system and the sessions. It is the only package that knows both worlds.
//
// [Run] is a node from start to end. [ReadStatus] asks a running one how it is.
//
// # A packet's way
//
//	LAN ─► TUN device ─► tunreader.go ─► inbox ─► engine.go: PushPackets ─► session ─► PullDatagrams ─► writer.go ─► UDP socket
//	UDP socket ─► reader.go ─► demux.go ─► inbox ─► engine.go: PushDatagrams ─► session ─► PullPackets ─► TUN device
//
// The same at both ends, and so is a stream's way, once it is open:
//
//	TCP connection ─► flow_reader.go ─► inbox ─► engine_flows.go: StreamWrite ─► session
//	TCP connection ◄─ flow_writer.go ◄─ flow ◄─ engine_flows.go: StreamRead ◄─ session
//
// A gateway has its connections from the interception (gateway_streams.go) or from proxies, which use a stream as a connection
// (stream_conn.go); an exit dials them (exit_streams.go). Ports that an exit forwards go the other way (exit_forward.go,
// gateway_forward.go). target.go is how the one tells the other where to.
//
// Or a connection goes by a carrier, where the kernel's MPTCP does the work of the session (docs/mptcp.md):
//
//	TCP connection ◄─► relayCarried ◄─► stream of a carrier ◄─► MPTCP ◄─► stream ◄─► relayCarried ◄─► TCP connection
//
// Which of the two is for gateway_carriers.go to say, once a second, by scheduler.Carriage; gateway_carry_uplinks.go keeps what
// is known of the uplinks for it, gateway_carry_checks.go tries them, gateway_carry_failing.go takes those that fail from the kernel,
// gateway_carry_dial.go makes carriers, gateway_subflows.go looks after their subflows, gateway_endpoints.go shares the kernel's endpoints between exits; exit_carriers.go
// is the other end, exit_memory.go what it may hold. netcheck.go tries the same without a node.
//
// At a gateway the engine of the exit in use has everything, and those of others the datagrams of their sessions and the streams of their proxies; at an exit demux.go finds the engine of a datagram by
// its session index, and of a packet by its inner destination address.
//
// # Who owns what
//
//   - An engine is one goroutine that owns one session (engine.go, engine_session.go). It alone calls the session, and reads the clock
//     once per turn. Everything reaches it through its inbox: packets, datagrams, commands (func(now)), and failures of sockets.
//   - A TUN device has one reader goroutine; it is written to by the engines themselves.
//   - A UDP socket has one reader and one writer goroutine (sockets.go). While its writer has nothing to do, an engine sends small batches
//     itself, without waiting. The writer's queue is bounded; while it is full the engines do not pull, so
//     the back-pressure reaches the queues of the session, where there is a policy for it.
//   - A connection has a reader and a writer goroutine, which alone may block on it. Its flow (flow.go) is what they share with the engine: one block
//     that was read, the buffers that wait to be written. The back-pressure goes both ways: no room in the stream, no reading; too much waiting,
//     no StreamRead. All flows of a node are in its flowSet, which ends and joins them.
//   - A gateway with streams has two goroutines for the interception, one per listener of a proxy, and those of its clients. An exit has
//     one per dial under way, and one per port that it forwards as streams.
//   - A gateway has the goroutine of serve, which owns uplinks, sockets, routes (gateway.go, gateway_paths.go) and what belongs to each of its exits
//     (wayout.go, gateway_hello.go), one for the monitor, and one for each round of hellos under way. Which of several exits everything leaves by
//     is decided by failover.go and done by gateway_failover.go.
//   - An exit that a rule names has a TUN device of its own, with a reader, whose packets all go to its engine; connections for it come with its number
//     from the interception. Which rules lead where, and what becomes of them when their exit is out of reach, is in gateway_rules.go.
//   - A gateway has for each exit with carriers a goroutine that decides about them, the pool's, two for each connection they carry, and one for
//     each check of an uplink. They talk to serve by a value under a mutex, and to the engine by commands and path events.
//   - An exit has the goroutine of serve, one per listener, one per carrier, two per connection on one, one per hello under way (exit_hello.go), and an engine per session
//     (association.go).
//   - How an uplink is used is decided in gateway_uplinks.go, and changed by pathorder.go; gateway_watchdog.go looks at each once a second
//     (health.go judges), with a goroutine per question to a probe target and one per hook under way.
//   - A relay has the goroutine of serve (relay.go), and those of package forward where the kernel does not forward.
//   - The control socket has net/http's goroutines, which only ask (controlsocket.go, status.go), or read the file for a reload, which the goroutine
//     of serve applies (reload.go). A goroutine waits for SIGHUP and one feeds the watchdog of the service manager (supervise.go).
//   - The DNS server has one per listener, query and question (endpoints/dns; names.go).
//   - The web page has net/http's too, if it is configured (web.go, metrics.go).
//
// Every goroutine is joined: by the stop of the phase that started it, or by the call that did.
//
// # Life
//
// A node starts in phases, each with its exact opposite, and ends by undoing them in the reverse order, whatever ended it (node.go). What
// could not be undone because the process was killed is taken over by the next start.
//
// A gateway puts its routes in place before it knows its exit and keeps them while it does not reach it: traffic of the LAN waits or
// is refused, and never leaves by an uplink in the clear. When its session is lost it says hello again, by all ways, and gives the engine
// a new session; TUN device, addresses and routes stay. An exit believes a new session only when it has proven a path, and then closes
// the older one of the same gateway; so hellos may race, and the loser costs nothing.
//
// A reload changes the configuration under all of this: what may change is read by config(), which is the last one, and never twice for one
// decision; what takes a restart is read from cfg. Reload names every difference, and a field that nobody has made reloadable takes a restart.
//
// Streams live and die with their session, so a session that has gone silent is not given up lightly: the hello of its gateway asks whether the exit
// has it still. If so, the exit makes no other, and the paths of the old one are tried until one answers. Only an exit that has forgotten it, or 60 s
// without any path (streamGrace), end it.
//
// # Memory
//
// Packets and datagrams are [buf.Buf] with one owner at a time: reader, inbox, session, writer. All queues here are bounded; what does not fit is
// counted by reason (drops.go) and shown in the status, never logged one by one.
//
// # Known weaknesses
//
//   - A gateway's sessions with several exits share the sockets and nothing else: each has its own controllers, so to the lines they are as many flows.
//   - A refusal is remembered for all exits, whichever has found it. IPv6 is intercepted for the exits of rules only while the default exit has it;
//     else it goes to them as packets. Connections of this machine follow the rules only while the default exit has a route.
//   - A full writer holds up all paths of its engines for up to writerPatience, because a session does not say for which path it would send
//     next.
//   - The runtime wakes an idle process from short sleeps up to a millisecond late, so pacing is that coarse then.
//   - An exit has one TUN device, whose MTU is the least that any connected gateway needs.
//   - An exit's name is looked up through the uplinks; where a resolver on the gateway itself forwards the question, that question
//     may want to go through the bond, and then the address known last is used until the bond is back.
//   - A gateway learns with its hello whether its exit has IPv6, and not when that changes.
//   - The choice between bond and kernel is made by what the bond measures; what the kernel then achieves is not compared.
//   - A connection over a carrier whose client has ended its direction and then vanished is kept until its server sends or ends.
//
// References: RFC 8305 (racing connections), RFC 8200 §5 (IPv6 MTU); the rooms below have the others.
package endpoints
