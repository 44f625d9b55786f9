package main

import (
	"context"
	"fmt"

	"github.com/bondd/bondd/bench"
)

var demoCommand = &command{
	name:  "demo",
	short: "see a bond of four unequal uplinks at work, with nothing configured",
	run: func(ctx context.Context, c *invocation) int {
		return bench.DemoMain(ctx, c.args)
	},
}

var benchCommand = &command{
	name:  "bench",
	args:  "lab|sim|cpu|live|compare|doc [FLAGS]",
	short: "measure the bond against its uplinks",
	long: `Measures each uplink alone, and the bond of all of them, over sets of uplinks:

  bondd bench lab   in network namespaces, over emulated uplinks, with the TCP
                    and UDP of the kernel; it takes root, or a system that
                    allows unprivileged user namespaces
  bondd bench sim   the same sets in virtual time; it takes no right at all
  bondd bench cpu   what a byte costs on this machine, and what it carries
  bondd bench live  the bond of the gateway that runs on this host, to and from
                    its exit, over its real uplinks
  bondd bench compare A.json B.json
                    the figures of two reports, as ratios
  bondd bench doc FILE...
                    makes the tables of documentation pages anew

"bondd bench lab -h" and the like show their flags.`,
	run: func(ctx context.Context, c *invocation) int {
		if len(c.args) == 0 {
			return c.usage("lab, sim, cpu, live, compare or doc is missing")
		}
		switch word, args := c.args[0], c.args[1:]; word {
		case "lab":
			return bench.LabMain(ctx, args)
		case "sim":
			return bench.SimMain(ctx, args)
		case "live":
			return bench.LiveMain(ctx, args)
		case "doc":
			return bench.DocMain(ctx, args)
		case "compare":
			return bench.CompareMain(args)
		case "cpu":
			return bench.CPUMain(ctx, args)
		case "-h", "-help", "--help", "help":
			fmt.Fprintf(c.out, "usage: bondd %s %s\n\n%s\n", c.cmd.name, c.cmd.args, c.cmd.long)
			return exitOK
		default:
			return c.usage("there is no bench %q; choose lab, sim, cpu, live, compare or doc", word)
		}
	},
}
