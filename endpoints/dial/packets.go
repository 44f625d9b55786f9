package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// nameTTL is how long an association uses the address of a name: the
	// resolver does not tell the record's own time, and a minute is short for
	// anything that moves on purpose.
	nameTTL = time.Minute
	// maxNames bounds the names of one association; a client that uses more has
	// the oldest looked up again.
	maxNames = 64
	// maxWaiting bounds the datagrams that wait for one name to be looked up: a
	// client repeats itself only some times in that while.
	maxWaiting = 8
)

// packets is one association: a UDP socket of its own.
type packets struct {
	d    *Dialer
	opts *Options // as they were at the start
	sock *net.UDPConn
	once sync.Once

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	lookup sync.WaitGroup // look-ups on their way, joined by Close

	mu     sync.Mutex
	closed bool
	names  map[string]*nameEntry
}

// nameEntry is a name that a datagram was sent to.
type nameEntry struct {
	addr    netip.Addr // valid once looked up
	why     *Error     // the look-up failed, or the policy forbids it
	until   time.Time  // zero while it is being looked up
	waiting []waiting
}

type waiting struct {
	data []byte
	port uint16
}

// Associate opens a UDP socket for one client of the gateway, under the same
// policy as connections; it counts as one of them until it is closed. What comes in
// from where the gateway may not go is dropped. ctx is for the opening only.
func (d *Dialer) Associate(ctx context.Context) (PacketConn, error) {
	c, err := d.associate(ctx)
	d.note(err)
	return c, err
}

func (d *Dialer) associate(ctx context.Context) (PacketConn, error) {
	const what = "any address by UDP"
	o := d.opts.Load()
	if why, ok := d.limit.take(); !ok {
		return nil, &Error{Code: Busy, Target: what, Reason: why}
	}
	lc := net.ListenConfig{Control: o.Control}
	sock, err := lc.ListenPacket(ctx, "udp", ":0")
	if err != nil {
		d.limit.give()
		return nil, &Error{Code: CodeOf(err), Target: what, Err: err}
	}
	p := &packets{d: d, opts: o, sock: sock.(*net.UDPConn), names: make(map[string]*nameEntry)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

func (p *packets) policy() policy { return policy{p.opts.Allow, p.opts.Deny, p.opts.Own} }

func (p *packets) ReadFrom(b []byte) (int, Target, error) {
	pol := p.policy()
	for {
		n, from, err := p.sock.ReadFromUDPAddrPort(b)
		if err != nil {
			return 0, Target{}, err
		}
		if pol.check(from.Addr().WithZone("")) == "" {
			return n, TargetOf(from), nil
		}
	}
}

func (p *packets) SetReadDeadline(t time.Time) error { return p.sock.SetReadDeadline(t) }

func (p *packets) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	err := p.sock.Close()
	p.lookup.Wait()
	p.once.Do(p.d.limit.give)
	return err
}

func (p *packets) WriteTo(b []byte, to Target) (int, error) {
	name := to.String()
	to, err := to.normal()
	if err != nil {
		return 0, &Error{Code: NoSuchName, Target: name, Reason: err.Error()}
	}
	if to.Addr.IsValid() {
		pol := p.policy()
		if why := pol.check(to.Addr); why != "" {
			return 0, &Error{Code: Forbidden, Target: name, Reason: why}
		}
		return p.send(b, to.Addr, to.Port)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	e := p.names[to.Host]
	if e != nil && !e.until.IsZero() && time.Now().After(e.until) {
		e = nil
	}
	switch {
	case e == nil && !p.room():
		// Dropped, as by a resolver that is too busy.
	case e == nil:
		e = &nameEntry{waiting: []waiting{{append([]byte(nil), b...), to.Port}}}
		p.names[to.Host] = e
		p.lookup.Go(func() { p.find(to.Host, e) }) // joined by Close
	case e.until.IsZero():
		if len(e.waiting) < maxWaiting {
			e.waiting = append(e.waiting, waiting{append([]byte(nil), b...), to.Port})
		}
	case e.why != nil:
		why := *e.why
		why.Target = name
		return 0, &why
	default:
		return p.send(b, e.addr, to.Port)
	}
	return len(b), nil
}

// send drops what the network refuses, as it would somewhere on the way.
func (p *packets) send(b []byte, to netip.Addr, port uint16) (int, error) {
	_, err := p.sock.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, port))
	if errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(b), nil
}

// room tells whether one more name can be kept: the oldest goes for it, but not
// one that is being looked up.
func (p *packets) room() bool {
	if len(p.names) < maxNames {
		return true
	}
	oldest := ""
	for name, e := range p.names {
		if !e.until.IsZero() && (oldest == "" || e.until.Before(p.names[oldest].until)) {
			oldest = name
		}
	}
	delete(p.names, oldest)
	return oldest != ""
}

// find looks a name up and sends what waits for it. The first address that the
// policy allows is used, in the order of the resolver, IPv4 before IPv6: a datagram
// gets no second try, and IPv4 is everywhere.
func (p *packets) find(host string, e *nameEntry) {
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.Timeout)
	defer cancel()
	var addr netip.Addr
	var failure error
	pol := p.policy()
	for _, network := range []string{"ip4", "ip6"} {
		list, err := p.opts.Resolver.LookupNetIP(ctx, network, host+".")
		if err != nil {
			failure = better(failure, &Error{Code: CodeOf(err), Target: host, Err: err})
		}
		for _, a := range list {
			why := pol.check(a.Unmap())
			if why == "" {
				addr = a.Unmap()
				break
			}
			failure = better(failure, &Error{Code: Forbidden, Target: host, Reason: why})
		}
		if addr.IsValid() {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e.addr, e.until = addr, time.Now().Add(nameTTL)
	if !addr.IsValid() {
		e.why = &Error{Code: NoSuchName, Target: host}
		if failure != nil {
			e.why = failure.(*Error)
		}
		if e.why.Code != Forbidden && e.why.Code != NoSuchName {
			e.until = time.Now() // try again with the next datagram
		}
	}
	for _, w := range e.waiting {
		if addr.IsValid() {
			p.send(w.data, addr, w.port)
		}
	}
	e.waiting = nil
}
