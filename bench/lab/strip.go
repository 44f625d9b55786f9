package lab

import "encoding/binary"

// optMPTCP is the TCP option of MPTCP (RFC 8684).
const optMPTCP = 30

// stripMPTCP does to an IPv4 packet what some boxes do: a TCP header loses its MPTCP options. They become no-operations, as the length stays.
func stripMPTCP(p []byte) {
	const ipv4, tcp, minTCP = 20, 6, 20
	if len(p) < ipv4 || p[0]>>4 != 4 || p[9] != tcp || binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return
	}
	head := int(p[0]&15) * 4
	if len(p) < head+minTCP {
		return
	}
	seg := p[head:]
	end := int(seg[12]>>4) * 4
	if end < minTCP || end > len(seg) {
		return
	}
	found := false
	for i := minTCP; i < end && seg[i] != 0; {
		n := 1
		if seg[i] != 1 {
			if i+1 >= end || int(seg[i+1]) < 2 || i+int(seg[i+1]) > end {
				break
			}
			n = int(seg[i+1])
		}
		if seg[i] == optMPTCP {
			found = true
			for j := range n {
				seg[i+j] = 1
			}
		}
		i += n
	}
	if !found {
		return
	}
	// The checksum anew, over the pseudo-header (RFC 9293 3.1) and the segment.
	seg[16], seg[17] = 0, 0
	sum := uint32(tcp) + uint32(len(seg))
	for _, part := range [][]byte{p[12:20], seg} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
		if len(part)%2 == 1 {
			sum += uint32(part[len(part)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(seg[16:], ^uint16(sum))
}

// isUDP tells whether an IPv4 packet is UDP.
func isUDP(p []byte) bool {
	const udp = 17
	return len(p) >= 20 && p[0]>>4 == 4 && p[9] == udp
}
