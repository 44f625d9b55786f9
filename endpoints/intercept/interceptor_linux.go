package intercept

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Interceptor takes connections from Open to Close. Its methods may be called
// from several goroutines.
type Interceptor struct {
	cfg       Config
	table     *table
	routing   *routing
	listeners []exitListener
	v6        bool // there is a listener for IPv6

	taken chan Connection
	loops sync.WaitGroup // accept, joined by Close

	mu   sync.Mutex    // Restore and Close, one at a time
	done chan struct{} // closed by Close
	err  error         // of Close
}

// exitListener is a listener for what goes by one exit.
type exitListener struct {
	*net.TCPListener
	exit uint8
	v6   bool
}

// Open starts the interception in the network namespace of the calling thread.
// What a crashed predecessor left is replaced. ErrRights, ErrUnsupported,
// ErrBusy. Nothing is left behind after an error.
func Open(cfg Config) (*Interceptor, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	i := &Interceptor{cfg: cfg, taken: make(chan Connection), done: make(chan struct{})}
	if cfg.IPv6 && !ipv6Usable() {
		return nil, noIPv6()
	}
	i.v6 = ipv6Usable()
	// The port is the lock: nothing is touched before it is ours.
	if err := i.listen(); err != nil {
		i.release()
		return nil, err
	}
	var err error
	if i.table, err = openTable(cfg.rules()); err == nil {
		i.routing, err = openRouting()
	}
	if err == nil {
		err = i.put()
	}
	if err != nil {
		i.undo() // the first error says it
		i.release()
		return nil, err
	}
	for _, l := range i.listeners {
		i.loops.Go(func() { i.accept(l) })
	}
	return i, nil
}

func noIPv6() error {
	return fmt.Errorf("intercept: take IPv6: %w: IPv6 is absent or switched off on this machine (net.ipv6.conf.lo.disable_ipv6)", ErrUnsupported)
}

func (i *Interceptor) listen() error {
	for _, v6 := range []bool{false, true} {
		if v6 && !i.v6 {
			continue
		}
		for _, number := range i.cfg.numbers() {
			l, err := listen(v6, i.cfg.exitPort(number))
			if err != nil {
				return err
			}
			i.listeners = append(i.listeners, exitListener{l, number, v6})
		}
	}
	return nil
}

// listenMore opens the listeners of exits that had none. Those of exits that are no more are kept: nothing comes to them.
func (i *Interceptor) listenMore(cfg Config) error {
	for _, number := range cfg.numbers() {
		for _, v6 := range []bool{false, true} {
			has := slices.ContainsFunc(i.listeners, func(l exitListener) bool { return l.exit == number && l.v6 == v6 })
			if has || v6 && !i.v6 {
				continue
			}
			l, err := listen(v6, cfg.exitPort(number))
			if err != nil {
				return err
			}
			el := exitListener{l, number, v6}
			i.listeners = append(i.listeners, el)
			i.loops.Go(func() { i.accept(el) })
		}
	}
	return nil
}

// put makes routes and rules before the table that sends packets there.
func (i *Interceptor) put() error {
	if err := i.routing.put(i.cfg, false); err != nil {
		return err
	}
	if i.v6 {
		if err := i.routing.put(i.cfg, true); err != nil {
			return err
		}
	}
	return i.table.replace()
}

// undo removes the table before what its packets need.
func (i *Interceptor) undo() error {
	var errs []error
	if i.table != nil {
		errs = append(errs, i.table.remove())
	}
	if i.routing != nil {
		errs = append(errs, i.routing.remove())
	}
	return errors.Join(errs...)
}

func (i *Interceptor) release() {
	for _, l := range i.listeners {
		l.Close()
	}
	if i.table != nil {
		i.table.close()
	}
	if i.routing != nil {
		i.routing.close()
	}
}

// Restore puts back what somebody else has removed, and forgets all negative
// results. It changes nothing else and may be called at any time.
func (i *Interceptor) Restore() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed() {
		return net.ErrClosed
	}
	return i.put()
}

// Update makes the exits, the bypass list, the interfaces and the time for refusals those of cfg, in one transaction: connections that were taken go on.
// The ports stay. After an error the old ones hold.
func (i *Interceptor) Update(cfg Config) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed() {
		return net.ErrClosed
	}
	cfg.Port = i.cfg.Port
	if err := i.listenMore(cfg); err != nil {
		return err
	}
	cfg.IPv6 = cfg.IPv6 && i.v6
	old, rules := i.cfg, i.table.use(cfg.rules())
	i.cfg = cfg
	err := i.put()
	if err != nil {
		i.cfg = old
		i.table.use(rules)
	}
	return err
}

func (i *Interceptor) closed() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// acceptPause is the rest after a failed accept, which is a lack of file
// descriptors or memory: it does not pass at once.
const acceptPause = 50 * time.Millisecond

// accept runs until the listener is closed.
func (i *Interceptor) accept(l exitListener) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		conn, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			pause.Reset(acceptPause)
			select {
			case <-pause.C:
			case <-i.done:
				return
			}
			continue
		}
		t := Connection{conn, addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()), l.exit}
		if t.Target == addrPort(l.Addr()) { // somebody on this machine called us, who would be called forever
			discard(conn)
			continue
		}
		select {
		case i.taken <- t:
		case <-i.done:
			discard(conn)
		}
	}
}

// addrPort drops the IPv6 zone: the address is meant for another machine.
func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// discard resets a connection that nobody will serve.
func discard(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// Accept returns the next connection that was taken: from whom, for whom it
// was meant, and by which exit. The handshake with the client is complete. The connection is the
// caller's. net.ErrClosed after Close.
func (i *Interceptor) Accept() (Connection, error) {
	select {
	case t := <-i.taken:
		return t, nil
	case <-i.done:
		return Connection{}, net.ErrClosed
	}
}

// Refused makes the kernel answer new connections to the target with RST for
// Config.NegativeTTL from now, or from the first of several such calls. It is a
// transaction of some tenths of a millisecond, one at a time: nothing for a loop
// that carries data. When 4096 targets of the family are remembered already,
// this one is not, without an error. ErrRemoved.
func (i *Interceptor) Refused(target netip.AddrPort) error {
	r := i.table.current()
	return i.remember(target, r.refused4, r.refused6)
}

// Unreachable is as Refused, with an ICMP error that says so as the answer.
func (i *Interceptor) Unreachable(target netip.AddrPort) error {
	r := i.table.current()
	return i.remember(target, r.unreachable4, r.unreachable6)
}

func (i *Interceptor) remember(target netip.AddrPort, four, six *set) error {
	a := target.Addr().Unmap().WithZone("")
	if !a.IsValid() {
		return fmt.Errorf("intercept: %v is not an address to remember", target)
	}
	s := four
	if a.Is6() {
		s = six
	}
	if i.closed() {
		return net.ErrClosed
	}
	return i.table.remember(s, netip.AddrPortFrom(a, target.Port()))
}

// SetIPv6 switches the taking of new IPv6 connections; those that were taken go
// on. ErrUnsupported where this machine has no IPv6, ErrRemoved.
func (i *Interceptor) SetIPv6(on bool) error {
	switch {
	case i.closed():
		return net.ErrClosed
	case !i.v6 && on:
		return noIPv6()
	case !i.v6:
		return nil
	}
	return i.table.family(on)
}

// Close ends the interception and removes all of it. Taken connections are the
// caller's to close, before this, so that their ends reach the clients. It returns what could
// not be removed.
func (i *Interceptor) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed() {
		close(i.done)
		i.err = i.undo()
		i.release()
		i.loops.Wait()
	}
	return i.err
}

// Sweep removes what a crashed predecessor left in the network namespace of the
// calling thread. The port of the configuration tells whether it is dead: ErrBusy if not.
func Sweep(cfg Config) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	i := &Interceptor{cfg: cfg, v6: ipv6Usable()}
	defer i.release()
	err := i.listen()
	if err != nil {
		return err
	}
	if i.table, err = openTable(cfg.rules()); err != nil {
		return err
	}
	if i.routing, err = openRouting(); err != nil {
		return err
	}
	return i.undo()
}
