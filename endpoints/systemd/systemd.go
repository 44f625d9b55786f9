package systemd

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify sends lines of state. It does nothing without a service manager that listens; that the message could not be sent helps nobody to know.
func Notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Watchdog is how often the service manager wants to hear WATCHDOG=1 from this process; 0: never.
func Watchdog() time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0 // the variable is not a number: it is meant for somebody else
	}
	return d
}

// MonotonicUsec is the line that goes with RELOADING=1.
func MonotonicUsec() string { return daemon.SdNotifyMonotonicUsec() }
