package endpoints

import (
	"time"

	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/wire"
)

const (
	// readBatch is how many datagrams one read takes: two full GRO runs of 64 KB.
	readBatch = 128
	// readPause follows a failed read.
	readPause = 50 * time.Millisecond
)

// reader is the working memory of the goroutine that reads one socket.
type reader struct {
	t    *sockets
	bufs [readBatch]*buf.Buf
	ds   [readBatch]udp.Datagram
	as   [readBatch]tunnel.Arrival
}

func newReader(t *sockets) *reader { return &reader{t: t} }

// fill reads one batch into r.as.
func (r *reader) fill(s *socket) (int, error) {
	for i := range r.bufs {
		if r.bufs[i] == nil {
			r.bufs[i] = buf.Get()
		}
		r.ds[i].Data = r.bufs[i].Room()
	}
	n, err := s.ReadBatch(r.ds[:])
	for i := range n {
		d, b := &r.ds[i], r.bufs[i]
		b.Extend(len(d.Data))
		r.as[i] = tunnel.Arrival{
			Buf:  b,
			From: tunnel.Endpoint{Socket: s.index, Local: d.Local, Remote: d.Peer},
			At:   r.t.clock.at(d.At),
			ECN:  d.ECN,
		}
		r.bufs[i] = nil
	}
	return n, err
}

// dispatch gives the first n arrivals to their engines, a run at a time.
func (r *reader) dispatch(n int) {
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
	clear(r.as[:n])
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
	for _, b := range r.bufs {
		if b != nil {
			b.Release()
		}
	}
}
