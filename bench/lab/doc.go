// Package lab makes a small internet on one machine: hosts in network
// namespaces, emulated uplinks between gateway and exit, bondd on both sides,
// and real kernel TCP, UDP and ICMP through all of it.
//
//	            ┌─ gateway ─┐            ┌─── exit ───┐
//	lan ──veth──┤  bondd    ╞══ uplink 0 ╡   bondd    ├──veth── server
//	            │           ╞══ uplink 1 ╡            │
//	            └───────────┘            └────────────┘
//	                  ▲  TUN devices; the emulator  ▲
//	                  └── moves packets between ────┘
//	                     them through bench/link
//
// # Processes
//
// Everything is this executable, started again in a role (HostMain):
//
//	parent ─┬─ host lan, gateway, exit, server   a network and mount namespace each
//	        │     └─ daemon                      bondd (endpoints.Run), on gateway and exit
//	        ├─ emulator                          of urgent priority, so that lines keep time
//	        └─ spinner                           of idle priority, so that processors stay awake
//
// Namespaces, devices, routes, keys and configuration (the latter two in a tmpfs
// on the host's own /run) belong to the processes and end with them. The
// processes end when the parent closes their standard input, and by the
// kernel's hand (PDEATHSIG) when it dies in any other way.
//
//	access.go        may we? if not, again inside a user namespace
//	spawn.go         children that die with us; rpc.go: how they are asked for work
//	lab.go           opening, closing, measuring; topology.go: addresses and wires
//	bond.go          starting and stopping bondd
//	host.go          a host as its parent sees it; hostmain.go, hostnet.go, hoststate.go,
//	                 daemon.go, daemonmain.go: from inside
//	emulator.go      packets through links in real time; emulatormain.go: its process
//	exec.go          programs inside a host
//	traffic.go       the traffic generator: tcp.go, fetch.go, udp.go, ping.go; series.go: what it returns
//	clock.go         time and priorities; spinner.go
//	load.go          what else the machine did meanwhile: may a figure be believed?
//
// # Goroutines
//
// The parent has one goroutine per child that reads answers (ends with the
// child) and the spawner's thread (ends with Close). A host has one goroutine
// per operation under way and one per flow it serves; all end with the process.
// In the emulator's process one goroutine owns all links.
//
// # Known weaknesses
//
// Relays and a VPN over an uplink are in home.go.
//
// One uplink is one queue per direction; uplinks do not share a line (a set with
// several remotes over one line does). There is no address translation between
// gateway and exit. Writing to a TUN device runs the receiving host's network
// stack on the emulator's thread: beyond some 50,000 packets a second the
// emulator becomes the bottleneck, which Lateness shows. Where neither real-time
// priority nor EEVDF's slices are granted (user namespace, Linux before 6.12), a
// busy machine makes lines late by some milliseconds.
//
// Facts from: tuntap.rst and namespaces(7) of the kernel and man-pages;
// RFC 792, RFC 4443 (echo); RFC 1071 (checksum); RFC 2544 §C.2.2 (198.18.0.0/15).
package lab
