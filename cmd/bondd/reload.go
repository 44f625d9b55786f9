package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

var reloadCommand = &command{
	name:  "reload",
	short: "make a running bondd read its configuration anew",
	long: `Makes the bondd that runs on this host read its configuration file again, prints
what has changed, and what of that takes a restart. Sessions and connections go
on. A file that is wrong changes nothing: all that is wrong is printed, and the
exit code is 2. SIGHUP does the same, and writes it to the log.`,
	run: func(ctx context.Context, c *invocation) int {
		socket, asJSON := config.DefaultControl, false
		if code, ok := c.parse(0, func(fs *flag.FlagSet) {
			fs.StringVar(&socket, "s", socket, "ask the control socket at `PATH`")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
		}); !ok {
			return code
		}
		r, err := endpoints.AskReload(ctx, socket)
		if err != nil {
			return c.fail(err)
		}
		if asJSON {
			e := json.NewEncoder(c.out)
			e.SetIndent("", "  ")
			if err := e.Encode(r); err != nil {
				return c.fail(err)
			}
		} else {
			c.printReload(r)
		}
		switch {
		case len(r.Errors) > 0:
			return exitUsage
		case len(r.Troubles) > 0:
			return exitFailed
		}
		return exitOK
	},
}

func (c *invocation) printReload(r *endpoints.Reload) {
	for _, text := range r.Errors {
		fmt.Fprintln(c.err, text)
	}
	for _, change := range r.Changes {
		fmt.Fprintln(c.out, change)
	}
	if len(r.Changes)+len(r.Errors) == 0 {
		fmt.Fprintln(c.out, "nothing has changed")
	}
	for _, text := range r.Troubles {
		fmt.Fprintf(c.err, "bondd reload: changed, but not all in place: %s\n", text)
	}
}
