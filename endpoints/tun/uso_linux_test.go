package tun

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

// A UDP super-packet of the kernel comes whole into large room, and through smaller room and back it arrives as the datagrams it
// stands for.
func TestUDPSuperPackets(t *testing.T) {
	const size, count = 1200, 20
	for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
		d := openUp(t, Options{Driver: DriverOffload})
		if !d.(*offload).uso {
			t.Skip("this kernel has no USO for TUN devices")
		}
		c, err := udp.Listen(t.Context(), udp.Options{Local: ends[0]})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		stuck := time.AfterFunc(10*time.Second, func() { c.Close(); d.Close() })
		defer stuck.Stop()
		payload := make([]byte, size*count-700)
		for i := range payload {
			payload[i] = byte(i / size)
		}
		send := func() {
			ds := make([]udp.Datagram, count)
			for i := range ds {
				// The mirror exchanges addresses, not ports: what comes back is for our own port.
				ds[i] = udp.Datagram{Data: payload[i*size : min((i+1)*size, len(payload))], Peer: netip.AddrPortFrom(ends[1].Addr(), ends[0].Port())}
			}
			if _, err := c.WriteBatch(ds); err != nil {
				t.Fatal(err)
			}
		}
		send()
		p := readUDP(t, d, 1, SuperRoom)[0]
		if p.Segment != size || int(p.Headers) != int(p.CsumStart)+8 || !bytes.Equal(p.Data[p.Headers:], payload) {
			t.Fatalf("%v: read %d bytes, headers %d, segment %d", ends[0], len(p.Data), p.Headers, p.Segment)
		}
		done := make(chan error, 1)
		go func() { done <- mirror(d, 128, nil) }() // joined below
		send()
		in := make([]udp.Datagram, 1)
		for i := range count {
			in[0].Data = make([]byte, 2000)
			if _, err := c.ReadBatch(in); err != nil {
				t.Fatalf("%v: datagram %d: %v", ends[0], i, err)
			}
			if want := payload[i*size : min((i+1)*size, len(payload))]; !bytes.Equal(in[0].Data, want) {
				t.Errorf("%v: datagram %d of %d bytes differs from what was sent", ends[0], i, len(in[0].Data))
			}
		}
		d.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error("the mirror ended with", err)
		}
		st := d.Stats()
		if st.WriteCalls > count/2 || st.DropMalformed+st.DropRefused != 0 {
			t.Errorf("%v: %+v: the datagrams were not joined", ends[0], st)
		}
	}
}

// UDP packets are joined only where splitting gives the same again, and never where the kernel does not do it.
func TestUDPRuns(t *testing.T) {
	datagrams := func(sizes ...int) []Packet {
		var ps []Packet
		for i, n := range sizes {
			p := udpPacket(end6a, end6b, bytes.Repeat([]byte{byte(i)}, n), i%2 == 0)
			ps = append(ps, p)
		}
		return ps
	}
	for _, c := range []struct {
		name  string
		ps    []Packet
		spoil func(ps []Packet)
		want  int // packets in the first run
	}{
		{"equal", datagrams(500, 500, 500, 500), nil, 4},
		{"the last is shorter", datagrams(500, 500, 100, 500), nil, 3},
		{"longer ones begin anew", datagrams(500, 600, 600), nil, 1},
		{"empty", datagrams(0, 0), nil, 1},
		{"other port", datagrams(500, 500, 500), func(ps []Packet) { p := &ps[1]; p.Data[41]++; p.Data[47]++ }, 1},
		{"no checksum", datagrams(500, 500, 500), func(ps []Packet) { ps[1].Data[46], ps[1].Data[47] = 0, 0 }, 1},
		{"damaged", datagrams(500, 500, 500), func(ps []Packet) { ps[1].Data[60] ^= 1 }, 1},
		{"length field", datagrams(500, 500, 500), func(ps []Packet) { ps[1].Data[45]++ }, 1},
	} {
		if c.spoil != nil {
			c.spoil(c.ps)
		}
		r := nextRun(c.ps, true)
		if len(r.packets) != c.want {
			t.Errorf("%s: %d packets joined, want %d", c.name, len(r.packets), c.want)
		}
		if len(r.packets) > 1 {
			checkRun(t, &r)
		}
		if r := nextRun(c.ps, false); len(r.packets) != 1 {
			t.Errorf("%s: joined without USO", c.name)
		}
	}
	if many := nextRun(datagrams(make([]int, 100)...), true); len(many.packets) != 1 {
		t.Error("empty datagrams were joined")
	}
}
