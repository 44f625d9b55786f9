package udptest

import (
	"container/heap"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

// Socket is a fake UDP socket. It implements udp.Socket.
type Socket struct {
	host   *Host
	opts   udp.Options
	local  netip.AddrPort
	wake   chan struct{} // one token: the inbox has a new head
	closed chan struct{}

	// Guarded by the network's lock.
	inbox inbox
	over  bool
	stats udp.Stats
}

var _ udp.Socket = (*Socket)(nil)

// letter is a datagram on its way.
type letter struct {
	at  time.Time
	seq uint64
	d   udp.Datagram
}

// inbox is a heap of letters, the next to arrive first.
type inbox []letter

func (b inbox) Len() int { return len(b) }
func (b inbox) Less(i, j int) bool {
	if !b[i].at.Equal(b[j].at) {
		return b[i].at.Before(b[j].at)
	}
	return b[i].seq < b[j].seq
}
func (b inbox) Swap(i, j int) { b[i], b[j] = b[j], b[i] }
func (b *inbox) Push(x any)   { *b = append(*b, x.(letter)) }
func (b *inbox) Pop() any {
	old := *b
	last := old[len(old)-1]
	old[len(old)-1] = letter{}
	*b = old[:len(old)-1]
	return last
}

// put adds a letter. The network is locked.
func (s *Socket) put(l letter) {
	if s.over {
		return
	}
	if len(s.inbox) >= inboxDepth {
		s.stats.KernelDrops++
		return
	}
	heap.Push(&s.inbox, l)
	s.nudge()
}

func (s *Socket) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ReadBatch implements udp.Socket.
func (s *Socket) ReadBatch(ds []udp.Datagram) (int, error) {
	for len(ds) > 0 {
		n, wait, err := s.take(ds)
		if n > 0 || err != nil {
			return n, err
		}
		if wait < 0 {
			select {
			case <-s.wake:
			case <-s.closed:
			}
			continue
		}
		alarm := time.NewTimer(wait)
		select {
		case <-alarm.C:
		case <-s.wake:
		case <-s.closed:
		}
		alarm.Stop()
	}
	return 0, nil
}

// take fills ds with what has arrived. With nothing there it tells how long until something is; negative: nothing is on the way.
func (s *Socket) take(ds []udp.Datagram) (n int, wait time.Duration, err error) {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if s.over {
		return 0, 0, net.ErrClosed
	}
	now := time.Now()
	for n < len(ds) && len(s.inbox) > 0 && !s.inbox[0].at.After(now) {
		l := heap.Pop(&s.inbox).(letter)
		if s.host.net.hosts[l.d.Local] != s.host {
			continue // the address went away meanwhile
		}
		d := &ds[n]
		if len(l.d.Data) > len(d.Data) {
			s.stats.DropTooLong++
			continue
		}
		d.Data = d.Data[:copy(d.Data, l.d.Data)]
		d.Peer, d.Local, d.ECN, d.At = l.d.Peer, l.d.Local, l.d.ECN, now
		n++
	}
	if n > 0 {
		s.stats.ReadCalls++
		s.stats.ReadDatagrams += uint64(n)
	}
	if len(s.inbox) == 0 {
		return n, -1, nil
	}
	return n, max(0, s.inbox[0].at.Sub(now)), nil
}

// WriteBatch implements udp.Socket. It never waits.
func (s *Socket) WriteBatch(ds []udp.Datagram) (int, error) {
	n := s.host.net
	for i := range ds {
		d := &ds[i]
		n.mu.Lock()
		over := s.over
		from, err := s.host.source(s, d)
		n.mu.Unlock()
		if over {
			return i, net.ErrClosed
		}
		peer := netip.AddrPortFrom(d.Peer.Addr().Unmap(), d.Peer.Port())
		var v Verdict
		if err == nil {
			p := Passage{
				From: netip.AddrPortFrom(from, s.local.Port()), To: peer, Data: d.Data, ECN: d.ECN & 3,
				Device: s.opts.Device, Mark: s.opts.Mark,
			}
			v = n.decide(p)
			if err = v.Err; err == nil && !v.Drop {
				n.deliver(p, v)
			}
		}
		if err != nil {
			return i, fmt.Errorf("send %d bytes to %v: %w", len(d.Data), peer, err)
		}
		n.mu.Lock()
		s.stats.WriteDatagrams++
		s.stats.WriteCalls++
		n.mu.Unlock()
	}
	return len(ds), nil
}

// LocalAddr implements udp.Socket.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Stats implements udp.Socket.
func (s *Socket) Stats() udp.Stats {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	return s.stats
}

// Close implements udp.Socket.
func (s *Socket) Close() error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if !s.over {
		s.over = true
		delete(s.host.sockets, s.local)
		close(s.closed)
	}
	return nil
}
