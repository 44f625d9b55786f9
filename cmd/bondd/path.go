package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

var pathCommand = &command{
	name:  "path",
	args:  "NAME up|down|drain|backup",
	short: "take an uplink or a path of a running gateway into or out of use",
	long: `Asks the gateway that runs on this host, over its control socket, to use an
uplink or one path of it otherwise than its configuration says. NAME is what
"bondd status" calls it.

  up      as the configuration says; an uplink that is off there is used
  down    not at all
  drain   take nothing new; what is under way arrives, and after 10 s it is down
  backup  only while no other works

It holds until "up", or until bondd ends.`,
	run: func(ctx context.Context, c *invocation) int {
		socket := config.DefaultControl
		if code, ok := c.parse(2, func(fs *flag.FlagSet) {
			fs.StringVar(&socket, "s", socket, "ask the control socket at `PATH`")
		}); !ok {
			return code
		}
		if len(c.args) != 2 {
			return c.usage("it takes a name and one of up, down, drain, backup")
		}
		if err := endpoints.OrderPath(ctx, socket, c.args[0], c.args[1]); err != nil {
			return c.fail(err)
		}
		fmt.Fprintf(c.out, "%s: %s\n", c.args[0], c.args[1])
		return exitOK
	},
}
