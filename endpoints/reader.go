package endpoints

import (
	"time"

	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

const (
	// readRuns is how many runs of datagrams one read takes: 16 of 64 KB are 8 ms at 1 Gbit/s, and 1 MB of memory.
	readRuns = 16
	// maxArrivals of a read: the kernel joins at most 64 datagrams.
	maxArrivals = readRuns * 64
	// keepRun: a run of so many bytes stays in the memory it was read into, shared by its datagrams; so what waits for its order
	// or its reader holds at most twice its size. Datagrams of shorter runs are copied.
	keepRun = udp.RunRoom / 2
	// readPause follows a failed read.
	readPause = 50 * time.Millisecond
)

// reader is the working memory of the goroutine that reads one socket.
type reader struct {
	t     *sockets
	rooms [readRuns]*buf.Buf
	ds    [readRuns]udp.Datagram
	as    []tunnel.Arrival
}

func newReader(t *sockets) *reader { return &reader{t: t, as: make([]tunnel.Arrival, 0, maxArrivals)} }

// fill reads one batch into r.as.
func (r *reader) fill(s *socket) error {
	for i := range r.rooms {
		if r.rooms[i] == nil {
			r.rooms[i] = buf.GetSuper()
		}
		r.ds[i].Data = r.rooms[i].Room()
	}
	n, err := s.ReadBatch(r.ds[:])
	r.as = r.as[:0]
	for i := range n {
		r.cut(s, i)
	}
	return err
}

// cut makes arrivals of the i-th run that was read.
func (r *reader) cut(s *socket, i int) {
	d, room := &r.ds[i], r.rooms[i]
	size := len(d.Data)
	segment := d.Segment
	if segment == 0 {
		segment = max(size, 1) // also one empty datagram is one
	}
	a := tunnel.Arrival{From: tunnel.Endpoint{Socket: s.index, Local: d.Local, Remote: d.Peer}, At: r.t.clock.at(d.At), ECN: d.ECN}
	keep := size >= keepRun && d.Segment > 0
	if keep {
		room.Extend(size)
		room.Share((size+segment-1)/segment - 1)
		r.rooms[i] = nil
	}
	for from := 0; from < max(size, 1); from += segment {
		to := min(from+segment, size)
		switch {
		case keep:
			a.Buf = room.Part(from, to)
		case to-from > buf.Size-buf.Headroom:
			r.t.drops.add(dropArrivalTooLong, 1)
			continue
		default:
			a.Buf = buf.Get()
			a.Buf.Append(d.Data[from:to])
		}
		r.as = append(r.as, a)
	}
}

// dispatch gives the arrivals to their engines, a run at a time.
func (r *reader) dispatch() {
	n := len(r.as)
	var run *engine
	from := 0
	for i := range n {
		e := r.lookup(r.as[i].Buf)
		if e != run {
			r.give(run, from, i)
			run, from = e, i
		}
	}
	r.give(run, from, n)
	clear(r.as)
}

// lookup finds the engine of a datagram by its session index; nil if there is none, which is counted.
func (r *reader) lookup(b *buf.Buf) *engine {
	h, err := wire.ParseHeader(b.Bytes())
	if err != nil {
		r.t.drops.add(dropStranger, 1)
		return nil
	}
	e := r.t.demux.session(h.Index)
	if e == nil {
		r.t.drops.add(dropUnknownIndex, 1)
	}
	return e
}

// give hands over as[from:to].
func (r *reader) give(e *engine, from, to int) {
	n := 0
	if e != nil && from < to {
		n = r.t.put(e, r.as[from:to])
		r.t.drops.add(dropEngineBusy, to-from-n)
	}
	for i := from + n; i < to; i++ {
		r.as[i].Buf.Release()
	}
}

func (r *reader) release() {
	for _, b := range r.rooms {
		if b != nil {
			b.Release()
		}
	}
}
