package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

const (
	// flowIdle ends a UDP flow. RFC 4787 REQ-5 has two minutes; a metered path is probed every 20 s.
	flowIdle = 2 * time.Minute
	// sweepEvery is how often idle flows are looked for.
	sweepEvery = 10 * time.Second
	// dialTime bounds the opening of a connection to the target: two lost SYNs (RFC 6298).
	dialTime = 8 * time.Second
	// pause follows an error of a socket that may repeat.
	pause = 100 * time.Millisecond
	// room for one datagram, bytes: those of a bond fit into 1500 with their headers.
	room = 2048
	// flowBuffer is the receive buffer of a flow's socket, bytes: 20 ms at 100 Mb/s.
	flowBuffer = 256 << 10
)

// Network opens sockets; tests have one in memory.
type Network struct {
	ListenUDP func(ctx context.Context, o udp.Options) (udp.Socket, error)
	ListenTCP func(ctx context.Context, at netip.AddrPort) (net.Listener, error)
	DialTCP   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// Stats are counts of a Relay.
type Stats struct {
	Flows       int    `json:"flows"`       // UDP, now
	Connections int    `json:"connections"` // TCP, now
	Refused     uint64 `json:"refused"`     // datagrams and connections for which there was no place
	Failed      uint64 `json:"failed"`      // connections that the target did not take, and datagrams that could not be sent on
}

// Relay passes on by itself.
type Relay struct {
	cfg    Config
	netw   Network
	listen udp.Socket
	accept net.Listener
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	to      netip.AddrPort           // guarded by mu
	flows   map[netip.AddrPort]*flow // by client; guarded by mu
	conns   map[net.Conn]struct{}    // clients'; guarded by mu
	sources [2]map[netip.Addr]int    // UDP flows and TCP connections of each source; guarded by mu

	refused, failed atomic.Uint64
}

// flow is what passes between one client and the target.
type flow struct {
	client netip.AddrPort
	local  netip.Addr // our address that the client knows
	to     netip.AddrPort
	sock   udp.Socket
	last   atomic.Int64 // nanoseconds since start
}

// start is the origin of the clock of flows.
var start = time.Now()

// Open listens and passes on until Close.
func Open(ctx context.Context, cfg Config, n Network) (*Relay, error) {
	r := &Relay{cfg: cfg, netw: n, to: cfg.To, flows: map[netip.AddrPort]*flow{}, conns: map[net.Conn]struct{}{},
		sources: [2]map[netip.Addr]int{{}, {}}}
	var err error
	if r.listen, err = n.ListenUDP(ctx, udp.Options{Local: cfg.Listen}); err != nil {
		return nil, err
	}
	if r.accept, err = n.ListenTCP(ctx, cfg.Listen); err != nil {
		r.listen.Close()
		return nil, err
	}
	r.ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	// All joined by Close.
	r.wg.Go(r.readClients)
	r.wg.Go(r.acceptClients)
	r.wg.Go(r.sweep)
	return r, nil
}

// Retarget passes on to another address from now on. Flows to the old one end.
func (r *Relay) Retarget(to netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to == to {
		return
	}
	r.to = to
	for _, f := range r.flows {
		r.end(f)
	}
	for c := range r.conns {
		c.Close()
	}
}

// Close ends everything and joins all goroutines.
func (r *Relay) Close() {
	r.stop()
	r.listen.Close()
	r.accept.Close()
	r.mu.Lock()
	for _, f := range r.flows {
		r.end(f)
	}
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Stats counts.
func (r *Relay) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Flows: len(r.flows), Connections: len(r.conns), Refused: r.refused.Load(), Failed: r.failed.Load()}
}

// The two kinds of what a source may have.
const (
	kindUDP = iota
	kindTCP
)

// take takes a place for a source, if there is one. Called with mu held.
func (r *Relay) take(kind, all int, from netip.Addr) bool {
	s := source(from)
	if all >= r.cfg.Flows || r.sources[kind][s] >= r.cfg.PerSource || r.ctx.Err() != nil {
		r.refused.Add(1)
		return false
	}
	r.sources[kind][s]++
	return true
}

// leave gives a place back. Called with mu held.
func (r *Relay) leave(kind int, from netip.Addr) {
	s := source(from)
	if r.sources[kind][s]--; r.sources[kind][s] == 0 {
		delete(r.sources[kind], s)
	}
}

// source is the address that stands for a client: with IPv6, everybody has at least a /64 to choose from.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64) // fails for a wrong number of bits only
	return p.Addr()
}

// room for a batch.
func batch() []udp.Datagram {
	ds := make([]udp.Datagram, udp.BatchSize)
	for i := range ds {
		ds[i].Data = make([]byte, room)
	}
	return ds
}

// refill gives every datagram its whole room back.
func refill(ds []udp.Datagram) {
	for i := range ds {
		ds[i].Data = ds[i].Data[:cap(ds[i].Data)]
	}
}

// readClients passes on what comes from clients.
func (r *Relay) readClients() {
	ds := batch()
	for {
		refill(ds)
		n, err := r.listen.ReadBatch(ds)
		for i := 0; i < n; {
			j := i + 1
			for j < n && ds[j].Peer == ds[i].Peer {
				j++
			}
			if f := r.flowOf(ds[i].Peer, ds[i].Local); f != nil {
				f.last.Store(int64(time.Since(start)))
				for k := i; k < j; k++ {
					ds[k].Peer, ds[k].Local = f.to, netip.Addr{}
				}
				r.write(f.sock, ds[i:j])
			}
			i = j
		}
		if err != nil && !r.again(err) {
			return
		}
	}
}

// again tells whether to go on after an error of a socket.
func (r *Relay) again(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// write sends a run and leaves out what cannot be sent.
func (r *Relay) write(s udp.Socket, ds []udp.Datagram) {
	for len(ds) > 0 {
		n, err := s.WriteBatch(ds)
		if err == nil {
			return
		}
		r.failed.Add(1)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		ds = ds[min(n+1, len(ds)):]
	}
}

// flowOf finds or makes the flow of a client; nil if there is no place for it.
func (r *Relay) flowOf(client netip.AddrPort, local netip.Addr) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flows[client]; f != nil {
		return f
	}
	if !r.take(kindUDP, len(r.flows), client.Addr()) {
		return nil
	}
	at := netip.IPv4Unspecified()
	if r.to.Addr().Is6() {
		at = netip.IPv6Unspecified()
	}
	sock, err := r.netw.ListenUDP(r.ctx, udp.Options{Local: netip.AddrPortFrom(at, 0), ReadBuffer: flowBuffer})
	if err != nil {
		r.failed.Add(1)
		r.leave(kindUDP, client.Addr())
		return nil
	}
	f := &flow{client: client, local: local, to: r.to, sock: sock}
	r.flows[client] = f
	r.wg.Go(func() { r.readTarget(f) }) // joined by Close; ends with its socket
	return f
}

// readTarget passes the target's answers back.
func (r *Relay) readTarget(f *flow) {
	ds := batch()[:udp.BatchSize/4]
	for {
		refill(ds)
		n, err := f.sock.ReadBatch(ds)
		out := 0
		for i := range n {
			if ds[i].Peer == f.to { // and nobody else's
				ds[out], ds[i] = ds[i], ds[out]
				ds[out].Peer, ds[out].Local = f.client, f.local
				out++
			}
		}
		if out > 0 {
			f.last.Store(int64(time.Since(start)))
			r.write(r.listen, ds[:out])
		}
		if err != nil && !r.again(err) {
			return
		}
	}
}

// end ends a flow. Called with mu held.
func (r *Relay) end(f *flow) {
	delete(r.flows, f.client)
	r.leave(kindUDP, f.client.Addr())
	f.sock.Close()
}

// sweep ends idle flows.
func (r *Relay) sweep() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-t.C:
		}
		r.mu.Lock()
		for _, f := range r.flows {
			if time.Since(start)-time.Duration(f.last.Load()) >= flowIdle {
				r.end(f)
			}
		}
		r.mu.Unlock()
	}
}
