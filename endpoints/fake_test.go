package endpoints

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/tun/tuntest"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// scripted is a session that a test plays. Only the engine's goroutine and commands run by it touch it.
type scripted struct {
	ready    []tunnel.Out // for PullDatagrams
	released []*buf.Buf   // for PullPackets
	events   []tunnel.Event
	deadline time.Duration
	dead     bool
	bytes    int // for streams

	packets, arrivals int // pushed
	advanced          int
	failed            []tunnel.PathID
	calls             []string
	closed            string
	next              tunnel.PathID
	refuse            error // of AddPath and OpenStream

	nextStream   tunnel.StreamID
	room         int // of every stream
	readable     int // bytes that StreamRead gives
	readEnd      bool
	flying       bool // what was written has not arrived
	streamEvents []tunnel.StreamEvent
}

func (s *scripted) AddPath(_ time.Duration, spec tunnel.PathSpec) (tunnel.PathID, error) {
	if s.refuse != nil {
		return 0, s.refuse
	}
	s.calls = append(s.calls, "add "+spec.Name)
	s.next++
	return s.next, nil
}

func (s *scripted) RemovePath(_ time.Duration, id tunnel.PathID) {
	s.calls = append(s.calls, "remove "+string('0'+rune(id)))
}

func (s *scripted) MovePath(_ time.Duration, id tunnel.PathID, to tunnel.Endpoint, _ int) {
	s.calls = append(s.calls, "move "+string('0'+rune(id))+" to "+to.Local.String())
}

func (s *scripted) SetTerms(_ time.Duration, id tunnel.PathID, _ tunnel.PathSpec) {
	s.calls = append(s.calls, "terms "+string('0'+rune(id)))
}

func (s *scripted) PathFailed(_ time.Duration, id tunnel.PathID) {
	s.failed = append(s.failed, id)
	s.calls = append(s.calls, "fail "+string('0'+rune(id)))
}

func (s *scripted) PushPackets(_ time.Duration, ps []*buf.Buf) {
	s.packets += len(ps)
	releaseAll(ps)
}

func (s *scripted) PushDatagrams(_ time.Duration, as []tunnel.Arrival) {
	s.arrivals += len(as)
	for _, a := range as {
		a.Buf.Release()
	}
}

func (s *scripted) PullDatagrams(_ time.Duration, out []tunnel.Out) int {
	n := copy(out, s.ready)
	s.ready = s.ready[n:]
	return n
}

func (s *scripted) PullPackets(_ time.Duration, out []*buf.Buf) int {
	n := copy(out, s.released)
	s.released = s.released[n:]
	return n
}

func (s *scripted) OpenStream(_ time.Duration, target []byte) (tunnel.StreamID, error) {
	s.calls = append(s.calls, "open "+string(target))
	s.nextStream += 2
	return s.nextStream - 2, s.refuse
}
func (s *scripted) StreamAccept(_ time.Duration, id tunnel.StreamID) { s.streamCall("accept", id) }
func (s *scripted) StreamRoom(tunnel.StreamID) int                   { return s.room }
func (s *scripted) StreamWrite(_ time.Duration, id tunnel.StreamID, data []byte) error {
	s.streamCall("write "+strconv.Itoa(len(data))+" to", id)
	return nil
}
func (s *scripted) StreamEnd(_ time.Duration, id tunnel.StreamID) { s.streamCall("end", id) }
func (s *scripted) StreamReset(_ time.Duration, id tunnel.StreamID, code uint64) {
	s.streamCall("reset "+strconv.Itoa(int(code))+" of", id)
}
func (s *scripted) StreamAbort(_ time.Duration, id tunnel.StreamID, code uint64) bool {
	s.streamCall("abort "+strconv.Itoa(int(code))+" of", id)
	return !s.flying
}
func (s *scripted) StreamRead(_ time.Duration, _ tunnel.StreamID, out []*buf.Buf) (int, bool) {
	n := 0
	for n < len(out) && s.readable > 0 {
		k := min(s.readable, 1000)
		s.readable -= k
		out[n] = buf.Get()
		out[n].Extend(k)
		n++
	}
	return n, s.readable == 0 && s.readEnd
}
func (s *scripted) streamCall(what string, id tunnel.StreamID) {
	s.calls = append(s.calls, what+" "+strconv.Itoa(int(id)))
}
func (s *scripted) StreamEvent() (tunnel.StreamEvent, bool) {
	if len(s.streamEvents) == 0 {
		return tunnel.StreamEvent{}, false
	}
	e := s.streamEvents[0]
	s.streamEvents = s.streamEvents[1:]
	return e, true
}

func (s *scripted) Advance(time.Duration) { s.advanced++ }

func (s *scripted) Deadline() time.Duration {
	if s.deadline == 0 {
		return never
	}
	return s.deadline
}

func (s *scripted) Event() (tunnel.Event, bool) {
	if len(s.events) == 0 {
		return tunnel.Event{}, false
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, true
}

func (s *scripted) StreamHeld() int                                { return 0 }
func (s *scripted) SetStreamBytes(n int)                           { s.bytes = n }
func (s *scripted) Watch(time.Duration, bool)                      {}
func (s *scripted) InnerMTU() int                                  { return 1400 }
func (s *scripted) Alive(time.Duration) bool                       { return !s.dead }
func (s *scripted) Stats(time.Duration) tunnel.Stats               { return tunnel.Stats{} }
func (s *scripted) Close(_ time.Duration, _ uint64, reason string) { s.closed = reason }
func (s *scripted) datagrams(socket, n, size int, path tunnel.PathID) {
	s.ready = outs(socket, n, size, path)
}

// outs makes n datagrams for a socket.
func outs(socket, n, size int, path tunnel.PathID) []tunnel.Out {
	var os []tunnel.Out
	for range n {
		b := buf.Get()
		b.Extend(size)
		os = append(os, tunnel.Out{Buf: b, To: tunnel.Endpoint{Socket: socket, Remote: exitListen}, Path: path})
	}
	return os
}

// slowSocket takes a batch of datagrams for each token it is given, or refuses them.
type slowSocket struct {
	tokens chan struct{}
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	sent   int
	refuse func(i int) error // by the count of all that were tried
	tried  int
}

func newSlowSocket() *slowSocket {
	return &slowSocket{tokens: make(chan struct{}, 1000), closed: make(chan struct{})}
}

func (s *slowSocket) ReadBatch([]udp.Datagram) (int, error) { <-s.closed; return 0, net.ErrClosed }

func (s *slowSocket) WriteBatch(ds []udp.Datagram) (int, error) {
	select {
	case <-s.tokens:
	case <-s.closed:
		return 0, net.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range ds {
		s.tried++
		if s.refuse != nil {
			if err := s.refuse(s.tried); err != nil {
				s.tokens <- struct{}{} // the rest of the batch may be tried again
				return i, err
			}
		}
		s.sent++
	}
	return len(ds), nil
}

func (s *slowSocket) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func (s *slowSocket) LocalAddr() netip.AddrPort { return netip.AddrPort{} }
func (s *slowSocket) Stats() udp.Stats          { return udp.Stats{} }
func (s *slowSocket) Close() error              { s.once.Do(func() { close(s.closed) }); return nil }

// rig is an engine with a scripted session and slow sockets.
type rig struct {
	e     *engine
	s     *scripted
	dev   *tuntest.Device
	demux *demux
	socks *sockets
	drops counters

	flows flowSet

	mu   sync.Mutex
	told []string
}

func newRig(t *testing.T) *rig {
	r := newRigIdle(t)
	go r.e.run() // joined by end
	r.do(func(now time.Duration) { r.e.swap(now, r.s) })
	return r
}

// newRigIdle is a rig whose engine does not run.
func newRigIdle(t *testing.T) *rig {
	r := &rig{s: &scripted{}, dev: tuntest.New("bondd0", 1500), demux: newDemux()}
	c := newClock()
	r.socks = newSockets(c, &r.drops, r.demux, briskArrivals)
	r.e = newEngine("peer", c, slog.New(&logTest{t: t, name: "engine"}), r.dev, r.socks, &r.drops, r)
	return r
}

func (r *rig) do(f func(now time.Duration)) { r.e.call(context.Background(), f) }

func (r *rig) end() {
	r.e.stop(closeShutdown, "test ends")
	<-r.e.done
	r.flows.end()
	r.socks.closeAll()
}

func (r *rig) tell(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, s)
}

func (r *rig) pathUp(*engine)           { r.tell("up") }
func (r *rig) pathChanged(string, bool) {}
func (r *rig) mtuChanged(*engine, int)  { r.tell("mtu") }
func (r *rig) lost(*engine, string)     { r.tell("lost") }
func (r *rig) peerClosed(*engine)       { r.tell("closed") }
func (r *rig) streamOpened(_ *engine, _ time.Duration, id tunnel.StreamID, target []byte) {
	r.tell("stream " + strconv.Itoa(int(id)) + " to " + string(target))
}
