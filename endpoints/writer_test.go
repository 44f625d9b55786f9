package endpoints

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// promptSocket takes room datagrams at once; for more one has to wait.
type promptSocket struct {
	*slowSocket

	mu     sync.Mutex
	room   int
	prompt int // sent without waiting
	waited int
	order  []uint32
}

func (s *promptSocket) take(ds []udp.Datagram) {
	for _, d := range ds {
		s.order = append(s.order, binary.BigEndian.Uint32(d.Data))
	}
}

func (s *promptSocket) WriteNow(ds []udp.Datagram) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(s.room, len(ds))
	s.room -= n
	s.prompt += n
	s.take(ds[:n])
	return n, nil
}

func (s *promptSocket) WriteBatch(ds []udp.Datagram) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waited += len(ds)
	s.take(ds)
	return len(ds), nil
}

// What a socket takes at once the engine sends itself; the rest goes through the queue, in order, and so does all that is too much for it.
func TestWriterSendsAtOnceWhatTheSocketTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var drops counters
		sock := &promptSocket{slowSocket: newSlowSocket(), room: 5}
		w := newWriter(sock, newClock(), &drops)
		w.most = 8
		go w.run() // joined below, through done
		e := &engine{}
		number := uint32(0)
		put := func(n int) {
			outs := make([]tunnel.Out, n)
			for i := range outs {
				b := buf.Get()
				binary.BigEndian.PutUint32(b.Extend(100), number)
				number++
				outs[i] = tunnel.Out{Buf: b}
			}
			w.put(0, e, outs)
			synctest.Wait()
		}
		put(3)
		if sock.prompt != 3 || sock.waited != 0 {
			t.Errorf("%d sent at once, %d queued; want 3, 0", sock.prompt, sock.waited)
		}
		put(8)
		if sock.prompt != 5 || sock.waited != 6 {
			t.Errorf("%d sent at once, %d queued; want 5, 6", sock.prompt, sock.waited)
		}
		sock.room = 100
		put(9)
		if sock.prompt != 5 || sock.waited != 15 {
			t.Errorf("a batch of 9: %d sent at once, %d queued; want 5, 15", sock.prompt, sock.waited)
		}
		put(8)
		if sock.prompt != 13 {
			t.Errorf("%d sent at once, want 13", sock.prompt)
		}
		for i, n := range sock.order {
			if n != uint32(i) {
				t.Fatalf("datagram %d was sent as number %d", n, i)
			}
		}
		if w.bytes != 0 || len(drops.snapshot()) != 0 {
			t.Errorf("%d bytes are still counted; drops %v", w.bytes, drops.snapshot())
		}
		w.stop()
		<-w.done
		sock.Close()
	})
}

// Datagrams that leave by turns become a run per path, each in its order.
func TestGatherMakesARunPerPath(t *testing.T) {
	var outs, rest [batch]tunnel.Out
	for i := range outs {
		outs[i] = tunnel.Out{Path: tunnel.PathID(i * i % 7 % 3), ECN: uint8(i)}
	}
	gather(outs[:], rest[:0])
	var seen []tunnel.PathID
	last := -1
	for i, o := range outs {
		if i == 0 || o.Path != outs[i-1].Path {
			if slices.Contains(seen, o.Path) {
				t.Fatalf("path %d has more than one run", o.Path)
			}
			seen, last = append(seen, o.Path), -1
		}
		if int(o.ECN) <= last {
			t.Fatalf("datagram %d of path %d comes behind %d", o.ECN, o.Path, last)
		}
		last = int(o.ECN)
	}
	if len(seen) != 3 {
		t.Errorf("%d paths, want 3", len(seen))
	}
	if n := testing.AllocsPerRun(100, func() { gather(outs[:], rest[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
