package endpoints

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/tunnel/buf"
)

// superReads is how many packets one read takes, each with room for a super-packet: 1 MB of memory, and the small packets that have gathered
// during a turn of the engine.
const superReads = 16

// tunReader moves packets from the TUN device to the engines. It is the working memory of one goroutine.
type tunReader struct {
	dev   tun.Device
	demux *demux
	drops *counters
	put   func(e *engine, packets []*buf.Buf) int

	rooms [superReads]*buf.Buf // to be read into
	ps    [superReads]tun.Packet
	bufs  [superReads]*buf.Buf // read, on their way
}

func newTUNReader(dev tun.Device, d *demux, drops *counters, put func(*engine, []*buf.Buf) int) *tunReader {
	return &tunReader{dev: dev, demux: d, drops: drops, put: put}
}

// run reads until the device is closed. Whoever started it joins it after closing the device.
func (r *tunReader) run() {
	defer func() {
		for _, b := range r.rooms {
			if b != nil {
				b.Release()
			}
		}
	}()
	for {
		for i, b := range r.rooms {
			if b == nil {
				b = buf.GetSuper()
				r.rooms[i] = b
			}
			r.ps[i] = tun.Packet{Data: b.Room()[:tun.SuperRoom]}
		}
		n, err := r.dev.Read(r.ps[:])
		r.dispatch(r.keep(n))
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.drops.add(dropReadFailed, 1)
			time.Sleep(readPause) // short enough to be waited for at the end
		}
	}
}

// keep puts the first n packets that were read into buffers that fit them, and returns how many there are: a super-packet stays where
// it is, a small packet is copied, so that what waits costs what it holds.
func (r *tunReader) keep(n int) (kept int) {
	for i := range n {
		p := &r.ps[i]
		var b *buf.Buf
		switch size := len(p.Data); {
		case p.Segment != 0 && int(p.Headers)+int(p.Segment) <= buf.MaxPacket:
			b = r.rooms[i]
			b.Extend(size)
			r.rooms[i] = nil
		case p.Segment == 0 && size <= buf.MaxPacket:
			b = buf.Get()
			b.Append(p.Data)
		default:
			r.drops.add(dropPacketTooLong, 1)
			continue
		}
		b.CsumStart, b.CsumOffset, b.Segment, b.Headers = p.CsumStart, p.CsumOffset, p.Segment, p.Headers
		r.bufs[kept] = b
		kept++
	}
	return kept
}

// dispatch gives the first n packets to their engines, a run at a time.
func (r *tunReader) dispatch(n int) {
	var run *engine
	from := 0
	for i := range n {
		e := r.lookup(r.bufs[i].Bytes())
		if e != run {
			r.give(run, from, i)
			run, from = e, i
		}
	}
	r.give(run, from, n)
	clear(r.bufs[:n])
}

// lookup finds the engine of a packet by its destination; nil if it is to be dropped, which is counted.
func (r *tunReader) lookup(p []byte) *engine {
	dst, ok := destination(p)
	if !ok {
		r.drops.add(dropNotIP, 1)
		return nil
	}
	// The kernel speaks to the link itself (router solicitation, multicast reports); the bond is not a link.
	if dst.IsMulticast() || dst.IsLinkLocalUnicast() || dst == broadcast {
		r.drops.add(dropNotRoutable, 1)
		return nil
	}
	e := r.demux.packet(dst)
	if e == nil {
		r.drops.add(dropNoGateway, 1)
	}
	return e
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// destination reads the destination address of an IP packet (RFC 791 §3.1, RFC 8200 §3).
func destination(p []byte) (netip.Addr, bool) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[16:20])), true
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[24:40])), true
	}
	return netip.Addr{}, false
}

func (r *tunReader) give(e *engine, from, to int) {
	n := 0
	if e != nil && from < to {
		n = r.put(e, r.bufs[from:to])
		r.drops.add(dropPacketBusy, to-from-n)
	}
	releaseAll(r.bufs[from+n : to])
}
