package endpoints

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/forward"
	"github.com/bondd/bondd/endpoints/uplink"
)

const (
	// relayName stands for the TUN device in the state of a relay's settings: there is one relay in the kernel of a machine.
	relayName = "relay"
	// relayLookup is how often the exit's name is looked up; relayRetry the same while it gives nothing.
	relayLookup = 5 * time.Minute
	relayRetry  = 5 * time.Second
)

// relay is a node that forwards to an exit and holds no keys. The goroutine of serve owns it, and what is under mu is also read by the
// control socket.
type relay struct {
	node

	mu     sync.Mutex
	to     netip.AddrPort // zero until the name has been looked up
	kernel bool
	user   *forward.Relay // nil while the kernel forwards
	reason string         // why nothing is forwarded, or not by the kernel
	wants  bool           // forwarding may still be taken to the kernel
}

// RelayStatus is how a relay forwards.
type RelayStatus struct {
	Listen netip.AddrPort `json:"listen"`
	To     netip.AddrPort `json:"to"`
	Kernel bool           `json:"kernel"`
	forward.Stats
}

func newRelay(cfg *config.Config, log *slog.Logger, h *host) *relay {
	r := &relay{wants: cfg.Relay.Forward != config.ForwardUser}
	r.cfg, r.log, r.host, r.clock = cfg, log, h, newClock()
	r.reloads.init(cfg)
	r.beats = make(chan chan struct{})
	return r
}

func (r *relay) run(ctx context.Context) error {
	return r.live(ctx, []phase{
		{"network", r.openRelayNetwork, r.closeRelayNetwork},
		{name: "forwarding", stop: r.stopForwarding},
		r.openControl(r.report),
	}, r.serve, r.beat)
}

// openRelayNetwork takes the lock on the machine's settings, and sweeps what a crashed predecessor left when it is not taken over. A relay
// that forwards by itself does without.
func (r *relay) openRelayNetwork(ctx context.Context) error {
	n, err := r.host.openNetwork(uplink.Options{TUN: relayName})
	if err != nil {
		if r.cfg.Relay.Forward == config.ForwardKernel {
			return err
		}
		r.byItself(err)
		return nil
	}
	r.net = n
	if r.wants {
		return nil
	}
	if err := errors.Join(r.net.Sync(ctx, uplink.Plan{}), r.host.delForward(r.forwardConfig(r.anyTarget()))); err != nil {
		r.log.Debug("nothing was swept", "error", err)
	}
	return nil
}

func (r *relay) closeRelayNetwork(ctx context.Context) error {
	if r.net == nil {
		return nil
	}
	return r.net.Close(ctx)
}

// byItself notes why the kernel does not forward.
func (r *relay) byItself(err error) {
	r.wants = false
	r.log.Info("the kernel does not forward; bondd does it by itself", "reason", err)
	r.mu.Lock()
	r.reason = oneLine(err)
	r.mu.Unlock()
}

// anyTarget is an address of the family of IPv4, for calls that only take away.
func (r *relay) anyTarget() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), config.DefaultPort)
}

func (r *relay) forwardConfig(to netip.AddrPort) forward.Config {
	return forward.Config{Listen: r.cfg.Listen[0], To: to, Flows: r.cfg.Relay.Flows, PerSource: r.cfg.Relay.PerSource}
}

// serve looks the exit up and forwards to where it is.
func (r *relay) serve(ctx context.Context) {
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			_, constant := r.cfg.Exit.Addresses[0].Addr()
			switch ok := r.follow(ctx); {
			case !ok:
				look.Reset(relayRetry)
			case !constant: // an address stays what it is, a name does not
				look.Reset(relayLookup)
			}
		case t := <-r.reloads.due:
			r.reloads.now.Store(t.cfg)
			t.done <- nil
		case b := <-r.beats:
			close(b)
		}
	}
}

// follow forwards to where the exit is now, and tells whether it does.
func (r *relay) follow(ctx context.Context) bool {
	addrs, err := r.lookup(ctx)
	r.mu.Lock()
	old := r.to
	r.mu.Unlock()
	if err == nil && slices.Contains(addrs, old) {
		return true
	}
	if err == nil {
		err = r.take(ctx, addrs[0])
	}
	if err != nil && ctx.Err() == nil {
		r.mu.Lock()
		if text := oneLine(err); text != r.reason {
			r.reason = text
			r.log.Warn("nothing new is forwarded; trying on", "to", r.cfg.Exit.Addresses[0], "error", text)
		}
		r.mu.Unlock()
	}
	return err == nil
}

// lookup gives the addresses of the exit, those of IPv4 first: more clients have it.
func (r *relay) lookup(ctx context.Context) ([]netip.AddrPort, error) {
	name := r.cfg.Exit.Addresses[0]
	ip, ok := name.Addr()
	ips := []netip.Addr{ip}
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, resolveTime)
		defer cancel()
		var err error
		if ips, err = r.host.lookup(ctx, name.Host); err != nil {
			return nil, fmt.Errorf("look up %s: %w", name.Host, err)
		}
	}
	var out []netip.AddrPort
	for _, four := range []bool{true, false} {
		for _, ip := range ips {
			if ip.Unmap().Is4() == four {
				out = append(out, netip.AddrPortFrom(ip.Unmap(), name.Port))
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no address", name.Host)
	}
	return out, nil
}

// take forwards to an address, in the kernel if that may be.
func (r *relay) take(ctx context.Context, to netip.AddrPort) error {
	if r.wants {
		err := r.inKernel(ctx, to)
		if err == nil {
			r.log.Info("relay ready", "listen", r.cfg.Listen[0], "to", to, "by", "kernel")
			r.mu.Lock()
			r.to, r.kernel, r.reason = to, true, ""
			r.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil || r.cfg.Relay.Forward == config.ForwardKernel {
			return err
		}
		r.byItself(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.user != nil {
		r.user.Retarget(to)
	} else {
		user, err := r.host.openForward(ctx, r.forwardConfig(to))
		if err != nil {
			return err
		}
		r.user = user
	}
	r.log.Info("relay ready", "listen", r.cfg.Listen[0], "to", to, "by", "bondd")
	r.to = to
	return nil
}

// inKernel puts the rules in place, and then lets the machine forward. What did not forward before goes on not to, for all but the relay.
func (r *relay) inKernel(ctx context.Context, to netip.AddrPort) error {
	v6 := to.Addr().Is6()
	c := r.forwardConfig(to)
	c.Closed = !r.net.Forwarded(v6)
	err := r.host.setForward(c)
	if err == nil {
		err = r.net.Sync(ctx, uplink.MakePlan(uplink.Snapshot{IPv6: v6}, uplink.Want{Role: uplink.Relay}))
	}
	if err != nil {
		undo := context.WithoutCancel(ctx)
		err = errors.Join(err, r.net.Sync(undo, uplink.Plan{}))
		if e := r.host.delForward(c); e != nil && !errors.Is(err, e) {
			r.log.Debug("not undone", "error", e)
		}
	}
	return err
}

// stopForwarding ends it. Forwarding is taken back before the rules that bound it.
func (r *relay) stopForwarding(ctx context.Context) error {
	r.mu.Lock()
	kernel, user, to := r.kernel, r.user, r.to
	r.mu.Unlock()
	if user != nil {
		user.Close()
	}
	if !kernel {
		return nil
	}
	return errors.Join(r.net.Sync(ctx, uplink.Plan{}), r.host.delForward(r.forwardConfig(to)))
}

// report makes the status of a relay. Any goroutine may call it.
func (r *relay) report(context.Context) *Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := &Status{
		Role: string(r.cfg.Role), Software: software(), Uptime: r.clock.now().Seconds(), State: "forwarding", Reason: r.reason,
		Sessions: []SessionStatus{}, Sockets: []SocketStatus{}, Drops: map[string]uint64{},
		Relay: &RelayStatus{Listen: r.cfg.Listen[0], To: r.to, Kernel: r.kernel},
	}
	if !r.to.IsValid() {
		st.State = "waiting"
	}
	if r.user != nil {
		st.Relay.Stats = r.user.Stats()
	}
	return st
}

// relayRules are the rules of a relay, for a machine that forwards for nobody else.
func relayRules(cfg *config.Config) string {
	if cfg.Relay.Forward == config.ForwardUser {
		return "# none: bondd forwards by itself\n"
	}
	a := cfg.Exit.Addresses[0]
	ip, ok := a.Addr()
	note := ""
	if !ok {
		ip = netip.AddrFrom4([4]byte{192, 0, 2, 1})
		note = fmt.Sprintf("# 192.0.2.1 stands for the address of %s.\n", a.Host)
	}
	c := forward.Config{Listen: cfg.Listen[0], To: netip.AddrPortFrom(ip.Unmap(), a.Port), Closed: true}
	return note + "# Chain forward is there only where the machine does not forward without bondd.\n" + forward.Text(c)
}
