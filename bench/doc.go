// Package bench measures bondd: scenarios, runners and reports, and the
// commands `bondd bench` and `bondd demo`.
//
//	sets.go       the named sets of uplinks (DESIGN section 9)
//	measure.go    what is measured on a set, in steps; watch.go, memory.go:
//	              uplinks and memory meanwhile
//	fault.go      transfers during which something breaks
//	transfers.go  short downloads, and requests beside a bulk download
//	carrier.go    what carries the traffic: bondd, or one of peers.go
//	selfcheck.go  the emulator itself: asked against measured
//	repeat.go     several runs: medians and spread; compare.go: two reports
//	report.go     figures, JSON; for people: table.go, html.go with svg.go, markdown.go
//	flags.go      what the command lines share; labmain.go, simcmd.go, livemain.go, demo.go
//	plain.go      bondd beside wireguard-go over bare wires
//	cpu.go        what a byte costs here; cpurungs.go its steps, cpuquota.go the bound
//
// The lab (hosts, emulated lines, traffic) is bench/lab, the model of a line
// bench/link; bench/sim runs the sets in virtual time (simcmd.go, simrandom.go,
// simtransfers.go); bench/live measures a gateway that is in use.
//
// A set is measured thus: each uplink alone with plain kernel TCP and no
// bondd, all uplinks at the same time; then, through bondd, echoes on idle
// lines, a transfer with echoes beside it, and a transfer in the middle of
// which the busiest uplink becomes a black hole. Payload is counted at the
// receiver, after the time a transfer has to settle.
//
// Goroutines: each measuring method starts what runs side by side and joins it
// before it returns.
//
// Known weaknesses: sender, receiver, both daemons and the emulator share this
// machine's processors, so figures beyond some hundred Mb/s say more about it
// than about bondd; a step that the machine has spoiled (lab.Load.Spoiled) is void and
// measured once more, which a machine that is always busy does not help; echoes that are lost do
// not count in the quantiles of the delay.
package bench
