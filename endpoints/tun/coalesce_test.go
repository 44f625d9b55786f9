package tun

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// flow builds n packets of one flow in order.
func flow(src, dst netip.AddrPort, sizes []int, partial bool) []Packet {
	var ps []Packet
	s := tcpSpec{src: src, dst: dst, seq: 1000, id: 10, flags: flagACK, options: []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8}}
	for i, size := range sizes {
		s.payload = bytes.Repeat([]byte{byte(i + 1)}, size)
		ps = append(ps, s.build(partial))
		s.seq += uint32(size)
		s.id++
	}
	return ps
}

// runs cuts ps into runs and returns how many packets are in each.
func runs(ps []Packet) []int {
	var n []int
	for len(ps) > 0 {
		r := nextRun(ps, true)
		n = append(n, len(r.packets))
		ps = ps[len(r.packets):]
	}
	return n
}

// TestRoundTrip: what a super-packet was split into joins to the same super-packet, with finished and with unfinished
// checksums, and in both families.
func TestRoundTrip(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
		for _, partial := range []bool{true, false} {
			for _, payload := range []int{2 * 1400, 2801, 30 * 1400, 45*1400 + 7} {
				spec := tcpSpec{src: ends[0], dst: ends[1], seq: 0xfffff000, id: 0xfff0, flags: flagACK | flagPSH, payload: make([]byte, payload)}
				for i := range spec.payload {
					spec.payload[i] = byte(i * 3)
				}
				v, pkt := super(spec, 1400)
				var s splitter
				if !s.load(v, pkt) {
					t.Fatal("refused")
				}
				ps := cutAll(&s)
				if !partial {
					for i := range ps {
						finishChecksum(&ps[i])
					}
				}
				r := nextRun(ps, true)
				if len(r.packets) != len(ps) {
					t.Fatalf("%v partial=%v: %d of %d packets joined", ends[0], partial, len(r.packets), len(ps))
				}
				out := make([]byte, virtioLen+100)
				n := r.putHeaders(out)
				back := bytes.Clone(out[virtioLen:n])
				for _, p := range r.packets {
					back = append(back, p.Data[r.headers:]...)
				}
				if !bytes.Equal(back, pkt) {
					t.Fatalf("%v partial=%v: joined\n%x, want\n%x", ends[0], partial, back[:60], pkt[:60])
				}
				v.hdrLen = uint16(r.headers)
				if got := parseVirtio(out); got != v {
					t.Fatalf("virtio header %+v, want %+v", got, v)
				}
			}
		}
	}
}

func TestRunEnds(t *testing.T) {
	same := []int{500, 500, 500, 500}
	for _, c := range []struct {
		name  string
		sizes []int
		spoil func(ps []Packet)
		want  []int
	}{
		{"all", same, nil, []int{4}},
		{"the last may be shorter", []int{500, 500, 20}, nil, []int{3}},
		{"nothing behind a short one", []int{500, 20, 500, 500}, nil, []int{2, 2}},
		{"a longer one starts anew", []int{500, 600, 600}, nil, []int{1, 2}},
		{"no payload", []int{500, 0, 500, 500}, nil, []int{1, 1, 2}},
		{"65535 bytes", []int{30000, 30000, 30000}, nil, []int{2, 1}},
		{"gap", same, func(ps []Packet) { addTo(ps[2], 24, 1) }, []int{2, 1, 1}},
		{"repeated", same, func(ps []Packet) { ps[2].Data = bytes.Clone(ps[1].Data) }, []int{2, 1, 1}},
		{"acknowledgement", same, func(ps []Packet) { addTo(ps[2], 28, 1) }, []int{2, 1, 1}},
		{"window", same, func(ps []Packet) { addTo(ps[2], 34, 1) }, []int{2, 1, 1}},
		{"options", same, func(ps []Packet) { addTo(ps[2], 44, 1) }, []int{2, 1, 1}},
		{"port", same, func(ps []Packet) { addTo(ps[2], 20, 1) }, []int{2, 1, 1}},
		{"address", same, func(ps []Packet) { addTo(ps[2], 12, 1) }, []int{2, 1, 1}},
		{"hop limit", same, func(ps []Packet) { addTo(ps[2], 8, 1) }, []int{2, 1, 1}},
		{"CE mark", same, func(ps []Packet) { addTo(ps[2], 0, 3) }, []int{2, 1, 1}},
		{"urgent pointer", same, func(ps []Packet) { addTo(ps[2], 38, 1) }, []int{2, 1, 1}},
		{"push ends", same, func(ps []Packet) { flag(ps[1], flagPSH) }, []int{2, 2}},
		{"push first", same, func(ps []Packet) { flag(ps[0], flagPSH) }, []int{1, 3}},
		{"FIN", same, func(ps []Packet) { flag(ps[3], flagFIN) }, []int{3, 1}},
		{"SYN", same, func(ps []Packet) { flag(ps[0], 2) }, []int{1, 3}},
		{"RST", same, func(ps []Packet) { flag(ps[1], 4) }, []int{1, 1, 2}},
		{"URG", same, func(ps []Packet) { flag(ps[1], 32) }, []int{1, 1, 2}},
		{"CWR", same, func(ps []Packet) { flag(ps[1], flagCWR) }, []int{1, 1, 2}},
		{"ECE alike", same, func(ps []Packet) {
			for _, p := range ps {
				flag(p, flagECE)
			}
		}, []int{4}},
		{"ECE", same, func(ps []Packet) { flag(ps[2], flagECE) }, []int{2, 1, 1}},
		{"no ACK", same, func(ps []Packet) { ps[1].Data[33] = 0; rehash(ps[1]) }, []int{1, 1, 2}},
		{"fragment", same, func(ps []Packet) { ps[1].Data[6] |= 0x20; rehash(ps[1]) }, []int{1, 1, 2}},
		{"identification matters without DF", same, func(ps []Packet) {
			for _, p := range ps {
				p.Data[6] = 0
				rehash(p)
			}
			addTo(ps[2], 4, 1)
		}, []int{2, 1, 1}},
		{"identification does not matter with DF", same, func(ps []Packet) { addTo(ps[2], 4, 1) }, []int{4}},
		{"other protocol", same, func(ps []Packet) { ps[1] = udpPacket(end4a, end4b, make([]byte, 500), false) }, []int{1, 1, 2}},
		{"not IP", same, func(ps []Packet) { ps[1].Data = []byte{1, 2, 3} }, []int{1, 1, 2}},
		{"cut short", same, func(ps []Packet) { ps[1].Data = ps[1].Data[:300] }, []int{1, 1, 2}},
		{"trailing bytes", same, func(ps []Packet) { ps[1].Data = append(ps[1].Data, 0) }, []int{1, 1, 2}},
	} {
		for _, partial := range []bool{false, true} {
			ps := flow(end4a, end4b, c.sizes, partial)
			if c.spoil != nil {
				c.spoil(ps)
			}
			got := runs(ps)
			if len(got) != len(c.want) {
				t.Errorf("%s, partial=%v: runs %v, want %v", c.name, partial, got, c.want)
				continue
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%s, partial=%v: runs %v, want %v", c.name, partial, got, c.want)
					break
				}
			}
		}
	}
}

// addTo changes the packet at one place and makes its checksums right again.
func addTo(p Packet, at int, by byte) {
	if at == 0 {
		p.Data[1] += by // the traffic class byte
	} else {
		if at == 24 || at == 28 {
			at += 3 // the low byte of a 32-bit field
		} else if at == 34 || at == 38 || at == 4 || at == 20 {
			at++ // of a 16-bit one
		}
		p.Data[at] += by
	}
	rehash(p)
}

func flag(p Packet, f byte) {
	p.Data[33] |= f
	rehash(p)
}

// rehash makes the checksums of an IPv4 TCP packet right after a change: the transport one finished or not, as the packet says.
func rehash(p Packet) {
	b := p.Data
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^slowSum(b[:20]))
	b[36], b[37] = 0, 0
	pseudo := slowPseudo(netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), protoTCP, len(b)-20)
	if p.CsumStart == 0 {
		binary.BigEndian.PutUint16(b[36:], ^add16(slowSum(b[20:]), pseudo))
	} else {
		binary.BigEndian.PutUint16(b[36:], pseudo)
	}
}

// TestDamageIsNotSealed: a packet with a wrong checksum is written alone and as it is, wherever it stands.
func TestDamageIsNotSealed(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
		for at, want := range [][]int{{1, 3}, {1, 1, 2}, {2, 1, 1}, {3, 1}} {
			ps := flow(ends[0], ends[1], []int{100, 100, 100, 100}, false)
			d := ps[at].Data
			d[len(d)-1] ^= 1
			if got := runs(ps); len(got) != len(want) || got[0] != want[0] {
				t.Errorf("damage in %d: runs %v, want %v", at, got, want)
			}
		}
		// A pseudo header sum of other addresses.
		ps := flow(ends[0], ends[1], []int{100, 100}, true)
		ps[1].Data[int(ps[1].CsumStart)+tcpChecksumAt] ^= 1
		if got := runs(ps); len(got) != 2 {
			t.Errorf("wrong pseudo header sum: runs %v", got)
		}
	}
	// An IPv4 header with a wrong checksum.
	ps := flow(end4a, end4b, []int{100, 100}, false)
	ps[0].Data[10] ^= 1
	if got := runs(ps); len(got) != 2 {
		t.Errorf("wrong header checksum: runs %v", got)
	}
}

// TestMixedChecksums: finished and unfinished ones may share a run.
func TestMixedChecksums(t *testing.T) {
	ps := flow(end4a, end4b, []int{100, 100, 100, 100}, false)
	for _, i := range []int{0, 2} {
		ps[i] = flow(end4a, end4b, []int{100, 100, 100, 100}, true)[i]
	}
	if got := runs(ps); len(got) != 1 {
		t.Errorf("runs %v, want one", got)
	}
}

func TestRunIsBounded(t *testing.T) {
	sizes := make([]int, 3*maxRun)
	for i := range sizes {
		sizes[i] = 1
	}
	for _, n := range runs(flow(end6a, end6b, sizes, true)) {
		if n > maxRun {
			t.Errorf("a run of %d packets", n)
		}
	}
}

// FuzzRuns: whatever the packets are, they come out once each, and the super-packets made of them split into them again.
func FuzzRuns(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, []byte{}, uint16(0))
		f.Add(seed, []byte{0xff, 0x45}, uint16(33))
	}
	f.Fuzz(func(t *testing.T, seed uint64, patch []byte, at uint16) {
		rng := rand.New(rand.NewPCG(seed, 7))
		sizes := make([]int, 1+rng.IntN(8))
		for i := range sizes {
			sizes[i] = 64
			if rng.IntN(4) == 0 {
				sizes[i] = rng.IntN(64)
			}
		}
		ps := flow(end4a, end4b, sizes, seed%2 == 0)
		if seed%3 == 0 {
			ps = flow(end6a, end6b, sizes, seed%2 == 0)
		}
		victim := ps[rng.IntN(len(ps))].Data
		copy(victim[int(at)%len(victim):], patch)
		if rng.IntN(2) == 0 {
			ps[rng.IntN(len(ps))].CsumStart = at
		}
		for len(ps) > 0 {
			if _, ok := ps[0].validate(); !ok {
				ps = ps[1:]
				continue
			}
			r := nextRun(ps, true)
			if len(r.packets) > 1 {
				checkRun(t, &r)
			}
			ps = ps[len(r.packets):]
		}
	})
}

// checkRun splits the super-packet of a run again and compares all but what is free to differ: the identification.
func checkRun(t *testing.T, r *run) {
	out := make([]byte, virtioLen+100)
	n := r.putHeaders(out)
	super := bytes.Clone(out[virtioLen:n])
	for _, p := range r.packets {
		super = append(super, p.Data[r.headers:]...)
	}
	var s splitter
	if !s.load(parseVirtio(out), super) {
		t.Fatal("our own super-packet is refused")
	}
	back := cutAll(&s)
	if len(back) != len(r.packets) {
		t.Fatalf("%d packets became %d", len(r.packets), len(back))
	}
	for i := range back {
		want := Packet{Data: bytes.Clone(r.packets[i].Data), CsumStart: r.packets[i].CsumStart, CsumOffset: r.packets[i].CsumOffset}
		if want.CsumStart != 0 {
			finishChecksum(&want)
		}
		finishChecksum(&back[i])
		if !r.ip.v6 {
			copy(back[i].Data[4:6], want.Data[4:6])
			r.ip.setTotal(back[i].Data, len(back[i].Data))
		}
		if !bytes.Equal(back[i].Data, want.Data) {
			t.Fatalf("packet %d:\n%x became\n%x", i, want.Data, back[i].Data)
		}
	}
}
