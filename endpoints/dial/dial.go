package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Defaults of Options.
const (
	// DefaultTimeout lets the kernel send its SYN at 0, 1, 3, 7 and 15 s (RFC 6298
	// doubling from 1 s) and leaves the last one time for an answer.
	DefaultTimeout = 20 * time.Second
	// DefaultMaxOpen is far above what a home has open at once, and keeps one
	// gateway from taking all file descriptors of an exit.
	DefaultMaxOpen = 8192
	// DefaultRate and DefaultBurst let a few dozen devices load pages at the same
	// time, and slow a scan or a flood down.
	DefaultRate  = 500
	DefaultBurst = 2000
)

// Resolver looks names up; *net.Resolver is one. network is "ip4" or "ip6".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are the policy and the limits of one gateway. The zero value is usable.
type Options struct {
	// Allow opens prefixes that are closed by default; Deny closes prefixes,
	// and counts before Allow.
	Allow, Deny []netip.Prefix
	Timeout     time.Duration // for a whole DialTarget, names included; 0: DefaultTimeout
	MaxOpen     int           // connections and associations at once; 0: DefaultMaxOpen
	Rate        float64       // new ones per second; 0: DefaultRate
	Burst       float64       // at once after a rest, at least 1; 0: DefaultBurst

	// Resolver looks names up; nil: the system's, in Go. A name gets a final dot
	// first, so that no search list applies.
	Resolver Resolver
	// Own lists the addresses of this machine; nil: read from the system. A func
	// that several gateways share is called concurrently.
	Own func() ([]netip.Addr, error)
	// Control is called with each socket before it connects; nil: nothing is done.
	Control func(network, address string, c syscall.RawConn) error

	// connect replaces the network in tests.
	connect func(ctx context.Context, to netip.AddrPort) (Conn, error)
}

func (o Options) withDefaults() (Options, error) {
	for _, list := range [][]netip.Prefix{o.Allow, o.Deny} {
		for _, p := range list {
			if !p.IsValid() || p.Addr().Is4In6() {
				return o, fmt.Errorf("dial: %v is not a prefix: write it like 192.168.7.0/24 or fd00::/8", p)
			}
		}
	}
	if o.Timeout < 0 || o.MaxOpen < 0 || o.Rate < 0 || o.Burst < 0 || o.Burst != 0 && o.Burst < 1 {
		return o, errors.New("dial: a limit is negative, or a burst is below 1: leave it out for the default")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = DefaultMaxOpen
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Burst == 0 {
		o.Burst = DefaultBurst
	}
	if o.Resolver == nil {
		o.Resolver = &net.Resolver{PreferGo: true}
	}
	if o.Own == nil {
		o.Own = new(ownAddrs).get
	}
	if o.connect == nil {
		o.connect = o.system
	}
	return o, nil
}

// A server that is gone is found by keep-alive in four minutes, with little
// traffic for the many connections that are quiet and well.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4}

// system connects with a socket of the kernel.
func (o Options) system(ctx context.Context, to netip.AddrPort) (Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive, Control: o.Control}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// Dialer opens connections for one gateway. Its methods may be called from
// several goroutines.
type Dialer struct {
	opts  atomic.Pointer[Options] // with defaults
	limit limiter
	count [Codes]atomic.Uint64
	done  atomic.Uint64
}

// New makes a Dialer; the error names the option that is wrong.
func New(o Options) (*Dialer, error) {
	d := new(Dialer)
	return d, d.Update(o)
}

// Update changes policy and limits for what is opened from now on.
func (d *Dialer) Update(o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	d.opts.Store(&o)
	d.limit.set(o.MaxOpen, o.Rate, o.Burst)
	return nil
}

// Stats are counters since New.
type Stats struct {
	Open   int           // connections and associations that are open, or being opened
	Opened uint64        // dials that succeeded
	Failed [Codes]uint64 // dials that did not, by Code
}

// Stats returns the counters as they are now.
func (d *Dialer) Stats() Stats {
	s := Stats{Open: d.limit.count(), Opened: d.done.Load()}
	for i := range s.Failed {
		s.Failed[i] = d.count[i].Load()
	}
	return s
}

// DialTarget connects to the target under the policy, within Options.Timeout or
// until ctx ends. The error is an *Error. The connection counts until it is closed.
func (d *Dialer) DialTarget(ctx context.Context, t Target) (Conn, error) {
	c, err := d.dial(ctx, t)
	d.note(err)
	return c, err
}

func (d *Dialer) note(err error) {
	if err != nil {
		d.count[CodeOf(err)%Codes].Add(1)
	} else {
		d.done.Add(1)
	}
}

func (d *Dialer) dial(ctx context.Context, t Target) (Conn, error) {
	o := d.opts.Load()
	name := t.String()
	t, err := t.normal()
	if err != nil {
		return nil, &Error{Code: NoSuchName, Target: name, Reason: err.Error()}
	}
	if why, ok := d.limit.take(); !ok {
		return nil, &Error{Code: Busy, Target: name, Reason: why}
	}
	inner, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	r := &race{opts: o, policy: policy{o.Allow, o.Deny, o.Own}, target: t, name: name}
	c, err := r.run(inner)
	if err != nil {
		d.limit.give()
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &Error{Code: Canceled, Target: name, Err: ctx.Err()}
		}
		return nil, err
	}
	return &tracked{Conn: c, give: d.limit.give}, nil
}

// tracked counts a connection until it is closed.
type tracked struct {
	Conn
	once sync.Once
	give func()
}

func (t *tracked) Close() error {
	err := t.Conn.Close()
	t.once.Do(t.give)
	return err
}

// SetLinger is that of the connection below, if it has one.
func (t *tracked) SetLinger(seconds int) error {
	if l, ok := t.Conn.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}

// NetConn is the connection below, a *net.TCPConn. To close that one instead
// would leave the limit counting.
func (t *tracked) NetConn() net.Conn { return t.Conn }
