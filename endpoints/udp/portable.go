package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// portable is a Socket over package net: one datagram per system call, no ECN, no choice of source, and no word about fragments.
type portable struct {
	conn  *net.UDPConn
	local netip.AddrPort
	counters

	readMu  sync.Mutex
	scratch []byte // a datagram is read here, so that one too long is noticed
}

func listenPortable(ctx context.Context, opts Options) (Socket, error) {
	if opts.Device != "" || opts.Mark != 0 {
		return nil, fmt.Errorf("listen on UDP %v: binding to an interface and firewall marks exist on Linux only: leave them unset", opts.Local)
	}
	network, address := "udp", fmt.Sprintf(":%d", opts.Local.Port())
	if a := opts.Local.Addr().Unmap(); a.IsValid() && a != netip.IPv6Unspecified() {
		network, address = "udp6", netip.AddrPortFrom(a, opts.Local.Port()).String()
		if a.Is4() {
			network = "udp4"
		}
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &portable{conn: pc.(*net.UDPConn), scratch: make([]byte, 1<<16)}
	s.local = s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, b := range []struct {
		set  func(int) error
		size int
	}{{s.conn.SetReadBuffer, opts.ReadBuffer}, {s.conn.SetWriteBuffer, opts.WriteBuffer}} {
		if b.size <= 0 {
			b.size = DefaultBuffer
		}
		_ = b.set(b.size) // less is no error
	}
	return s, nil
}

// ReadBatch implements Socket.
func (s *portable) ReadBatch(ds []Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	s.readMu.Lock()
	defer s.readMu.Unlock()
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(s.scratch)
		if err != nil {
			return 0, portableError(err)
		}
		s.readCalls.Add(1)
		d := &ds[0]
		if n > len(d.Data) {
			s.dropTooLong.Add(1)
			continue
		}
		d.Data = d.Data[:copy(d.Data, s.scratch[:n])]
		d.Peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		d.Local, d.ECN, d.At = netip.Addr{}, NotECT, time.Now()
		if a := s.local.Addr(); a.IsValid() && !a.IsUnspecified() {
			d.Local = a
		}
		s.readDatagrams.Add(1)
		return 1, nil
	}
}

// WriteBatch implements Socket. ECN and Local are not looked at.
func (s *portable) WriteBatch(ds []Datagram) (int, error) {
	for i := range ds {
		if _, err := s.conn.WriteToUDPAddrPort(ds[i].Data, ds[i].Peer); err != nil {
			return i, portableError(err)
		}
		s.writeCalls.Add(1)
		s.writeDatagrams.Add(1)
	}
	return len(ds), nil
}

func portableError(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return errClosed
	}
	return err
}

// LocalAddr implements Socket.
func (s *portable) LocalAddr() netip.AddrPort { return s.local }

// Stats implements Socket.
func (s *portable) Stats() Stats { return s.counters.stats() }

// Close implements Socket.
func (s *portable) Close() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
