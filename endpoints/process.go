package endpoints

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/systemd"
)

// Process is what a node needs of the process around it. Everything may be nil.
type Process struct {
	Level  *slog.LevelVar                 // of the log, so that a reload can change it
	Load   func() (*config.Config, error) // reads the configuration anew
	Hangup <-chan os.Signal               // asks for a reload
	// Notify tells the service manager how the node is, in the lines of sd_notify(3).
	Notify func(state string)
	// Watchdog is how often the service manager wants to hear that the node is well; 0: never.
	Watchdog time.Duration
}

// ProcessOf is the process of a daemon whose configuration is in a file, with the service manager that started it, if one did.
func ProcessOf(file string, level *slog.LevelVar, hangup <-chan os.Signal) Process {
	return Process{
		Level: level, Hangup: hangup, Notify: systemd.Notify, Watchdog: systemd.Watchdog(),
		Load: func() (*config.Config, error) { return config.Load(file) },
	}
}

// RunProcess is Run for a node that can be reloaded and that a service manager looks after.
func RunProcess(ctx context.Context, cfg *config.Config, log *slog.Logger, p Process) error {
	h := machine()
	h.process = p
	return run(ctx, cfg, log, h)
}
