package tun

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestSum16(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 3000)
	for i := range 3000 {
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if i%3 == 0 {
			for j := range b {
				b[j] = 0xff // the carries
			}
		}
		from := rng.IntN(9)
		part := b[from : from+rng.IntN(len(b)-from)]
		got, want := sum16(part), slowSum(part)
		if got != want && !(got == 0xffff && want == 0 || got == 0 && want == 0xffff) {
			t.Fatalf("sum of %d bytes is %#x, want %#x", len(part), got, want)
		}
	}
}

func TestFinishChecksum(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
		for size := range 70 {
			payload := bytes.Repeat([]byte{byte(size), 0x5a}, size)[:size]
			want := udpPacket(ends[0], ends[1], payload, false)
			p := udpPacket(ends[0], ends[1], payload, true)
			finishChecksum(&p)
			if !bytes.Equal(p.Data, want.Data) || p.CsumStart != 0 || p.CsumOffset != 0 {
				t.Fatalf("%v with %d bytes: %x, want %x", ends[0], size, p.Data, want.Data)
			}
		}
	}
	// A sum of zero is sent as 0xffff in UDP: choose the payload that makes it zero.
	p := udpPacket(end4a, end4b, []byte{0, 0}, true)
	binary.BigEndian.PutUint16(p.Data[28:], ^sum16(p.Data[20:]))
	finishChecksum(&p)
	if got := binary.BigEndian.Uint16(p.Data[26:]); got != 0xffff {
		t.Errorf("checksum %#x, want 0xffff: 0 means none", got)
	}
}

// super builds a super-packet as the kernel hands it over.
func super(s tcpSpec, size int) (virtioHeader, []byte) {
	p := s.build(true)
	v := virtioHeader{
		flags: virtioNeedsCsum, gsoType: virtioGSOTCPv4, gsoSize: uint16(size),
		csumStart: p.CsumStart, csumOffset: p.CsumOffset,
	}
	if s.src.Addr().Is6() {
		v.gsoType = virtioGSOTCPv6
	}
	return v, p.Data
}

// cutAll takes everything out of a loaded splitter.
func cutAll(s *splitter) []Packet {
	var ps []Packet
	for s.more {
		p := Packet{Data: make([]byte, s.size())}
		s.cut(&p)
		ps = append(ps, p)
	}
	return ps
}

func TestSplit(t *testing.T) {
	options := []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8}
	for _, c := range []struct {
		name     string
		src, dst netip.AddrPort
		options  []byte
		payload  int
		size     int
		want     int
	}{
		{"v4", end4a, end4b, nil, 5000, 1448, 4},
		{"v4 even", end4a, end4b, options, 1448 * 3, 1448, 3},
		{"v4 odd sizes", end4a, end4b, options, 2223, 741, 3},
		{"v4 smaller than one segment", end4a, end4b, nil, 100, 1448, 1},
		{"v4 full", end4a, end4b, nil, 65535 - 40, 1460, 45},
		{"v6", end6a, end6b, options, 30001, 1428, 22},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := make([]byte, c.payload)
			for i := range payload {
				payload[i] = byte(i * 7)
			}
			spec := tcpSpec{
				src: c.src, dst: c.dst, seq: 0xffffff00, id: 0xffff, options: c.options, payload: payload,
				flags: flagACK | flagPSH | flagFIN | flagCWR | flagECE,
			}
			v, pkt := super(spec, c.size)
			v.gsoType |= virtioGSOECN
			var s splitter
			if !s.load(v, pkt) {
				t.Fatal("the super-packet was refused")
			}
			ps := cutAll(&s)
			if len(ps) != c.want {
				t.Fatalf("%d packets, want %d", len(ps), c.want)
			}
			for i, p := range ps {
				part := payload[i*c.size : min((i+1)*c.size, len(payload))]
				want := spec
				want.seq += uint32(i * c.size)
				want.id += uint16(i)
				want.payload = part
				if i > 0 {
					want.flags &^= flagCWR
				}
				if i < len(ps)-1 {
					want.flags &^= flagFIN | flagPSH
				}
				if w := want.build(true); !bytes.Equal(p.Data, w.Data) || p.CsumStart != w.CsumStart || p.CsumOffset != w.CsumOffset {
					t.Fatalf("packet %d:\n got %x %d %d\nwant %x %d %d", i, p.Data[:60], p.CsumStart, p.CsumOffset, w.Data[:60], w.CsumStart, w.CsumOffset)
				}
				if !goodChecksums(p) {
					t.Fatalf("packet %d: a checksum is wrong", i)
				}
			}
		})
	}
}

// TestSplitExtensionHeader: behind IPv6 extension headers the transport starts where the kernel says.
func TestSplitExtensionHeader(t *testing.T) {
	v, plain := super(tcpSpec{src: end6a, dst: end6b, flags: flagACK, payload: make([]byte, 3000)}, 1000)
	pkt := append(bytes.Clone(plain[:40]), protoTCP, 0, 1, 4, 0, 0, 0, 0) // destination options: PadN
	pkt = append(pkt, plain[40:]...)
	pkt[6] = 60
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
	v.csumStart += 8
	var s splitter
	if !s.load(v, pkt) {
		t.Fatal("refused")
	}
	for i, p := range cutAll(&s) {
		// Without the extension header it is an ordinary packet whose checksum is right.
		b := append(bytes.Clone(p.Data[:40]), p.Data[48:]...)
		b[6] = protoTCP
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		if !goodChecksums(Packet{Data: b, CsumStart: 40, CsumOffset: tcpChecksumAt}) {
			t.Errorf("packet %d: the checksum is wrong", i)
		}
	}
}

func TestSplitSingle(t *testing.T) {
	p := udpPacket(end4a, end4b, []byte("hello"), true)
	for _, c := range []struct {
		name string
		v    virtioHeader
		ok   bool
	}{
		{"complete", virtioHeader{}, true},
		{"partial", virtioHeader{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 6}, true},
		{"offsets mean nothing without the flag", virtioHeader{csumStart: 60000, csumOffset: 6}, true},
		{"start behind the end", virtioHeader{flags: virtioNeedsCsum, csumStart: 60, csumOffset: 6}, false},
		{"field behind the end", virtioHeader{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 12}, false},
		{"start in the network header", virtioHeader{flags: virtioNeedsCsum, csumStart: 19, csumOffset: 6}, false},
		{"start 0", virtioHeader{flags: virtioNeedsCsum, csumOffset: 0}, false},
		{"huge", virtioHeader{flags: virtioNeedsCsum, csumStart: 65535, csumOffset: 65535}, false},
		{"unknown segmentation", virtioHeader{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 6, gsoType: 3, gsoSize: 2}, false},
		{"TCP segmentation of UDP", virtioHeader{flags: virtioNeedsCsum, csumStart: 20, csumOffset: 16, gsoType: 1, gsoSize: 2}, false},
	} {
		var s splitter
		if ok := s.load(c.v, p.Data); ok != c.ok {
			t.Errorf("%s: load is %v, want %v", c.name, ok, c.ok)
			continue
		} else if !ok {
			if s.more {
				t.Errorf("%s: a refused packet leaves something to cut", c.name)
			}
			continue
		}
		ps := cutAll(&s)
		if len(ps) != 1 || !bytes.Equal(ps[0].Data, p.Data) {
			t.Fatalf("%s: %d packets", c.name, len(ps))
		}
		if partial := c.v.flags&virtioNeedsCsum != 0; partial != (ps[0].CsumStart == 20 && ps[0].CsumOffset == 6) || partial == (ps[0].CsumStart == 0) {
			t.Errorf("%s: checksum at %d+%d", c.name, ps[0].CsumStart, ps[0].CsumOffset)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	good := func() (virtioHeader, []byte) {
		return super(tcpSpec{src: end4a, dst: end4b, flags: flagACK, payload: make([]byte, 3000)}, 1000)
	}
	for _, c := range []struct {
		name  string
		spoil func(v *virtioHeader, b *[]byte)
	}{
		{"segment size 0", func(v *virtioHeader, b *[]byte) { v.gsoSize = 0 }},
		{"no unfinished checksum", func(v *virtioHeader, b *[]byte) { v.flags = 0 }},
		{"family", func(v *virtioHeader, b *[]byte) { v.gsoType = virtioGSOTCPv6 }},
		{"transport offset", func(v *virtioHeader, b *[]byte) { v.csumStart = 24 }},
		{"checksum offset", func(v *virtioHeader, b *[]byte) { v.csumOffset = 6 }},
		{"protocol", func(v *virtioHeader, b *[]byte) { (*b)[9] = 17 }},
		{"fragment", func(v *virtioHeader, b *[]byte) { (*b)[6] = 0x20 }},
		{"TCP header too short", func(v *virtioHeader, b *[]byte) { (*b)[32] = 0x40 }},
		{"TCP header past the end", func(v *virtioHeader, b *[]byte) {
			*b = (*b)[:70]
			binary.BigEndian.PutUint16((*b)[2:], 70)
			(*b)[32] = 0xf0
		}},
		{"no payload", func(v *virtioHeader, b *[]byte) {
			*b = (*b)[:40]
			binary.BigEndian.PutUint16((*b)[2:], 40)
		}},
		{"longer than what was read", func(v *virtioHeader, b *[]byte) { *b = (*b)[:2000] }},
		{"empty", func(v *virtioHeader, b *[]byte) { *b = nil }},
		{"version", func(v *virtioHeader, b *[]byte) { (*b)[0] = 0x55 }},
	} {
		v, b := good()
		var s splitter
		if !s.load(v, b) {
			t.Fatal("the good one was refused")
		}
		c.spoil(&v, &b)
		if s.load(v, b) || s.more {
			t.Errorf("%s: accepted", c.name)
		}
	}
}

// FuzzSplit: whatever the header and the packet say, every cut is a sound packet within bounds, and all of them together carry
// the payload once.
func FuzzSplit(f *testing.F) {
	for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
		v, pkt := super(tcpSpec{src: ends[0], dst: ends[1], flags: flagACK, payload: make([]byte, 300)}, 100)
		b := make([]byte, virtioLen)
		v.put(b)
		f.Add(append(b, pkt...))
		virtioHeader{}.put(b)
		f.Add(append(b, udpPacket(ends[0], ends[1], []byte("x"), false).Data...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < virtioLen {
			return
		}
		var s splitter
		if !s.load(parseVirtio(b), b[virtioLen:len(b):len(b)]) {
			return
		}
		payload, headers := 0, s.headers
		for _, p := range cutAll(&s) {
			size := len(p.Data)
			if _, ok := p.validate(); !ok || len(p.Data) != size {
				t.Fatalf("cut an unsound packet %x", p.Data)
			}
			payload += size - headers
		}
		if want := len(s.pkt) - headers; payload != want {
			t.Fatalf("%d bytes of payload, want %d", payload, want)
		}
	})
}
