package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

const defaultConfig = "/etc/bondd/bondd.toml"

var checkCommand = &command{
	name:  "check",
	short: "check a configuration and say what it would do",
	long: `Reads a configuration, and its private key, and prints what "bondd run" would do
with it. Everything that is wrong is printed at once, with file and line, and
ends with exit code 2. With --plan it prints, as commands, the addresses, rules
and routes that the node would put in place now. Nothing on this host is
changed.`,
	run: func(ctx context.Context, c *invocation) int {
		plan := false
		cfg, code := c.loadConfig(func(fs *flag.FlagSet) {
			fs.BoolVar(&plan, "plan", false, "print addresses, rules and routes")
		})
		switch {
		case cfg == nil:
		case plan:
			text, err := endpoints.Plan(ctx, cfg)
			if err != nil {
				return c.fail(err)
			}
			fmt.Fprint(c.out, text)
		default:
			fmt.Fprint(c.out, cfg.Describe())
		}
		return code
	},
}

var rulesCommand = &command{
	name:  "rules",
	short: "show the firewall rules that a configuration leads to",
	long: `Prints the nftables rules that "bondd run" puts in place with a configuration,
as "nft -f" reads them. What it adds to routing for them stands there in
comments. Nothing on this host is changed.`,
	run: func(_ context.Context, c *invocation) int {
		cfg, code := c.loadConfig(func(fs *flag.FlagSet) {
			fs.Bool("print", false, "print the rules, as without this flag")
		})
		if cfg != nil {
			fmt.Fprint(c.out, endpoints.Rules(cfg))
		}
		return code
	},
}

var runCommand = &command{
	name:  "run",
	short: "be a gateway or an exit",
	long: `Runs in the foreground until it is told to stop (SIGINT or SIGTERM), logs to
standard error, and then removes every rule, route, table and device it made.
What a predecessor that was killed has left behind is removed at the start.
SIGHUP makes it read the configuration anew, as "bondd reload" does.
It takes the right to configure the network: root, or CAP_NET_ADMIN.`,
	run: func(ctx context.Context, c *invocation) int {
		cfg, code := c.loadConfig(nil)
		if cfg == nil {
			return code
		}
		level, hangup := new(slog.LevelVar), make(chan os.Signal, 1)
		level.Set(cfg.LogLevel)
		log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		if err := endpoints.RunProcess(ctx, cfg, log, endpoints.ProcessOf(cfg.File, level, hangup)); err != nil {
			return c.fail(err)
		}
		return exitOK
	},
}

// loadConfig reads the configuration that -c names. Without one, the command
// ends with the code. more, if not nil, defines the command's other flags.
func (c *invocation) loadConfig(more func(*flag.FlagSet)) (*config.Config, int) {
	file := defaultConfig
	if code, ok := c.parse(0, func(fs *flag.FlagSet) {
		fs.StringVar(&file, "c", file, "read the configuration from `FILE`")
		if more != nil {
			more(fs)
		}
	}); !ok {
		return nil, code
	}
	cfg, err := config.Load(file)
	if err != nil {
		if errors.As(err, new(config.Errors)) {
			fmt.Fprintln(c.err, err) // each line begins with file and line
		} else {
			fmt.Fprintf(c.err, "bondd %s: %v\n", c.cmd.name, err)
		}
		return nil, exitUsage
	}
	return cfg, exitOK
}
