package uplink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// System keeps the machine's network in the planned state. One goroutine at a
// time calls its methods, all in the network namespace in which Open was called.
type System struct {
	tun   string
	netns string
	h     *handles
	file  *stateFile
	state *state
	// routing is the lock of the one System per namespace that owns the rules
	// and tables; nil until it is needed (an exit never does).
	routing *stateFile
	// others are the devices of exits beside the TUN, as far as they were wanted once. They are ours whole and vanish with the process, so
	// nothing about them is in the state file.
	others map[string]bool
	// forget is set when flows from before the bond are still to be forgotten.
	forget bool
}

// Open prepares, and changes nothing in the network. ErrRights and
// ErrUnsupported as for Check; ErrBusy when another living bondd keeps the
// settings of the same device.
func Open(o Options) (*System, error) {
	if o.TUN == "" {
		return nil, errors.New("open: no name of a TUN device given")
	}
	netns, err := namespace()
	if err != nil {
		return nil, err
	}
	h, err := openHandles()
	if err != nil {
		return nil, err
	}
	s := &System{tun: o.TUN, netns: netns, h: h, others: make(map[string]bool)}
	if err := h.check(); err != nil {
		h.close()
		return nil, err
	}
	path := o.State
	if path == "" {
		if path, err = defaultState(stateDir, os.TempDir(), o.TUN, netns); err != nil {
			h.close()
			return nil, err
		}
	}
	if s.file, s.state, err = openState(path, o.TUN, netns); err != nil {
		h.close()
		return nil, err
	}
	return s, nil
}

// Current reads what is in the kernel: everything that is ours, and what of
// want is so already.
func (s *System) Current(ctx context.Context, want Plan) (Plan, error) {
	if s.h == nil {
		return Plan{}, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return Plan{}, err
	}
	var p Plan
	sysctls := s.currentSysctls(want)
	for _, it := range sysctls {
		if !isForwarding(it) {
			p.Items = append(p.Items, it)
		}
	}
	device, err := s.currentDevice(want)
	if err != nil {
		return Plan{}, err
	}
	p.Items = append(p.Items, device...)
	others, err := s.currentOthers(want)
	if err != nil {
		return Plan{}, err
	}
	p.Items = append(p.Items, others...)
	if s.ownRouting() == nil { // else they belong to another living bondd
		routes, err := s.h.ourRoutes()
		if err != nil {
			return Plan{}, err
		}
		rules, err := s.h.ourRules()
		if err != nil {
			return Plan{}, err
		}
		p.Items = append(p.Items, routes...)
		p.Items = append(p.Items, rules...)
	}
	for _, it := range sysctls { // as in a plan: the last to come, the first to go
		if isForwarding(it) {
			p.Items = append(p.Items, it)
		}
	}
	return p, nil
}

// currentSysctls lists what we changed, except what is wanted but has been
// changed by somebody since, and what is wanted and right without us.
func (s *System) currentSysctls(want Plan) []Item {
	var items []Item
	wanted := make(map[string]Sysctl)
	for _, it := range want.Items {
		if v, ok := it.(Sysctl); ok {
			wanted[v.Key] = v
		}
	}
	for _, saved := range s.state.Sysctls {
		v := Sysctl{Key: saved.Key, Value: saved.New, When: saved.When}
		if w, ok := wanted[v.Key]; ok {
			if now, err := w.satisfied(); err != nil || !now {
				continue
			}
			v = w
		}
		items = append(items, v)
	}
	for _, it := range want.Items {
		v, ok := it.(Sysctl)
		if !ok || s.state.find(v.Key) >= 0 {
			continue
		}
		if now, err := v.satisfied(); err == nil && now {
			items = append(items, v)
		}
	}
	return items
}

// Forwarded tells whether the machine forwards without us: it did when we, or a
// crashed predecessor, came.
func (s *System) Forwarded(v6 bool) bool {
	key := keyForward4
	if v6 {
		key = keyForward6
	}
	if i := s.state.find(key); i >= 0 {
		return s.state.Sysctls[i].Old != "0"
	}
	now, err := readSysctl(key)
	return err == nil && now != "0"
}

// Apply carries the steps out in order. A step that is done already is no
// error; one that fails does not stop the others; the errors are joined. A
// context that ends stops before the next step.
func (s *System) Apply(ctx context.Context, ops []Op) error {
	if s.h == nil {
		return ErrClosed
	}
	var errs []error
	for _, op := range ops {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := s.apply(op); err != nil {
			errs = append(errs, explain(op.String(), err))
		}
	}
	return errors.Join(errs...)
}

func (s *System) apply(op Op) error {
	remove := op.Verb == Remove
	switch it := op.Item.(type) {
	case Sysctl:
		if remove {
			return s.removeSysctl(it.Key)
		}
		return s.addSysctl(it)
	case Link:
		if it.Dev != s.tun {
			return s.applyOtherLink(it, remove)
		}
		if remove {
			return s.removeLink()
		}
		return s.addLink(it)
	case Address:
		if it.Dev != s.tun {
			return s.applyOtherAddress(it, remove)
		}
		if remove {
			return s.removeAddress(it)
		}
		return s.addAddress(it)
	case Route:
		if err := s.ownRouting(); err != nil {
			return err
		}
		if remove {
			return s.h.removeRoute(it)
		}
		return s.h.addRoute(it)
	case Rule:
		if err := s.ownRouting(); err != nil {
			return err
		}
		if remove {
			return s.h.removeRule(it)
		}
		return s.h.addRule(it)
	}
	return fmt.Errorf("internal error: item of type %T", op.Item)
}

func (s *System) save() error { return s.file.write(s.state) }

// ownRouting takes the lock on this namespace's rules and tables.
func (s *System) ownRouting() error {
	if s.routing != nil {
		return nil
	}
	path := filepath.Join(filepath.Dir(s.file.path), "routing-"+s.netns+".lock")
	f, st, err := openState(path, s.tun, s.netns)
	if err != nil {
		return err
	}
	s.routing = f
	return f.write(st)
}

func (s *System) releaseRouting() error {
	if s.routing == nil {
		return nil
	}
	f := s.routing
	s.routing = nil
	return ignoreGone(f.release(true))
}

// Sync makes the kernel look like the plan: Apply(Diff(Current, want)). It is
// the call to make at every new Snapshot, and it always looks at the kernel,
// which drops the routes of an interface that goes down and comes back. When the
// bond's route has come, tracked flows from before are forgotten (see the
// package comment); if that fails, the next Sync tries again.
func (s *System) Sync(ctx context.Context, want Plan) error {
	have, err := s.Current(ctx, want)
	if err != nil {
		return err
	}
	ops := Diff(have, want)
	err = s.Apply(ctx, ops)
	s.forget = s.forget || slices.ContainsFunc(ops, opensBond)
	if s.forget && ctx.Err() == nil {
		ferr := s.forgetFlows(ctx, want)
		s.forget = ferr != nil
		err = errors.Join(err, ferr)
	}
	if !slices.ContainsFunc(want.Items, isRouting) {
		err = errors.Join(err, s.releaseRouting())
	}
	return err
}

func isForwarding(it Item) bool {
	v, ok := it.(Sysctl)
	return ok && (v.Key == keyForward4 || v.Key == keyForward6)
}

func isRouting(it Item) bool {
	switch it.(type) {
	case Route, Rule:
		return true
	}
	return false
}

// Sweep removes what a crashed predecessor left: our rules, our routes, and
// what its state file says of sysctls and the device. Call it before the first
// Sync. Rules and routes of a bondd that lives here are left alone.
func (s *System) Sweep(ctx context.Context) error { return s.Sync(ctx, Plan{}) }

// Close undoes everything in reverse order and lets go of the state file, which
// stays only if something could not be undone. The System is closed then,
// whatever the error.
func (s *System) Close(ctx context.Context) error {
	if s.h == nil {
		return nil
	}
	err := s.Sync(ctx, Plan{})
	err = errors.Join(err, s.releaseRouting())
	s.h.close()
	s.h = nil
	left := len(s.state.Sysctls) > 0 || s.state.Device.touched()
	return errors.Join(err, ignoreGone(s.file.release(!left)))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
