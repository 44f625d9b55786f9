package mptcp

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// subflowLimit is how many subflows a connection may have beside its first one. The kernel allows 8.
	subflowLimit = 8
	// acceptLimit is how many announced addresses of a connection are used. The kernel allows 8.
	acceptLimit = 8
)

// Manager keeps the endpoints of this namespace as its owner wants them.
type Manager struct {
	kernel kernel
	state  *stateFile
}

// Open removes what a predecessor has left, and notes how things are. The error matches
// errors.ErrUnsupported where the kernel has no path manager, and fs.ErrPermission
// without CAP_NET_ADMIN.
func Open() (*Manager, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	s, err := openState()
	if err != nil {
		return nil, err
	}
	m := &Manager{k, s}
	if err := m.restore(); err != nil {
		return nil, err
	}
	return m, nil
}

// Sync adds and removes endpoints until there are those of want. It looks at the
// kernel, so what somebody else has removed comes back. Endpoints of others are left; one for
// an address of want serves as it is.
func (m *Manager) Sync(want []Endpoint) error {
	have, err := m.kernel.list()
	if err != nil {
		return explain("list endpoints", err)
	}
	var errs []error
	ours := m.state.Endpoints
	for _, o := range ours {
		here := slices.ContainsFunc(have, func(e endpoint) bool { return o.is(e) })
		if here && slices.Contains(want, o.Endpoint) {
			continue
		}
		if here {
			errs = append(errs, explain("remove the endpoint of "+o.Addr.String(), m.kernel.remove(o.endpoint())))
			have = slices.DeleteFunc(have, func(e endpoint) bool { return o.is(e) })
		}
		m.state.Endpoints = slices.DeleteFunc(slices.Clone(m.state.Endpoints), func(s savedEndpoint) bool { return s == o })
	}
	for _, w := range want {
		if slices.ContainsFunc(have, func(e endpoint) bool { return e.Addr == w.Addr }) {
			continue
		}
		errs = append(errs, m.add(w))
	}
	return errors.Join(append(errs, m.state.save())...)
}

// Fail takes the endpoint of a path away that does not answer, and with it the subflows of its address, the first ones of
// connections included: both ends send at once by the others what is under way there. The next Sync
// that wants it brings it back.
func (m *Manager) Fail(e Endpoint) error {
	err := m.Sync(slices.DeleteFunc(m.wanted(), func(w Endpoint) bool { return w.Addr == e.Addr }))
	m.kernel.removeFirst(e)
	return err
}

// wanted lists what is ours now.
func (m *Manager) wanted() []Endpoint {
	var out []Endpoint
	for _, o := range m.state.Endpoints {
		out = append(out, o.Endpoint)
	}
	return out
}

// add makes an endpoint. The note is on file before it.
func (m *Manager) add(e Endpoint) error {
	what := "add the endpoint of " + e.Addr.String()
	if err := m.Raise(e.Mesh); err != nil {
		return err
	}
	note := savedEndpoint{Endpoint: e}
	m.state.Endpoints = append(m.state.Endpoints, note)
	if err := m.state.save(); err != nil {
		return err
	}
	if err := m.kernel.add(e); err != nil {
		m.state.Endpoints = slices.DeleteFunc(m.state.Endpoints, func(s savedEndpoint) bool { return s == note })
		return explain(what, err)
	}
	have, err := m.kernel.list() // the kernel has given it a number
	if err != nil {
		return explain("list endpoints", err)
	}
	for i, s := range m.state.Endpoints {
		if s == note {
			for _, h := range have {
				if h.Endpoint == e {
					m.state.Endpoints[i].ID = h.id
				}
			}
		}
	}
	return nil
}

// Raise lets connections have enough subflows, those that the other end makes included, and, with announced, to the addresses
// that it announces: connections that are made from now on, for the kernel settles that when it makes one.
func (m *Manager) Raise(announced bool) error {
	accepted := uint32(0)
	if announced {
		accepted = acceptLimit
	}
	l, err := m.kernel.limits()
	if err != nil {
		return explain("read the limits", err)
	}
	want := limits{Subflows: max(l.Subflows, subflowLimit), Accepted: max(l.Accepted, accepted)}
	if want == l {
		return nil
	}
	if m.state.Limits == nil {
		m.state.Limits = &savedLimits{Old: l}
	}
	m.state.Limits.New = want
	if err := m.state.save(); err != nil {
		return err
	}
	return explain("raise the limits", m.kernel.setLimits(want))
}

// Close removes what this manager has made.
func (m *Manager) Close() error {
	return errors.Join(m.restore(), m.state.close())
}

// restore removes the endpoints on file, and sets the limits back unless somebody has changed them since.
func (m *Manager) restore() error {
	if err := m.Sync(nil); err != nil {
		return err
	}
	saved := m.state.Limits
	if saved == nil {
		return nil
	}
	l, err := m.kernel.limits()
	if err == nil && l == saved.New {
		err = m.kernel.setLimits(saved.Old)
	}
	if err != nil {
		return explain("set the limits back", err)
	}
	m.state.Limits = nil
	return m.state.save()
}

// explain says what was being done.
func explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("MPTCP: %s: %w (it takes CAP_NET_ADMIN)", doing, fs.ErrPermission)
	}
	return fmt.Errorf("MPTCP: %s: %w", doing, err)
}
