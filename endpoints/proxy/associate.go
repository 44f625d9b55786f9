package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
)

// maxDatagram is the most that UDP carries, and a header before it.
const maxDatagram = socksDatagramHeader + 65535

var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// association is one UDP ASSOCIATE: datagrams between a client and the world,
// for as long as its connection lasts (RFC 1928 7).
type association struct {
	local *net.UDPConn // towards the client
	far   PacketConn
	from  netip.Addr // the client's address

	// port is the client's, in the low bits, once it is known: it has asked
	// with it, or sent something from it. 0 before.
	port atomic.Uint32
}

func (s *Server) associate(ctx context.Context, c Conn, asked Target) {
	here, ok1 := c.LocalAddr().(*net.TCPAddr)
	client, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 { // a unix socket: there is nowhere to send datagrams to
		refuse(c, socksReply(replyNoCommand, Target{}))
		return
	}
	c.SetDeadline(time.Time{})
	far, err := s.cfg.Dialer.Associate(ctx)
	if err != nil {
		refuse(c, socksReply(replyFor(err), Target{}))
		return
	}
	defer far.Close()
	// The address by which the client has reached us is the one that it can send to.
	local, err := net.ListenUDP("udp", &net.UDPAddr{IP: here.IP, Zone: here.Zone})
	if err != nil {
		refuse(c, socksReply(replyFailed, Target{}))
		return
	}
	defer local.Close()
	a := &association{local: local, far: far, from: client.AddrPort().Addr().Unmap()}
	a.port.Store(uint32(asked.Port))
	c.SetWriteDeadline(time.Now().Add(s.cfg.Handshake))
	if _, err := c.Write(socksReply(replySucceeded, dial.TargetOf(local.LocalAddr().(*net.UDPAddr).AddrPort()))); err != nil {
		return
	}
	var both sync.WaitGroup
	end := func() {
		local.Close()
		far.Close()
		c.Close()
	}
	both.Go(func() { a.outbound(); end() })
	both.Go(func() { a.inbound(); end() })
	io.Copy(io.Discard, c) // until the client ends it
	end()
	both.Wait()
}

// outbound carries what the client sends, until a socket is closed.
func (a *association) outbound() {
	b := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(b)
	for {
		n, from, err := a.local.ReadFromUDPAddrPort(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP error for something that was sent
			continue
		}
		if from.Addr().Unmap() != a.from || !a.owns(from.Port()) {
			continue
		}
		t, payload, err := parseDatagram(b[:n])
		if err != nil {
			continue
		}
		if _, err := a.far.WriteTo(payload, t); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// owns tells whether the port is the client's; the first one is.
func (a *association) owns(port uint16) bool {
	return a.port.CompareAndSwap(0, uint32(port)) || a.port.Load() == uint32(port)
}

// inbound carries what comes for the client, until a socket is closed.
func (a *association) inbound() {
	b := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(b)
	for {
		// The payload is read behind the longest header, which then goes right before it.
		n, from, err := a.far.ReadFrom(b[socksDatagramHeader:])
		if err != nil {
			return
		}
		port := a.port.Load()
		if port == 0 { // nobody knows where the client is
			continue
		}
		var room [socksDatagramHeader]byte
		header := appendDatagramHeader(room[:0], from)
		start := socksDatagramHeader - len(header)
		copy(b[start:], header)
		_, err = a.local.WriteToUDPAddrPort(b[start:socksDatagramHeader+n], netip.AddrPortFrom(a.from, uint16(port)))
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
