//go:build !linux

package uplink

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
)

// System keeps the machine's network in the planned state; on this system it
// cannot be opened.
type System struct{}

func unsupported(what string) error {
	return fmt.Errorf("%w: %s is done on Linux only, not on %s", ErrUnsupported, what, runtime.GOOS)
}

// Watch always fails with ErrUnsupported; use a Feed.
func Watch(WatchOptions) (Monitor, error) { return nil, unsupported("watching uplinks") }

// Check always fails with ErrUnsupported.
func Check() error { return unsupported("changing routes") }

// Open always fails with ErrUnsupported.
func Open(Options) (*System, error) { return nil, unsupported("changing routes") }

// Current always fails with ErrUnsupported.
func (*System) Current(context.Context, Plan) (Plan, error) {
	return Plan{}, unsupported("changing routes")
}

// Apply always fails with ErrUnsupported.
func (*System) Apply(context.Context, []Op) error { return unsupported("changing routes") }

// Sync always fails with ErrUnsupported.
func (*System) Sync(context.Context, Plan) error { return unsupported("changing routes") }

// Sweep always fails with ErrUnsupported.
func (*System) Sweep(context.Context) error { return unsupported("changing routes") }

// Forwarded is always false.
func (*System) Forwarded(bool) bool { return false }

// Close does nothing.
func (*System) Close(context.Context) error { return nil }

// Control always fails with ErrUnsupported.
func (Uplink) Control(string, string, syscall.RawConn) error {
	return unsupported("binding to an uplink")
}

// Control always fails with ErrUnsupported.
func (ExitTUN) Control(string, string, syscall.RawConn) error {
	return unsupported("binding to a TUN device")
}

// ReadTraffic always fails with ErrUnsupported.
func ReadTraffic(string) (Traffic, error) { return Traffic{}, unsupported("reading counters") }
