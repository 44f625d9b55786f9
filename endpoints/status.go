package endpoints

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
)

// Status is what a node tells of itself at one moment. A field that does not apply is absent from its JSON.
type Status struct {
	Role     string  `json:"role"`
	Software string  `json:"software"`
	Uptime   float64 `json:"uptime_s"`
	// State of a gateway: "connecting" until the first path is proven, then "up" or "down". An exit is "ready".
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is down

	TUN      TUNStatus         `json:"tun"`
	Relay    *RelayStatus      `json:"relay,omitempty"`
	Uplinks  []UplinkStatus    `json:"uplinks,omitempty"`
	Remotes  []netip.AddrPort  `json:"remotes,omitempty"`
	Exits    []ExitStatus      `json:"exits,omitempty"` // of a gateway that has several; State, Remotes and Hello are of the one in use
	Rules    []RuleStatus      `json:"rules,omitempty"` // of a gateway, in the order in which they count
	Hello    *HelloStatus      `json:"hello,omitempty"`
	Sessions []SessionStatus   `json:"sessions"`
	Sockets  []SocketStatus    `json:"sockets"`
	Streams  *StreamStatus     `json:"streams,omitempty"`
	Carriers *CarrierStatus    `json:"carriers,omitempty"`
	DNS      *DNSStatus        `json:"dns,omitempty"`
	Drops    map[string]uint64 `json:"drops"`              // of the shell, by reason; a session's own are in its statistics
	Notes    []string          `json:"notes,omitempty"`    // what this machine cannot do
	Problems []string          `json:"problems,omitempty"` // sentences for people
}

// TUNStatus is the TUN device.
type TUNStatus struct {
	Name  string    `json:"name"`
	MTU   int       `json:"mtu"`
	Stats tun.Stats `json:"stats"`
}

// UplinkStatus is an uplink of a gateway.
type UplinkStatus struct {
	Name      string         `json:"name"`
	Interface string         `json:"interface"`
	Mode      string         `json:"mode"`             // in effect
	Reason    string         `json:"reason,omitempty"` // why it is not the configured one
	Metered   bool           `json:"metered"`
	Health    string         `json:"health,omitempty"` // up, degraded, down; absent while nothing is known
	Why       string         `json:"health_reason,omitempty"`
	Quota     uint64         `json:"quota_bytes,omitempty"` // of this month
	Used      uint64         `json:"used_bytes,omitempty"`  // of it
	Up        bool           `json:"up"`
	IPv4      bool           `json:"ipv4"` // usable for IPv4
	IPv6      bool           `json:"ipv6"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses"`
}

// ExitStatus is one of several exits of a gateway.
type ExitStatus struct {
	Name    string           `json:"name"`
	InUse   bool             `json:"in_use"` // everything leaves by it
	State   string           `json:"state"`  // "standby" while it is not needed, else as that of a gateway
	Reason  string           `json:"reason,omitempty"`
	Remotes []netip.AddrPort `json:"remotes"`
	TUN     string           `json:"tun,omitempty"` // its own device, for what rules send there
	// Carriers are those to it. Of the exit in use, those of the whole status.
	Carriers *CarrierStatus `json:"carriers,omitempty"`
}

// RuleStatus is a rule by which traffic leaves by an exit of its own.
type RuleStatus struct {
	For      string `json:"for"`                // what it applies to
	Exit     string `json:"exit"`               // as configured
	Fallback string `json:"fallback,omitempty"` // "default" or "none"
	By       string `json:"by"`                 // what new flows leave by now: an exit, "default", or "refused"
}

// HelloStatus is how a gateway fares with its hellos.
type HelloStatus struct {
	Rounds int    `json:"rounds"`          // that have ended
	Error  string `json:"error,omitempty"` // of the last round, if it failed
}

// SessionStatus is one session.
type SessionStatus struct {
	Peer     string         `json:"peer"` // the gateway's name; at a gateway that of the exit
	Key      string         `json:"key"`  // the peer's public key
	Software string         `json:"software"`
	Suite    string         `json:"suite"`
	Index    uint32         `json:"index"` // ours
	Age      float64        `json:"age_s"`
	Alive    bool           `json:"alive"`
	Pending  bool           `json:"pending,omitempty"` // at an exit: not proven yet
	Inner    []netip.Prefix `json:"inner"`             // the gateway's inner addresses
	InnerMTU int            `json:"inner_mtu"`
	Hello    netip.AddrPort `json:"hello"`          // where the hello went to or came from
	Bench    netip.AddrPort `json:"bench,omitzero"` // where the exit serves measurements
	Stats    *tunnel.Stats  `json:"stats,omitempty"`
	Traffic  []Traffic      `json:"traffic,omitempty"` // see Status.Measure
}

// SocketStatus is one UDP socket.
type SocketStatus struct {
	Local netip.AddrPort `json:"local"`
	Stats udp.Stats      `json:"stats"`
}

// statusTime bounds how long an engine is waited for.
const statusTime = time.Second

// common fills in what every node has.
func (n *node) common() *Status {
	st := &Status{
		Role:     string(n.cfg.Role),
		Software: software(),
		Uptime:   n.clock.now().Seconds(),
		Sessions: []SessionStatus{},
		Sockets:  []SocketStatus{},
		Drops:    n.drops.snapshot(),
		Streams:  n.flows.status(),
	}
	mtu, _ := n.dev.MTU() // 0 tells that the device is gone
	st.TUN = TUNStatus{Name: n.dev.Name(), MTU: mtu, Stats: n.dev.Stats()}
	for _, s := range n.sockets.all() {
		st.Sockets = append(st.Sockets, SocketStatus{s.LocalAddr(), s.Stats()})
	}
	n.mu.Lock()
	st.Notes = n.notes
	n.mu.Unlock()
	return st
}

// fill asks the engine for what its session knows. Without an answer in time the statistics are absent.
func (e *engine) fill(ctx context.Context, st *SessionStatus) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	st.Alive = e.alive.Load()
	type answer struct {
		stats *tunnel.Stats
		mtu   int
	}
	got := make(chan answer, 1)
	if e.call(ctx, func(now time.Duration) {
		if e.s == nil {
			got <- answer{}
			return
		}
		stats := e.s.Stats(now)
		got <- answer{&stats, e.s.InnerMTU()}
	}) {
		a := <-got
		st.Stats, st.InnerMTU = a.stats, a.mtu
	}
}

// gatewayStatus is what serve publishes for report.
type gatewayStatus struct {
	uplinks []UplinkStatus
	rules   []RuleStatus
}

func (g *gateway) setStatus(f func(st *gatewayStatus)) {
	g.statusMu.Lock()
	defer g.statusMu.Unlock()
	f(&g.status)
}

// report makes the status of a gateway. Any goroutine may call it.
func (g *gateway) report(ctx context.Context) *Status {
	chosen := g.chosen.Load()
	st := g.common()
	g.statusMu.Lock()
	st.Uplinks, st.Rules = g.status.uplinks, g.status.rules
	all := make([]wayStatus, len(g.ways))
	for i, w := range g.ways {
		all[i] = w.status
	}
	g.statusMu.Unlock()
	for i, w := range g.ways {
		now := &all[i]
		if len(g.ways) > 1 {
			st.Exits = append(st.Exits, ExitStatus{w.name, w == chosen, cmp.Or(now.state, "standby"), now.reason, now.remotes, nameOf(w.tun()), w.carriers.report()})
		}
		if w == chosen {
			st.State, st.Reason, st.Remotes = cmp.Or(now.state, "connecting"), now.reason, now.remotes
			st.Hello = &HelloStatus{Rounds: now.rounds}
			if now.helloErr != nil {
				st.Hello.Error = oneLine(now.helloErr)
			}
		}
		if now.hello == nil {
			continue
		}
		s := w.session(ctx, now)
		if w == chosen {
			st.Sessions = append([]SessionStatus{s}, st.Sessions...)
		} else {
			st.Sessions = append(st.Sessions, s)
		}
	}
	st.Streams.Interception = g.streams.status()
	st.Carriers = chosen.carriers.report()
	st.DNS = g.names.status(g.askedServers())
	return st
}

// nameOf is the name of a device, or empty.
func nameOf(dev tun.Device) string {
	if dev == nil {
		return ""
	}
	return dev.Name()
}

// session is what the status says of the session with an exit.
func (w *wayOut) session(ctx context.Context, now *wayStatus) SessionStatus {
	h := now.hello
	s := SessionStatus{
		Peer: w.name, Key: h.PeerKey.String(), Software: h.Answer.Software, Suite: h.Suite.String(), Index: h.Offer.Index,
		Age: time.Since(now.since).Seconds(), Inner: h.Answer.Addresses, Hello: h.to,
		Bench: benchOf(h.Answer.Capabilities),
	}
	w.engine.fill(ctx, &s)
	return s
}

// report makes the status of an exit. Any goroutine may call it.
func (x *exit) report(ctx context.Context) *Status {
	st := x.common()
	st.State = "ready"
	st.Carriers = &CarrierStatus{Carriers: x.carriers.len()}
	st.DNS = x.names.status(nil)
	x.mu.Lock()
	all := append([]*association(nil), x.sessions...)
	pending := make([]bool, len(all))
	for i, a := range all {
		pending[i] = !a.current
	}
	x.mu.Unlock()
	for i, a := range all {
		s := SessionStatus{
			Peer: a.gateway.Name, Key: a.result.PeerKey.String(), Software: a.result.Offer.Software, Suite: a.result.Suite.String(),
			Index: a.index, Age: time.Since(a.since).Seconds(), Pending: pending[i], Inner: a.gateway.Addresses, Hello: a.remote,
		}
		a.engine.fill(ctx, &s)
		st.Sessions = append(st.Sessions, s)
	}
	return st
}
