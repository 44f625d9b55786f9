package endpoints

import (
	"slices"
	"sync"

	"github.com/bondd/bondd/endpoints/mptcp"
)

// sharedEndpoints are the MPTCP endpoints of a machine, which the carriers to several exits share: an uplink has one while any of them wants it. Its
// methods may be called from several goroutines.
type sharedEndpoints struct {
	open func() (endpointManager, error)

	mu      sync.Mutex
	manager endpointManager // nil: there are no shares
	shares  []*endpointShare
}

// endpointShare is what one of them wants.
type endpointShare struct {
	all  *sharedEndpoints
	want []mptcp.Endpoint
}

// share gives one more a part in the endpoints, which has to be closed.
func (s *sharedEndpoints) share() (endpointManager, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.manager == nil {
		m, err := s.open()
		if err != nil {
			return nil, err
		}
		s.manager = m
	}
	e := &endpointShare{all: s}
	s.shares = append(s.shares, e)
	return e, nil
}

// wanted are the endpoints that any share wants, one for each address. Called with mu held.
func (s *sharedEndpoints) wanted() []mptcp.Endpoint {
	var all []mptcp.Endpoint
	for _, e := range s.shares {
		for _, w := range e.want {
			i := slices.IndexFunc(all, func(o mptcp.Endpoint) bool { return o.Addr == w.Addr })
			if i < 0 {
				all = append(all, w)
			} else {
				all[i].Mesh = all[i].Mesh || w.Mesh
			}
		}
	}
	return all
}

func (e *endpointShare) Raise(announced bool) error {
	e.all.mu.Lock()
	defer e.all.mu.Unlock()
	return e.all.manager.Raise(announced)
}

func (e *endpointShare) Sync(want []mptcp.Endpoint) error {
	e.all.mu.Lock()
	defer e.all.mu.Unlock()
	e.want = want
	return e.all.manager.Sync(e.all.wanted())
}

// Fail takes the endpoint away for all: the others bring it back with their next Sync, if the path is well for them.
func (e *endpointShare) Fail(gone mptcp.Endpoint) error {
	e.all.mu.Lock()
	defer e.all.mu.Unlock()
	e.want = slices.DeleteFunc(slices.Clone(e.want), func(o mptcp.Endpoint) bool { return o.Addr == gone.Addr })
	return e.all.manager.Fail(gone)
}

// Close gives the share back; the last one takes all endpoints with it.
func (e *endpointShare) Close() error {
	s := e.all
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares = slices.DeleteFunc(s.shares, func(o *endpointShare) bool { return o == e })
	if len(s.shares) > 0 {
		return s.manager.Sync(s.wanted())
	}
	m := s.manager
	s.manager = nil
	return m.Close()
}
