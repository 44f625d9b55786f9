package udptest

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

var (
	addrA  = netip.MustParseAddr("10.0.0.1")
	addrA2 = netip.MustParseAddr("10.0.1.1")
	addrB  = netip.MustParseAddr("192.0.2.1")
	addrB6 = netip.MustParseAddr("2001:db8::1")
)

func listen(t *testing.T, h *Host, addr netip.Addr, port uint16) *Socket {
	t.Helper()
	s, err := h.Listen(udp.Options{Local: netip.AddrPortFrom(addr, port)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s *Socket, ds ...udp.Datagram) {
	t.Helper()
	if n, err := s.WriteBatch(ds); n != len(ds) || err != nil {
		t.Fatalf("WriteBatch = %d, %v", n, err)
	}
}

func read(t *testing.T, s *Socket, room int) []udp.Datagram {
	t.Helper()
	ds := make([]udp.Datagram, 8)
	for i := range ds {
		ds[i].Data = make([]byte, room)
	}
	n, err := s.ReadBatch(ds)
	if err != nil {
		t.Fatal(err)
	}
	return ds[:n]
}

// TestDelay: datagrams arrive exactly after their delay, whatever order they were sent in, and time does the rest.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := listen(t, n.Host(addrA), addrA, 0), listen(t, n.Host(addrB), addrB, 7117)
		n.SetHook(func(p Passage) Verdict {
			if p.From != a.LocalAddr() || p.To != b.LocalAddr() {
				t.Errorf("passage from %v to %v", p.From, p.To)
			}
			return Verdict{Delay: time.Duration(p.Data[0]) * time.Millisecond}
		})
		start := time.Now()
		go func() {
			send(t, a, udp.Datagram{Data: []byte{30}, Peer: b.LocalAddr()}, udp.Datagram{Data: []byte{10}, Peer: b.LocalAddr()})
			time.Sleep(5 * time.Millisecond)
			send(t, a, udp.Datagram{Data: []byte{5, 1}, Peer: b.LocalAddr()}, udp.Datagram{Data: []byte{5, 2}, Peer: b.LocalAddr()})
		}()
		for _, want := range []struct {
			at      time.Duration
			content string
		}{{10, "\x0a\x05\x01\x05\x02"}, {30, "\x1e"}} {
			got := ""
			ds := read(t, b, 10)
			for _, d := range ds {
				got += string(d.Data)
				if d.At.Sub(start) != want.at*time.Millisecond || d.Peer != a.LocalAddr() || d.Local != addrB {
					t.Errorf("datagram %+v arrived after %v", d, d.At.Sub(start))
				}
			}
			if got != want.content || time.Since(start) != want.at*time.Millisecond {
				t.Errorf("after %v: %q, want %q after %v ms", time.Since(start), got, want.content, int(want.at))
			}
		}
	})
}

func TestVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		ha := n.Host(addrA, addrA2)
		a, b := listen(t, ha, netip.Addr{}, 0), listen(t, n.Host(addrB, addrB6), netip.IPv6Unspecified(), 7117)
		to := netip.AddrPortFrom(addrB, 7117)
		nat := netip.MustParseAddrPort("198.51.100.1:4242")
		var v Verdict
		n.SetHook(func(p Passage) Verdict {
			if p.To == nat {
				return Verdict{To: a.local4()}
			}
			return v
		})

		v = Verdict{Drop: true}
		send(t, a, udp.Datagram{Data: []byte("lost"), Peer: to})
		v = Verdict{CE: true, Copies: 1, From: nat}
		send(t, a, udp.Datagram{Data: []byte("twice"), Peer: to, ECN: udp.ECT0, Local: addrA2})
		send(t, a, udp.Datagram{Data: []byte("no ecn"), Peer: to})
		got := read(t, b, 10)
		if len(got) != 4 || string(got[0].Data) != "twice" || string(got[1].Data) != "twice" || got[0].ECN != udp.CE || got[2].ECN != udp.NotECT {
			t.Fatalf("got %+v", got)
		}
		if got[0].Peer != nat || got[0].Local != addrB {
			t.Errorf("the address was not rewritten: %+v", got[0])
		}
		send(t, b, udp.Datagram{Data: []byte("back"), Peer: nat, Local: addrB})
		if d := read(t, a, 10)[0]; string(d.Data) != "back" || d.Peer != to {
			t.Errorf("the way back: %+v", d)
		}

		v = Verdict{Err: ErrMessageTooLong}
		if k, err := a.WriteBatch([]udp.Datagram{{Data: []byte("x"), Peer: to}}); k != 0 || !udp.IsMessageTooLong(err) {
			t.Errorf("WriteBatch = %d, %v", k, err)
		}
		v = Verdict{Err: ErrPathDown}
		if k, err := a.WriteBatch([]udp.Datagram{{Data: []byte("x"), Peer: to}}); k != 0 || !udp.IsPathDown(err) {
			t.Errorf("WriteBatch = %d, %v", k, err)
		}
		v = Verdict{}
		if k, err := a.WriteBatch([]udp.Datagram{{Data: []byte("x"), Peer: to, Local: addrB}}); k != 0 || !udp.IsPathDown(err) {
			t.Errorf("a source of others: %d, %v", k, err)
		}
		// What is on the way to an address that goes away is lost.
		v = Verdict{Delay: time.Second}
		send(t, b, udp.Datagram{Data: []byte("late"), Peer: netip.AddrPortFrom(addrA2, a.LocalAddr().Port()), Local: addrB})
		ha.RemoveAddr(addrA2)
		v = Verdict{Delay: 2 * time.Second}
		send(t, b, udp.Datagram{Data: []byte("too long for it"), Peer: netip.AddrPortFrom(addrA, a.LocalAddr().Port()), Local: addrB})
		send(t, b, udp.Datagram{Data: []byte("kept"), Peer: netip.AddrPortFrom(addrA, a.LocalAddr().Port()), Local: addrB})
		if ds := read(t, a, 10); len(ds) != 1 || string(ds[0].Data) != "kept" {
			t.Errorf("got %+v", ds)
		}
		if st := a.Stats(); st.DropTooLong != 1 || st.WriteDatagrams != 3 {
			t.Errorf("stats %+v", st)
		}
	})
}

// local4 is where the socket is reached over IPv4.
func (s *Socket) local4() netip.AddrPort { return netip.AddrPortFrom(addrA, s.local.Port()) }

func TestCloseUnblocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New().Host(addrA)
		s := listen(t, h, addrA, 1)
		done := make(chan error)
		go func() {
			_, err := s.ReadBatch(make([]udp.Datagram, 1))
			done <- err
		}()
		synctest.Wait()
		s.Close()
		s.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read ended with %v", err)
		}
		if _, err := s.WriteBatch([]udp.Datagram{{Peer: s.LocalAddr()}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write ended with %v", err)
		}
		listen(t, h, addrA, 1) // the port is free again
		if _, err := h.Listen(udp.Options{Local: netip.AddrPortFrom(addrA, 1)}); err == nil {
			t.Error("one port was given twice")
		}
		if _, err := h.Listen(udp.Options{Local: netip.AddrPortFrom(addrB, 1)}); !udp.IsPathDown(err) {
			t.Errorf("an address of others: %v", err)
		}
	})
}
