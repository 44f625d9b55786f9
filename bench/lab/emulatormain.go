package lab

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// The emulator has a process of its own, all of whose threads have precedence:
// the Go runtime hands a goroutine from thread to thread, and a thread of
// ordinary priority in between would make a line wait for whatever else this
// machine computes (seen: 50 ms). The precedence is taken before exec, so that
// the runtime's threads are born with it. It collects no garbage, for the same
// reason.

// linksMain takes precedence and starts the executable again.
func linksMain() int {
	runtime.LockOSThread()
	exactTimers()
	urgent(0)
	err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), envRole+"="+roleUrgent))
	fmt.Fprintln(os.Stderr, "start the emulator:", err)
	return 1
}

// emulatorMemory is where garbage is collected after all: far beyond what the
// links of a lab can hold.
const emulatorMemory = 512 << 20

func emulatorMain() int {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(emulatorMemory)
	var e *emulator
	serve(context.Background(), os.Stdin, os.Stdout, map[string]operation{
		"hello": op(func(context.Context, struct{}) (int, error) { return os.Getpid(), nil }),
		"open": op(func(_ context.Context, a emulatorArgs) (_ struct{}, err error) {
			// The descriptors follow fd 2 in order: gateway, exit, gateway, ...
			fds := make([][2]int, len(a.Uplinks))
			for i := range fds {
				fds[i] = [2]int{3 + 2*i, 4 + 2*i}
			}
			if e, err = newEmulator(a.Uplinks, fds, a.Seed); err == nil {
				e.do(func(time.Duration) {
					for _, i := range a.Strip {
						e.dirs[2*i].strip, e.dirs[2*i+1].strip = true, true
					}
					for _, i := range a.NoUDP {
						e.dirs[2*i].noUDP, e.dirs[2*i+1].noUDP = true, true
					}
				})
			}
			return struct{}{}, err
		}),
		"change": op(func(_ context.Context, c Change) (struct{}, error) {
			e.do(func(now time.Duration) {
				for _, d := range e.dirs[2*c.Uplink : 2*c.Uplink+2] {
					d.link.Set(now, c.apply)
					if c.Strip != nil {
						d.strip = *c.Strip
					}
				}
			})
			return struct{}{}, nil
		}),
		"stats": op(func(_ context.Context, uplink int) (out [2]link.Stats, _ error) {
			e.do(func(time.Duration) {
				out = [2]link.Stats{e.dirs[2*uplink].link.Stats(), e.dirs[2*uplink+1].link.Stats()}
			})
			return out, nil
		}),
		"lateness": op(func(context.Context, struct{}) (out Lateness, _ error) {
			e.do(func(time.Duration) {
				out = Lateness{e.late.quantile(0.5), e.late.quantile(0.99), e.late.total}
				e.late = lateness{}
			})
			return out, nil
		}),
	})
	return 0
}

type emulatorArgs struct {
	Uplinks []Uplink `json:"uplinks"`
	Seed    uint64   `json:"seed"`
	Strip   []int    `json:"strip,omitempty"`
	NoUDP   []int    `json:"no_udp,omitempty"`
}

// Change is a change to both directions of an uplink while it runs. Nil leaves
// a setting as it is.
type Change struct {
	Uplink int            `json:"uplink"`
	Down   *bool          `json:"down,omitempty"` // a black hole
	Rate   *float64       `json:"rate,omitempty"` // bit/s
	Delay  *time.Duration `json:"delay,omitempty"`
	Loss   *float64       `json:"loss,omitempty"`
	Strip  *bool          `json:"strip,omitempty"` // a box removes the MPTCP option
}

func (c Change) apply(cfg *link.Config) {
	if c.Down != nil {
		cfg.Down = *c.Down
	}
	if c.Rate != nil {
		cfg.Rate = *c.Rate
	}
	if c.Delay != nil {
		cfg.Delay = *c.Delay
	}
	if c.Loss != nil {
		cfg.Loss = *c.Loss
	}
}

// Lateness says how late the emulator delivered.
type Lateness struct {
	P50, P99 time.Duration
	Packets  uint64
}

// startEmulator starts the process; it owns copies of the devices' descriptors.
func (l *Lab) startEmulator(ctx context.Context) (err error) {
	l.emulator, err = startProcess(ctx, l.spawner, "emulator", roleLinks, 0, l.devices, l.cfg.Log)
	if err != nil {
		return err
	}
	for _, f := range l.devices {
		f.Close()
	}
	l.devices = nil
	return l.emulator.call(ctx, "open", emulatorArgs{l.cfg.Uplinks, l.cfg.Seed, l.cfg.Strip, l.cfg.NoUDP}, nil)
}

// Change changes an uplink.
func (l *Lab) Change(ctx context.Context, c Change) error {
	return l.emulator.call(ctx, "change", c, nil)
}

// Cut makes a black hole of uplink i: packets vanish, the interfaces stay up.
// Restore ends that.
func (l *Lab) Cut(ctx context.Context, i int) error {
	yes := true
	return l.Change(ctx, Change{Uplink: i, Down: &yes})
}

// Restore ends what Cut began.
func (l *Lab) Restore(ctx context.Context, i int) error {
	no := false
	return l.Change(ctx, Change{Uplink: i, Down: &no})
}

// LinkStats are the counters of uplink i since the lab was opened.
func (l *Lab) LinkStats(ctx context.Context, i int) (up, down link.Stats, err error) {
	var both [2]link.Stats
	err = l.emulator.call(ctx, "stats", i, &both)
	return both[0], both[1], err
}

// Lateness says how late the emulator has delivered since the last call.
func (l *Lab) Lateness(ctx context.Context) (Lateness, error) {
	var late Lateness
	err := l.emulator.call(ctx, "lateness", nil, &late)
	return late, err
}
