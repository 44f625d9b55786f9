// Package hook runs the commands that a user wants run when something happens.
//
// A Runner belongs to one thing (an uplink) and runs one command of it at a time, each in a process group of its own, by /bin/sh. Tell
// never waits: what is told while a command runs, or too soon after the last start (Pause), waits in a slot of one place, where the newest
// takes the place of what was there. A command that takes longer than its timeout is killed with its whole group, and so is the one
// under way at Close.
//
// A Runner has one goroutine while there is something to run, which reaps the child; Close joins it. A child of the command that has
// made a process group of its own is not ours any more and survives.
package hook
