// Package systemd talks to the service manager that started this process: what sd_notify(3) says, and the watchdog of sd_watchdog_enabled(3).
//
// It is coreos/go-systemd, which knows the protocol's corners (abstract sockets, another process's watchdog, the clock of a reload); here
// stands what bondd uses of it. Without a service manager everything does nothing.
package systemd
