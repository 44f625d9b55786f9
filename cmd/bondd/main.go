package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/endpoints/config"
)

// Exit codes; doc.go has their meaning.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnsupported = 3
)

func main() {
	lab.HostMain() // a host of the lab is this program, started again

	// The first signal ends the command in order, and takes the handler away:
	// the second one kills.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// A command is one word behind "bondd".
type command struct {
	name  string
	args  string // what may follow the flags, for the help text
	short string // one line, in the list of commands
	long  string // paragraphs, in its own help
	run   func(ctx context.Context, c *invocation) int
}

// commands in the order of the help text.
var commands []*command

func init() { // an initialiser of the variable would be a cycle through help
	commands = []*command{
		demoCommand,
		genkeyCommand, pubkeyCommand,
		checkCommand, rulesCommand, runCommand, reloadCommand, statusCommand, topCommand, pathCommand, netcheckCommand,
		benchCommand,
		versionCommand, helpCommand,
	}
}

// An invocation is one call of a command.
type invocation struct {
	streams
	cmd  *command
	args []string
}

// parse reads the flags that define adds. The command goes on when it returns
// true, with what follows the flags in c.args: at most as many as positional.
// Otherwise the command ends with the code.
func (c *invocation) parse(positional int, define func(*flag.FlagSet)) (code int, ok bool) {
	fs := flag.NewFlagSet(c.cmd.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the package would print its own usage text
	define(fs)
	switch err := fs.Parse(c.args); {
	case errors.Is(err, flag.ErrHelp):
		c.cmd.help(c.out, fs)
		return exitOK, false
	case err != nil:
		return c.usage("%v", err), false
	}
	if c.args = fs.Args(); len(c.args) > positional {
		return c.usage("unexpected argument %q", c.args[positional]), false
	}
	return exitOK, true
}

// usage reports a wrong command line.
func (c *invocation) usage(format string, args ...any) int {
	fmt.Fprintf(c.err, "bondd %s: %s\n", c.cmd.name, fmt.Sprintf(format, args...))
	fmt.Fprintf(c.err, "\"bondd help %s\" shows how it is used.\n", c.cmd.name)
	return exitUsage
}

// fail reports an error and returns the code for it.
func (c *invocation) fail(err error) int {
	fmt.Fprintf(c.err, "bondd %s: %v\n", c.cmd.name, err)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		return exitUnsupported
	}
	return exitFailed
}

// run calls the command that args name and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	if len(args) == 0 {
		overview(s.err)
		return exitUsage
	}
	name := args[0]
	if alias, ok := aliases[name]; ok {
		name = alias
	}
	if cmd := find(name); cmd != nil {
		return cmd.run(ctx, &invocation{streams: s, cmd: cmd, args: args[1:]})
	}
	var names []string
	for _, cmd := range commands {
		names = append(names, cmd.name)
	}
	if best, ok := config.Nearest(name, names); ok {
		fmt.Fprintf(s.err, "bondd: there is no command %q; did you mean %q?\n", name, best)
	} else {
		fmt.Fprintf(s.err, "bondd: there is no command %q; \"bondd help\" lists them\n", name)
	}
	return exitUsage
}

// aliases are what people type out of habit.
var aliases = map[string]string{
	"-h": "help", "-help": "help", "--help": "help",
	"-v": "version", "-version": "version", "--version": "version",
}

func find(name string) *command {
	for _, cmd := range commands {
		if cmd.name == name {
			return cmd
		}
	}
	return nil
}
