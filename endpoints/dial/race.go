package dial

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

const (
	// resolutionDelay is how long IPv4 addresses wait for the IPv6 ones (RFC 8305 3).
	resolutionDelay = 50 * time.Millisecond
	// attemptDelay is between attempts while none has failed (RFC 8305 5).
	attemptDelay = 250 * time.Millisecond
	// maxPerFamily bounds the addresses of a name that are tried: with a new attempt each
	// attemptDelay all have had some time before the whole times out.
	maxPerFamily = 8
)

const (
	six = iota // first in turn
	four
	families
)

// race is one DialTarget: it belongs to one goroutine, which joins all that it starts.
type race struct {
	opts   *Options
	policy policy
	target Target // checked
	name   string // of the target, for errors

	queue    [families][]netip.Addr // to be tried
	turn     int                    // family of the next attempt, if it has one
	looking  [families]bool         // a lookup is on its way
	running  int                    // attempts
	err      error                  // that tells most, so far
	attempts chan attempt
}

type answer struct {
	family int
	addrs  []netip.Addr
	err    error
}

type attempt struct {
	conn Conn
	err  error
}

// run connects, or returns the failure that tells most.
func (r *race) run(ctx context.Context) (Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.attempts = make(chan attempt)
	answers := make(chan answer)
	if r.target.Addr.IsValid() {
		r.add(answer{family: familyOf(r.target.Addr), addrs: []netip.Addr{r.target.Addr}})
	} else {
		for family, network := range [families]string{six: "ip6", four: "ip4"} {
			r.looking[family] = true
			go func() { // joined below
				addrs, err := r.opts.Resolver.LookupNetIP(ctx, network, r.target.Host+".")
				answers <- answer{family, addrs, err}
			}()
		}
	}

	// One timer: for the resolution delay, then between attempts.
	next := time.NewTimer(resolutionDelay)
	next.Stop()
	defer next.Stop()
	ready, started, held := true, false, false // an attempt may begin; one did; IPv4 is not to wait (any more)
	holding := false
	var won Conn
	for won == nil && ctx.Err() == nil {
		hold := !started && !held && len(r.queue[six]) == 0 && r.looking[six]
		switch {
		case r.waiting() && ready && !hold:
			r.start(ctx)
			ready, started = false, true
			next.Reset(attemptDelay)
			continue
		case r.waiting() && ready && !holding:
			holding = true
			next.Reset(resolutionDelay)
		case !r.waiting() && r.running == 0 && !r.looking[six] && !r.looking[four]:
			return nil, r.err
		}
		select {
		case a := <-answers:
			r.add(a)
		case a := <-r.attempts:
			r.running--
			if won = a.conn; won == nil {
				r.fail(a.err)
				ready = true
			}
		case <-next.C:
			ready, held = true, true
		case <-ctx.Done():
		}
	}
	err := ctx.Err()
	cancel()
	r.join(answers)
	if won != nil {
		return won, nil
	}
	if CodeOf(err) == Timeout {
		err = &Error{Code: Timeout, Target: r.name, Reason: fmt.Sprintf("nothing within %v", r.opts.Timeout)}
	}
	r.fail(err)
	return nil, r.err
}

// waiting tells whether there is an address to try.
func (r *race) waiting() bool { return len(r.queue[six])+len(r.queue[four]) > 0 }

// join waits for all that was started, and closes what connected too late.
func (r *race) join(answers chan answer) {
	for r.running > 0 || r.looking[six] || r.looking[four] {
		select {
		case a := <-answers:
			r.looking[a.family] = false
		case a := <-r.attempts:
			r.running--
			if a.conn != nil {
				a.conn.Close()
			}
		}
	}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return four
	}
	return six
}

// add takes the answer of a lookup: what the policy allows is queued.
func (r *race) add(a answer) {
	r.looking[a.family] = false
	if a.err != nil {
		r.fail(a.err)
	} else if len(a.addrs) == 0 {
		r.err = better(r.err, &Error{Code: NoSuchName, Target: r.name})
	}
	for _, addr := range a.addrs {
		addr = addr.Unmap()
		if why := r.policy.check(addr); why != "" {
			r.err = better(r.err, &Error{Code: Forbidden, Target: r.name, Reason: why})
			continue
		}
		if f := familyOf(addr); len(r.queue[f]) < maxPerFamily {
			r.queue[f] = append(r.queue[f], addr)
		}
	}
}

func (r *race) fail(err error) {
	if _, ok := err.(*Error); !ok {
		err = &Error{Code: CodeOf(err), Target: r.name, Err: err}
	}
	r.err = better(r.err, err)
}

// start begins the next attempt, the families taking turns.
func (r *race) start(ctx context.Context) {
	f := r.turn
	if len(r.queue[f]) == 0 {
		f = families - 1 - f
	}
	addr := r.queue[f][0]
	r.queue[f], r.turn = r.queue[f][1:], families-1-f
	r.running++
	go func() { // joined by run
		c, err := r.opts.connect(ctx, netip.AddrPortFrom(addr, r.target.Port))
		if err != nil {
			c = nil // never an interface around a nil pointer
		}
		r.attempts <- attempt{c, err}
	}()
}
