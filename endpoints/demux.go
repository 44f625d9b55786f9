package endpoints

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// demux finds the engine something belongs to: a datagram by its session index, a packet by its inner destination. It is
// read by the readers without a lock; who changes it copies the map.
type demux struct {
	mu       sync.Mutex // held while changing
	sessions atomic.Pointer[map[uint32]*engine]
	inner    atomic.Pointer[innerMap]
}

// innerMap is where packets go by destination.
type innerMap struct {
	hosts map[netip.Addr]*engine
	nets  []innerNet // prefixes longer than one address, in no order
	rest  *engine    // everything else; nil: dropped
}

type innerNet struct {
	prefix netip.Prefix
	engine *engine
}

func newDemux() *demux {
	d := new(demux)
	d.sessions.Store(&map[uint32]*engine{})
	d.inner.Store(&innerMap{})
	return d
}

// session returns the engine of a session index, or nil.
func (d *demux) session(index uint32) *engine { return (*d.sessions.Load())[index] }

// addSession makes e the engine of a session index. It is false when the index is in use.
func (d *demux) addSession(index uint32, e *engine) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := *d.sessions.Load()
	if old[index] != nil {
		return false
	}
	m := maps.Clone(old)
	m[index] = e
	d.sessions.Store(&m)
	return true
}

func (d *demux) removeSession(index uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := maps.Clone(*d.sessions.Load())
	delete(m, index)
	d.sessions.Store(&m)
}

// packet returns the engine of an inner destination, or nil. The longest prefix wins.
func (d *demux) packet(dst netip.Addr) *engine {
	m := d.inner.Load()
	if e := m.hosts[dst]; e != nil {
		return e
	}
	best, bits := m.rest, -1
	for i := range m.nets {
		if n := &m.nets[i]; n.prefix.Bits() > bits && n.prefix.Contains(dst) {
			best, bits = n.engine, n.prefix.Bits()
		}
	}
	return best
}

// setRest sends every packet without a destination of its own to e.
func (d *demux) setRest(e *engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := *d.inner.Load()
	m.rest = e
	d.inner.Store(&m)
}

// setInner sends packets to the given prefixes to e.
func (d *demux) setInner(prefixes []netip.Prefix, e *engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.inner.Load().without(prefixes, nil)
	for _, p := range prefixes {
		if p.IsSingleIP() {
			m.hosts[p.Addr()] = e
		} else {
			m.nets = append(m.nets, innerNet{p.Masked(), e})
		}
	}
	d.inner.Store(m)
}

// releaseInner ends that as far as it still is e to which they go.
func (d *demux) releaseInner(prefixes []netip.Prefix, e *engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inner.Store(d.inner.Load().without(prefixes, e))
}

// without is a copy that lacks the prefixes, or, if e is not nil, those of them that go to e.
func (m *innerMap) without(prefixes []netip.Prefix, e *engine) *innerMap {
	c := &innerMap{hosts: maps.Clone(m.hosts), nets: slices.Clone(m.nets), rest: m.rest}
	if c.hosts == nil {
		c.hosts = make(map[netip.Addr]*engine)
	}
	for _, p := range prefixes {
		if p.IsSingleIP() {
			if e == nil || c.hosts[p.Addr()] == e {
				delete(c.hosts, p.Addr())
			}
			continue
		}
		c.nets = slices.DeleteFunc(c.nets, func(n innerNet) bool {
			return n.prefix == p.Masked() && (e == nil || n.engine == e)
		})
	}
	return c
}
