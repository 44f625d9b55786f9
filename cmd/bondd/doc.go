// Command bondd bonds the uplinks of a gateway into one way to an exit.
//
// The package holds the command line and nothing else: commands, their flags
// and help, signals and exit codes. What the commands do is in endpoints and
// bench. main.go has the table of commands; each other file is one group of
// them.
//
// Exit codes, of every command:
//
//	0  done
//	1  it failed
//	2  the command line or the configuration is wrong
//	3  the right or the kernel feature it takes is missing
//
// The files rooms*_test.go hold the architecture of the whole module: which
// package may import which, what the pure rooms may not do, and the form of
// every source file.
package main
