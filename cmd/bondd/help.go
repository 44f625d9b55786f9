package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

var helpCommand = &command{
	name:  "help",
	args:  "[COMMAND]",
	short: "show this text, or how a command is used",
	long:  "Shows the list of commands, or what one command does and its flags.",
	run: func(ctx context.Context, c *invocation) int {
		if code, ok := c.parse(1, func(*flag.FlagSet) {}); !ok {
			return code
		}
		if len(c.args) == 0 {
			overview(c.out)
			return exitOK
		}
		cmd := find(c.args[0])
		if cmd == nil {
			return c.usage("there is no command %q", c.args[0])
		}
		return cmd.run(ctx, &invocation{streams: c.streams, cmd: cmd, args: []string{"-h"}})
	},
}

// overview prints the list of commands.
func overview(w io.Writer) {
	fmt.Fprint(w, `bondd bonds several thin uplinks into one fast and steady way to the internet.

usage: bondd COMMAND [FLAGS]

`)
	for _, cmd := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", cmd.name, cmd.short)
	}
	fmt.Fprint(w, `
"bondd help COMMAND" shows more. To see a bond at work, with nothing configured:
"bondd demo".

Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 missing
right or kernel feature.
`)
}

// help prints what one command does, and its flags.
func (cmd *command) help(w io.Writer, fs *flag.FlagSet) {
	var flags strings.Builder
	count := 0
	fs.VisitAll(func(f *flag.Flag) {
		count++
		value, text := flag.UnquoteUsage(f)
		name := "-" + f.Name
		if len(f.Name) > 1 {
			name = "-" + name
		}
		if value != "" {
			name += " " + value
		}
		fmt.Fprintf(&flags, "  %-13s %s", name, text)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(&flags, " (default %s)", f.DefValue)
		}
		flags.WriteByte('\n')
	})
	usage := "usage: bondd " + cmd.name
	if count > 0 {
		usage += " [FLAGS]"
	}
	if cmd.args != "" {
		usage += " " + cmd.args
	}
	fmt.Fprintf(w, "%s\n\n%s\n", usage, cmd.long)
	if count > 0 {
		fmt.Fprintf(w, "\nFlags:\n%s", flags.String())
	}
}
