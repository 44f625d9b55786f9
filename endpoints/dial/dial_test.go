package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// network is a resolver and a network in one, which note when they were asked.
type network struct {
	begin time.Time
	names map[string]record    // "ip4 example.org."
	hosts map[string]condition // address, or "" for all others
	mu    sync.Mutex
	log   []string
	open  int
}

type record struct {
	after time.Duration
	addrs string
	err   error
}

type condition struct {
	after time.Duration
	err   error
}

func (n *network) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, fmt.Sprintf("%v ", time.Since(n.begin))+fmt.Sprintf(format, args...))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *network) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	r, ok := n.names[network+" "+host]
	if err := wait(ctx, r.after); err != nil {
		return nil, err
	}
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, s := range strings.Fields(r.addrs) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out, r.err
}

func (n *network) connect(ctx context.Context, to netip.AddrPort) (Conn, error) {
	n.note("%s", to)
	c, ok := n.hosts[to.Addr().String()]
	if !ok {
		c = n.hosts[""]
	}
	if err := wait(ctx, c.after); err != nil {
		return nil, &net.OpError{Op: "dial", Err: err}
	}
	if c.err != nil {
		return nil, &net.OpError{Op: "dial", Err: c.err}
	}
	a, b := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &end{Conn: a, far: b, n: n}, nil
}

// end is one end of a connection of the network.
type end struct {
	net.Conn
	far  net.Conn
	n    *network
	once sync.Once
}

func (e *end) CloseWrite() error { return nil }
func (e *end) Close() error {
	e.once.Do(func() {
		e.n.mu.Lock()
		e.n.open--
		e.n.mu.Unlock()
	})
	e.far.Close()
	return e.Conn.Close()
}

func (n *network) dialer(t *testing.T, o Options) *Dialer {
	t.Helper()
	n.begin = time.Now()
	o.Resolver, o.connect = n, n.connect
	if o.Own == nil {
		o.Own = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("198.51.100.1")}, nil }
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func name(host string) Target { return Target{Host: host, Port: 443} }

func addr(s string) Target { return TargetOf(netip.MustParseAddrPort(s)) }

func TestHappyEyeballs(t *testing.T) {
	const v6, v6b, v4, v4b = "2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"
	ms := time.Millisecond
	dead := condition{after: time.Hour}
	refused := condition{after: 5 * ms, err: syscall.ECONNREFUSED}
	noRoute := condition{after: ms, err: syscall.ENETUNREACH} // after the answers of both lookups
	both := map[string]record{"ip6 x.": {addrs: v6 + " " + v6b}, "ip4 x.": {addrs: v4 + " " + v4b}}
	for _, c := range []struct {
		name  string
		names map[string]record
		hosts map[string]condition
		log   string // attempts
		took  time.Duration
		code  Code // of the failure; Codes for none
	}{
		{"IPv6 first", both, map[string]condition{"": {after: 10 * ms}}, "0s [2001:db8::1]:443", 10 * ms, Codes},
		{"no route for IPv6", both, map[string]condition{v6: noRoute, v6b: noRoute, "": {after: 10 * ms}},
			"0s [2001:db8::1]:443, 1ms 192.0.2.1:443", 11 * ms, Codes},
		{"IPv6 is dead", both, map[string]condition{v6: dead, v6b: dead, "": {after: 10 * ms}},
			"0s [2001:db8::1]:443, 250ms 192.0.2.1:443", 260 * ms, Codes},
		{"IPv6 is slow", both, map[string]condition{v6: {after: 300 * ms}, "": dead},
			"0s [2001:db8::1]:443, 250ms 192.0.2.1:443", 300 * ms, Codes},
		{"the families in turn", both, map[string]condition{"": dead, v4b: {after: 10 * ms}},
			"0s [2001:db8::1]:443, 250ms 192.0.2.1:443, 500ms [2001:db8::2]:443, 750ms 192.0.2.2:443", 760 * ms, Codes},
		{"a failure brings the next at once", both, map[string]condition{"": refused},
			"0s [2001:db8::1]:443, 5ms 192.0.2.1:443, 10ms [2001:db8::2]:443, 15ms 192.0.2.2:443", 20 * ms, Refused},
		{"AAAA comes late, within its time", map[string]record{"ip6 x.": {after: 40 * ms, addrs: v6}, "ip4 x.": {addrs: v4}},
			map[string]condition{}, "40ms [2001:db8::1]:443", 40 * ms, Codes},
		{"AAAA comes too late", map[string]record{"ip6 x.": {after: 100 * ms, addrs: v6}, "ip4 x.": {after: 10 * ms, addrs: v4}},
			map[string]condition{v4: dead, "": {after: 10 * ms}}, "60ms 192.0.2.1:443, 310ms [2001:db8::1]:443", 320 * ms, Codes},
		{"AAAA comes long after the attempt failed", map[string]record{"ip6 x.": {after: time.Second, addrs: v6}, "ip4 x.": {addrs: v4}},
			map[string]condition{v4: refused}, "50ms 192.0.2.1:443, 1s [2001:db8::1]:443", time.Second, Codes},
		{"no AAAA", map[string]record{"ip6 x.": {after: 20 * ms, err: &net.DNSError{IsNotFound: true}}, "ip4 x.": {addrs: v4}},
			map[string]condition{}, "20ms 192.0.2.1:443", 20 * ms, Codes},
		{"only AAAA", map[string]record{"ip6 x.": {addrs: v6}}, map[string]condition{}, "0s [2001:db8::1]:443", 0, Codes},
		{"a mapped address is an IPv4 one", map[string]record{"ip6 x.": {addrs: "::ffff:" + v4}}, map[string]condition{}, "0s 192.0.2.1:443", 0, Codes},
		{"unreachable and refused is refused", both, map[string]condition{v6: noRoute, v6b: noRoute, "": refused},
			"0s [2001:db8::1]:443, 1ms 192.0.2.1:443, 6ms [2001:db8::2]:443, 7ms 192.0.2.2:443", 12 * ms, Refused},
		{"unreachable and dead", map[string]record{"ip6 x.": {addrs: v6}, "ip4 x.": {addrs: v4}}, map[string]condition{v6: noRoute, "": dead},
			"0s [2001:db8::1]:443, 1ms 192.0.2.1:443", DefaultTimeout, Timeout},
		{"all unreachable", map[string]record{"ip4 x.": {addrs: v4}}, map[string]condition{"": noRoute}, "0s 192.0.2.1:443", ms, Unreachable},
		{"no such name", nil, nil, "", 0, NoSuchName},
		{"no addresses", map[string]record{"ip6 x.": {}, "ip4 x.": {}}, nil, "", 0, NoSuchName},
		{"resolver is dead", map[string]record{"ip6 x.": {after: time.Hour}, "ip4 x.": {after: time.Hour}}, nil, "", DefaultTimeout, Timeout},
		{"resolver fails", map[string]record{"ip6 x.": {err: &net.DNSError{IsTimeout: true}}}, nil, "", 0, Timeout},
		{"more addresses than are tried", map[string]record{"ip4 x.": {addrs: strings.Repeat(v4+" ", 30)}}, map[string]condition{"": {err: syscall.ECONNREFUSED}},
			strings.Repeat("0s 192.0.2.1:443, ", 7) + "0s 192.0.2.1:443", 0, Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{names: c.names, hosts: c.hosts}
				d := n.dialer(t, Options{})
				conn, err := d.DialTarget(t.Context(), name("x"))
				if got := time.Since(n.begin); got != c.took {
					t.Errorf("took %v, want %v", got, c.took)
				}
				if got := strings.Join(n.log, ", "); got != c.log {
					t.Errorf("attempts %s, want %s", got, c.log)
				}
				if c.code == Codes {
					if err != nil {
						t.Fatal(err)
					}
					if n.open != 1 || d.Stats().Open != 1 || d.Stats().Opened != 1 {
						t.Errorf("%d connections, %+v", n.open, d.Stats())
					}
					conn.Close()
					conn.Close()
				} else {
					var e *Error
					if !errors.As(err, &e) || e.Code != c.code || e.Target != "x:443" || d.Stats().Failed[c.code] != 1 {
						t.Errorf("got %v %+v, want %v", err, d.Stats(), c.code)
					}
					t.Log(err)
				}
				if n.open != 0 || d.Stats().Open != 0 {
					t.Errorf("%d connections left, %+v", n.open, d.Stats())
				}
			}) // would fail if a goroutine were left
		})
	}
}

func TestTheLoserIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Both connect at the same instant.
		n := &network{
			names: map[string]record{"ip6 x.": {addrs: "2001:db8::1"}, "ip4 x.": {addrs: "192.0.2.1"}},
			hosts: map[string]condition{"2001:db8::1": {after: 300 * time.Millisecond}, "192.0.2.1": {after: 50 * time.Millisecond}},
		}
		c, err := n.dialer(t, Options{}).DialTarget(t.Context(), name("x"))
		if err != nil {
			t.Fatal(err)
		}
		if n.open != 1 {
			t.Errorf("%d connections open, want the one that was returned", n.open)
		}
		c.Close()
	})
}

func TestTheCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{names: map[string]record{"ip4 x.": {addrs: "192.0.2.1"}}, hosts: map[string]condition{"": {after: time.Hour}}}
		d := n.dialer(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := d.DialTarget(ctx, name("x")); CodeOf(err) != Canceled || time.Since(n.begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(n.begin), err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.DialTarget(ctx, name("x")); CodeOf(err) != Timeout {
			t.Errorf("got %v, want a timeout", err)
		}
		if d.Stats().Open != 0 {
			t.Errorf("%+v", d.Stats())
		}
	})
}
