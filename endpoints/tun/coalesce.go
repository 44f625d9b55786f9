package tun

import (
	"bytes"
	"encoding/binary"
)

const (
	// maxRun bounds it in packets. A full one of 536-byte packets, the smallest default segment size, has 123.
	maxRun = batchSize
	// maxUDPRun: UDP_MAX_SEGMENTS of kernels before 6.9.
	maxUDPRun = 64
)

// run is a number of adjacent packets that go down as one super-packet, or a single packet of any kind.
type run struct {
	packets []Packet
	ip      ipHeader
	headers int // network and transport header; 0: not a packet that could be joined
	udp     bool
	size    int  // payload of every packet but the last
	total   int  // bytes of the super-packet
	checked bool // the first packet's complete checksum has been verified
	ended   bool // nothing may follow: the last packet was short, or pushed
}

// nextRun takes the longest run from the front of ps, whose first packet has been validated. ps is not empty. uso says whether UDP
// packets may be joined too.
func nextRun(ps []Packet, uso bool) run {
	r := run{packets: ps[:1]}
	r.ip, r.headers = candidate(&ps[0])
	r.udp = r.ip.proto == protoUDP
	if r.headers == 0 || r.udp && !uso {
		return r
	}
	r.total = len(ps[0].Data)
	r.size = r.total - r.headers
	r.ended = r.pushed(&ps[0])
	most := maxRun
	if r.udp {
		most = maxUDPRun
	}
	for n := 1; n < min(len(ps), most) && r.accepts(&ps[n-1], &ps[n]); n++ {
		payload := len(ps[n].Data) - r.headers
		r.packets = ps[:n+1]
		r.total += payload
		r.ended = payload < r.size || r.pushed(&ps[n])
	}
	return r
}

// pushed tells whether nothing may follow p.
func (r *run) pushed(p *Packet) bool { return !r.udp && tcpFlags(p.Data, r.ip.len)&flagPSH != 0 }

func tcpFlags(b []byte, ipLen int) byte { return b[ipLen+13] }

// candidate returns the length of the headers of a packet that may take part in a run: TCP or UDP with payload, straight
// behind a network header without options or extensions, with a checksum, and no TCP flags but ACK, PSH and ECE. Otherwise 0.
func candidate(p *Packet) (ipHeader, int) {
	b := p.Data
	h, ok := parseIP(b)
	if !ok || h.total != len(b) || h.pieces || (!h.v6 && h.len != ipv4HeaderLen) {
		return h, 0
	}
	if h.proto == protoUDP {
		return h, udpCandidate(p, h)
	}
	if h.proto != protoTCP || len(b) < h.len+tcpHeaderLen {
		return h, 0
	}
	if p.CsumStart != 0 && (int(p.CsumStart) != h.len || p.CsumOffset != tcpChecksumAt) {
		return h, 0
	}
	if !h.v6 && sum16(b[:h.len]) != 0xffff {
		return h, 0 // a rewritten header would hide the fault
	}
	headers := h.len + int(b[h.len+12]>>4)*4
	flags := tcpFlags(b, h.len)
	if headers < h.len+tcpHeaderLen || headers >= len(b) || flags&flagACK == 0 || flags&^(flagACK|flagPSH|flagECE) != 0 {
		return h, 0
	}
	return h, headers
}

// udpCandidate is the rest of candidate for UDP.
func udpCandidate(p *Packet, h ipHeader) int {
	b := p.Data
	headers := h.len + udpHeaderLen
	switch {
	case len(b) <= headers, int(binary.BigEndian.Uint16(b[h.len+4:])) != len(b)-h.len, binary.BigEndian.Uint16(b[h.len+udpChecksumAt:]) == 0:
		return 0
	case p.CsumStart != 0 && (int(p.CsumStart) != h.len || p.CsumOffset != udpChecksumAt):
		return 0
	case !h.v6 && sum16(b[:h.len]) != 0xffff:
		return 0
	}
	return headers
}

// accepts tells whether q may follow p, the last packet of r: nothing that a later split would restore differently may differ.
func (r *run) accepts(p, q *Packet) bool {
	if r.ended {
		return false
	}
	h, headers := candidate(q)
	payload := len(q.Data) - headers
	if headers != r.headers || h.v6 != r.ip.v6 || h.proto != r.ip.proto || payload > r.size || r.total+payload > maxSuper {
		return false
	}
	a, b := p.Data, q.Data
	if h.v6 {
		// All but the payload length: version, class, flow label, next header, hop limit, addresses.
		if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:40], b[6:40]) {
			return false
		}
	} else {
		// All but length, identification and header checksum.
		if !bytes.Equal(a[:2], b[:2]) || !bytes.Equal(a[6:10], b[6:10]) || !bytes.Equal(a[12:20], b[12:20]) {
			return false
		}
		// The kernel numbers the packets of a split upwards. Without "don't fragment" the number has a meaning (RFC 6864).
		const dontFragment = 0x40
		if b[6]&dontFragment == 0 && binary.BigEndian.Uint16(b[4:]) != binary.BigEndian.Uint16(a[4:])+1 {
			return false
		}
	}
	ta, tb := a[h.len:headers], b[h.len:headers]
	if r.udp {
		return bytes.Equal(ta[:4], tb[:4]) && r.unharmed(q, h)
	}
	if !bytes.Equal(ta[:4], tb[:4]) || !bytes.Equal(ta[8:13], tb[8:13]) || // ports; acknowledgement, header length
		(ta[13]^tb[13])&^flagPSH != 0 || !bytes.Equal(ta[14:16], tb[14:16]) || // flags, window
		!bytes.Equal(ta[18:], tb[18:]) { // urgent pointer, options
		return false
	}
	if binary.BigEndian.Uint32(tb[4:]) != binary.BigEndian.Uint32(ta[4:])+uint32(len(a)-headers) {
		return false
	}
	return r.unharmed(q, h)
}

// unharmed tells whether the checksums of the first packet and of q can be trusted.
func (r *run) unharmed(q *Packet, h ipHeader) bool {
	// A super-packet gets a new checksum. Only a packet whose own one is right, or was never made, may take part:
	// otherwise damage would be sealed.
	if !r.checked {
		if !intact(&r.packets[0], r.ip) {
			r.ended = true
			return false
		}
		r.checked = true
	}
	return intact(q, h)
}

// intact tells whether the transport checksum is right, or, where it is unfinished, its pseudo header sum.
func intact(p *Packet, h ipHeader) bool {
	pseudo := pseudoSum(h.addrs(p.Data), h.proto, len(p.Data)-h.len)
	if p.CsumStart != 0 {
		field := binary.BigEndian.Uint16(p.Data[h.len+int(p.CsumOffset):])
		diff := add16(field, ^pseudo)
		return diff == 0 || diff == 0xffff // the two zeros of ones' complement
	}
	return add16(sum16(p.Data[h.len:]), pseudo) == 0xffff
}

// putHeaders writes the virtio header and the headers of the super-packet into b and returns how much of it they take. The payload
// of the packets follows. Only for runs of at least two.
func (r *run) putHeaders(b []byte) int {
	v := virtioHeader{
		flags:      virtioNeedsCsum,
		gsoType:    virtioGSOTCPv4,
		hdrLen:     uint16(r.headers),
		gsoSize:    uint16(r.size),
		csumStart:  uint16(r.ip.len),
		csumOffset: tcpChecksumAt,
	}
	switch {
	case r.udp:
		v.gsoType, v.csumOffset = virtioGSOUDP, udpChecksumAt
	case r.ip.v6:
		v.gsoType = virtioGSOTCPv6
	}
	v.put(b)
	h := b[virtioLen : virtioLen+r.headers]
	copy(h, r.packets[0].Data)
	r.ip.setTotal(h, r.total)
	if r.udp {
		u := h[r.ip.len:]
		binary.BigEndian.PutUint16(u[4:], uint16(r.total-r.ip.len))
		binary.BigEndian.PutUint16(u[udpChecksumAt:], pseudoSum(r.ip.addrs(h), protoUDP, r.total-r.ip.len))
		return virtioLen + r.headers
	}
	last := r.packets[len(r.packets)-1].Data
	tcp := h[r.ip.len:]
	tcp[13] |= tcpFlags(last, r.ip.len) & flagPSH
	binary.BigEndian.PutUint16(tcp[tcpChecksumAt:], pseudoSum(r.ip.addrs(h), protoTCP, r.total-r.ip.len))
	return virtioLen + r.headers
}
