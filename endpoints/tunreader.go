package endpoints

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/tunnel/buf"
)

// tunReader moves packets from the TUN device to the engines. It is the working memory of one goroutine.
type tunReader struct {
	dev   tun.Device
	demux *demux
	drops *counters
	put   func(e *engine, packets []*buf.Buf) int

	bufs []*buf.Buf
	ps   []tun.Packet
}

func newTUNReader(dev tun.Device, d *demux, drops *counters, put func(*engine, []*buf.Buf) int) *tunReader {
	n := dev.BatchSize()
	return &tunReader{dev: dev, demux: d, drops: drops, put: put, bufs: make([]*buf.Buf, n), ps: make([]tun.Packet, n)}
}

// run reads until the device is closed. Whoever started it joins it after closing the device.
func (r *tunReader) run() {
	defer func() {
		for _, b := range r.bufs {
			if b != nil {
				b.Release()
			}
		}
	}()
	for {
		for i, b := range r.bufs {
			if b == nil {
				b = buf.Get()
				r.bufs[i] = b
			}
			r.ps[i] = tun.Packet{Data: b.Room()[:buf.MaxPacket]}
		}
		n, err := r.dev.Read(r.ps)
		for i := range n {
			r.bufs[i].Extend(len(r.ps[i].Data))
			r.bufs[i].CsumStart, r.bufs[i].CsumOffset = r.ps[i].CsumStart, r.ps[i].CsumOffset
		}
		r.dispatch(n)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.drops.add(dropReadFailed, 1)
			time.Sleep(readPause) // short enough to be waited for at the end
		}
	}
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
