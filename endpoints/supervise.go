package endpoints

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/systemd"
)

// What a service manager is told (sd_notify(3)).
const (
	stateReady    = "READY=1"
	stateStopping = "STOPPING=1"
	stateWell     = "WATCHDOG=1"
)

// stateReloading is the message of a reload that begins; systemd wants the time with it (Type=notify-reload).
func stateReloading() string {
	return strings.TrimSuffix("RELOADING=1\n"+systemd.MonotonicUsec(), "\n")
}

// wellTime bounds how long the node may take to show that it is well. It is far above what a busy one needs.
const wellTime = 2 * time.Second

// tell tells the service manager, if there is one.
func (n *node) tell(state string) {
	if notify := n.host.process.Notify; notify != nil {
		notify(state)
	}
}

// attend is there for the process while the node serves: it says that the node is ready, reloads at every hang-up, and feeds the watchdog. Until
// the stop that it returns, which says that the node is ending.
func (n *node) attend(ctx context.Context, well func(context.Context) bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	p := &n.host.process
	var wg sync.WaitGroup
	wg.Go(func() { // joined by stop
		for {
			select {
			case <-p.Hangup:
				n.reload(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	if p.Watchdog > 0 {
		wg.Go(func() { // joined by stop
			n.watchdog(ctx, well)
		})
	}
	n.tell(stateReady)
	return func() {
		n.tell(stateStopping)
		cancel()
		wg.Wait()
	}
}

// watchdog says that the node is well as long as it is: its goroutines answer. That no path is up is no fault of the process, which a restart
// would not mend.
func (n *node) watchdog(ctx context.Context, well func(context.Context) bool) {
	tick := time.NewTicker(n.host.process.Watchdog / 2)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, wellTime)
		if well(bounded) {
			n.tell(stateWell)
		} else if ctx.Err() == nil {
			n.log.Error("the node does not answer itself; the service manager will start it again")
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// well tells whether the goroutines of a gateway answer.
func (g *gateway) well(ctx context.Context) bool {
	for _, w := range g.ways {
		if !w.engine.call(ctx, func(time.Duration) {}) {
			return false
		}
	}
	return g.beat(ctx)
}

// well tells whether the goroutines of an exit answer: every engine that has not been told to stop.
func (x *exit) well(ctx context.Context) bool {
	x.mu.Lock()
	var engines []*engine
	for _, a := range x.sessions {
		if !a.over {
			engines = append(engines, a.engine)
		}
	}
	x.mu.Unlock()
	for _, e := range engines {
		if !e.call(ctx, func(time.Duration) {}) {
			select {
			case <-e.done: // it has ended meanwhile
			default:
				return false
			}
		}
	}
	return x.beat(ctx)
}

// beat asks the goroutine of serve for a sign of life.
func (n *node) beat(ctx context.Context) bool {
	done := make(chan struct{})
	select {
	case n.beats <- done:
	case <-ctx.Done():
		return false
	}
	<-done
	return true
}
