package endpoints

import (
	"cmp"
	"sync"
	"time"

	"github.com/bondd/bondd/tunnel/control"
)

const (
	// defaultMemory is what a gateway's connections may hold without a word of the configuration.
	defaultMemory = 64 << 20
	// leastMemory is what the streams of a session have in any case: with less, one over a satellite could not fill its window.
	leastMemory = 4 << 20
)

// gatewayMemory is what the connections of one gateway may hold undelivered (max_memory). The windows of those that come by carriers are taken from it, as
// far as its session has not used it; the session has the rest.
type gatewayMemory struct {
	x   *exit
	key control.PublicKey

	mu    sync.Mutex
	taken int
}

// memory is the bound for one gateway, bytes.
func (x *exit) memory(key control.PublicKey) int {
	cfg := x.config()
	s := cfg.Stream
	for i := range cfg.Gateways {
		if cfg.Gateways[i].Key == key {
			s = s.Of(&cfg.Gateways[i])
		}
	}
	return cmp.Or(s.MaxMemory<<20, defaultMemory)
}

// sessionMemory is what a gateway's session may use of it.
func (x *exit) sessionMemory(key control.PublicKey, taken int) int {
	return max(x.memory(key)-taken, leastMemory)
}

// Take takes memory for a window.
func (m *gatewayMemory) Take(n int) bool {
	a := m.x.currentOf(m.key)
	held := 0
	if a != nil {
		held = int(a.engine.held.Load())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken+n+held > m.x.memory(m.key) {
		return false
	}
	m.taken += n
	m.tell(a)
	return true
}

// Give gives it back.
func (m *gatewayMemory) Give(n int) {
	a := m.x.currentOf(m.key)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken -= n
	m.tell(a)
}

// tell has the session know what it may use. Called with mu held, so that the last word is the right one.
func (m *gatewayMemory) tell(a *association) {
	if a == nil {
		return
	}
	left := m.x.sessionMemory(m.key, m.taken)
	a.engine.in.post(func(time.Duration) {
		if a.engine.s != nil {
			a.engine.s.SetStreamBytes(left)
		}
	})
}
