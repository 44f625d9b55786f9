package tunnel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel/buf"
)

// onesSum is the Internet checksum's sum, the slow and obvious way (RFC 1071).
func onesSum(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			s += uint32(b[i]) << 8
			if i+1 < len(b) {
				s += uint32(b[i+1])
			}
		}
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

func pseudo(p []byte, l4 int, proto uint8) []byte {
	addrs := p[12:20]
	if p[0]>>4 == 6 {
		addrs = p[8:40]
	}
	b := binary.BigEndian.AppendUint32(append([]byte(nil), addrs...), uint32(len(p)-l4))
	return append(b, 0, 0, 0, proto)
}

// superPacket makes one as the kernel hands it over.
func superPacket(v6 bool, proto uint8, payload, segment int) *buf.Buf {
	b := buf.GetSuper()
	l3, l4 := 20, 32 // TCP with timestamps
	if v6 {
		l3 = 40
	}
	if proto == protoUDP {
		l4 = 8
	}
	p := b.Extend(l3 + l4 + payload)
	clear(p)
	if v6 {
		p[0], p[6], p[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		p[8], p[23], p[24], p[39] = 0xfd, 1, 0xfd, 2
	} else {
		p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, proto
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], 0xfffe) // the identification wraps
		copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
		binary.BigEndian.PutUint16(p[10:], ^onesSum(p[:20]))
	}
	t := p[l3:]
	binary.BigEndian.PutUint16(t, 4000)
	binary.BigEndian.PutUint16(t[2:], 80)
	b.CsumStart, b.CsumOffset = uint16(l3), udpChecksumAt
	if proto == protoTCP {
		binary.BigEndian.PutUint32(t[4:], 0xfffffff0) // the sequence number wraps
		t[12], t[13] = 8<<4, 0x10|flagPSH|flagFIN|flagCWR
		b.CsumOffset = tcpChecksumAt
	}
	for i := range t[l4:] {
		t[l4+i] = byte(i * 7)
	}
	binary.BigEndian.PutUint16(t[b.CsumOffset:], onesSum(pseudo(p, l3, proto)))
	b.Segment, b.Headers = uint16(segment), uint16(l3+l4)
	return b
}

// What a super-packet stands for comes out at the other end: complete packets, right in every field, whatever is lost on the way.
func TestSuperPacketsComeOutAsTheirPackets(t *testing.T) {
	for _, c := range []struct {
		name string
		v6   bool
		tcp  bool
		loss float64
	}{{"IPv4 TCP", false, true, 0}, {"IPv6 TCP", true, true, 0}, {"IPv4 UDP", false, false, 0}, {"IPv6 UDP", true, false, 0}, {"lossy", false, true, .05}} {
		t.Run(c.name, func(t *testing.T) {
			link1 := link.Config{Rate: 50 * mbit, Delay: 8 * ms, Queue: 100 * ms, Loss: c.loss}
			links, proto := []link.Config{link1}, uint8(protoUDP) // nobody orders UDP
			if c.tcp {
				links, proto = append(links, linkA), protoTCP
			}
			p := newPair(t, 1, links...)
			p.run(1000*ms, nil)
			const payload, segment = 20_000, 1300
			whole := superPacket(c.v6, proto, payload, segment)
			want := append([]byte(nil), whole.Bytes()[whole.Headers:]...)
			l4 := int(whole.CsumStart)
			headers := int(whole.Headers)
			p.ends[0].s.PushPackets(p.now, []*buf.Buf{whole})
			p.run(3000*ms, nil)
			got := p.ends[1].got
			if len(got) != (payload+segment-1)/segment {
				t.Fatalf("%d packets, want %d", len(got), (payload+segment-1)/segment)
			}
			var data []byte
			for i, q := range got {
				if !c.v6 {
					if int(binary.BigEndian.Uint16(q[2:])) != len(q) || onesSum(q[:20]) != 0xffff || binary.BigEndian.Uint16(q[4:]) != uint16(0xfffe+i) {
						t.Fatalf("packet %d of %d bytes: IPv4 header %x", i, len(q), q[:20])
					}
				} else if int(binary.BigEndian.Uint16(q[4:]))+40 != len(q) {
					t.Fatalf("packet %d of %d bytes: IPv6 header %x", i, len(q), q[:40])
				}
				at := udpChecksumAt
				if c.tcp {
					at = tcpChecksumAt
					if s := binary.BigEndian.Uint32(q[l4+4:]) - 0xfffffff0; int(s) != i*segment {
						t.Errorf("packet %d begins at %d", i, s)
					}
					flags := byte(0x10)
					if i == 0 {
						flags |= flagCWR
					}
					if i == len(got)-1 {
						flags |= flagPSH | flagFIN
					}
					if q[l4+13] != flags {
						t.Errorf("packet %d has flags %#x, want %#x", i, q[l4+13], flags)
					}
				} else if int(binary.BigEndian.Uint16(q[l4+4:])) != len(q)-l4 {
					t.Errorf("packet %d of %d bytes has a UDP length of %d", i, len(q), binary.BigEndian.Uint16(q[l4+4:]))
				}
				if f := binary.BigEndian.Uint16(q[l4+at:]); f != onesSum(pseudo(q, l4, proto)) {
					t.Errorf("packet %d has the pseudo header sum %#x, want %#x", i, f, onesSum(pseudo(q, l4, proto)))
				}
				data = append(data, q[headers:]...)
			}
			if !bytes.Equal(data, want) {
				t.Error("the payload has changed")
			}
		})
	}
}

// Fields that do not agree with the headers are refused, and nothing panics.
func TestUnsoundSuperPacketsAreRefused(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.run(500*ms, nil)
	for name, spoil := range map[string]func(b *buf.Buf){
		"no checksum":         func(b *buf.Buf) { b.CsumStart, b.CsumOffset = 0, 0 },
		"checksum elsewhere":  func(b *buf.Buf) { b.CsumStart += 4 },
		"UDP checksum in TCP": func(b *buf.Buf) { b.CsumOffset = udpChecksumAt },
		"headers too short":   func(b *buf.Buf) { b.Headers -= 4 },
		"headers too long":    func(b *buf.Buf) { b.Headers = uint16(b.Len()) },
		"TCP header too long": func(b *buf.Buf) { b.Bytes()[32] = 15 << 4 },
		"cut short":           func(b *buf.Buf) { b.Truncate(b.Len() - 1) },
		"fragment":            func(b *buf.Buf) { b.Bytes()[6] = 0x20 },
	} {
		before := p.ends[0].s.drops.Malformed
		b := superPacket(false, protoTCP, 5000, 1300)
		spoil(b)
		p.ends[0].s.PushPackets(p.now, []*buf.Buf{b})
		p.run(p.now+100*ms, nil)
		if p.ends[0].s.drops.Malformed != before+1 {
			t.Errorf("%s: not refused", name)
		}
	}
	if len(p.ends[1].got) > 0 {
		t.Errorf("%d packets came out", len(p.ends[1].got))
	}
}
