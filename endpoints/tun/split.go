package tun

import "encoding/binary"

// splitter cuts one super-packet into the packets it stands for. It keeps a reference to the super-packet
// from load until done.
type splitter struct {
	pkt     []byte
	ip      ipHeader
	virtio  virtioHeader
	headers int    // bytes of network and transport header, repeated in every packet
	next    int    // offset of the payload not yet handed out
	index   uint16 // packets handed out
	seq     uint32 // TCP sequence number of the super-packet
	id      uint16 // IPv4 identification of the super-packet
	pseudo  uint16 // pseudo header sum of the super-packet, without its length
	more    bool
}

// load takes a packet that was read behind header v. It is false for one that is malformed or that v does not fit.
func (s *splitter) load(v virtioHeader, pkt []byte) bool {
	s.more = false
	ip, ok := parseIP(pkt)
	if !ok || ip.total > len(pkt) {
		return false
	}
	*s = splitter{pkt: pkt[:ip.total], ip: ip, virtio: v}
	partial := v.flags&virtioNeedsCsum != 0
	if partial && (v.csumStart == 0 || !checkPartial(ip, int(v.csumStart), int(v.csumOffset))) {
		return false
	}
	gso := v.gsoType &^ virtioGSOECN
	if gso == virtioGSONone {
		s.more = true
		return true
	}
	// A super-packet without an unfinished checksum cannot be: its one checksum could not serve its segments.
	if !partial || v.gsoSize == 0 || ip.pieces {
		return false
	}
	switch {
	case gso == virtioGSOTCPv4 && !ip.v6 && ip.proto == protoTCP && int(v.csumStart) == ip.len:
	case gso == virtioGSOTCPv6 && ip.v6: // csumStart may lie behind extension headers
	case gso == virtioGSOUDP && (ip.v6 || ip.proto == protoUDP && int(v.csumStart) == ip.len):
		return s.loadUDP()
	default:
		return false
	}
	start := int(v.csumStart)
	if v.csumOffset != tcpChecksumAt || start+tcpHeaderLen > ip.total {
		return false
	}
	tcp := s.pkt[start:]
	s.headers = start + int(tcp[12]>>4)*4
	if s.headers < start+tcpHeaderLen || s.headers >= ip.total {
		return false
	}
	s.next = s.headers
	s.seq = binary.BigEndian.Uint32(tcp[4:])
	if !ip.v6 {
		s.id = binary.BigEndian.Uint16(s.pkt[4:])
	}
	// RFC 1624: subtracting is adding the complement. The length is put back per segment, whatever address a routing
	// header made the kernel use.
	s.pseudo = add16(binary.BigEndian.Uint16(tcp[tcpChecksumAt:]), ^uint16(ip.total-start))
	s.more = true
	return true
}

// loadUDP is the rest of load for a UDP super-packet.
func (s *splitter) loadUDP() bool {
	start := int(s.virtio.csumStart)
	s.headers = start + udpHeaderLen
	if s.virtio.csumOffset != udpChecksumAt || s.headers >= s.ip.total {
		return false
	}
	s.next = s.headers
	if !s.ip.v6 {
		s.id = binary.BigEndian.Uint16(s.pkt[4:])
	}
	s.pseudo = add16(binary.BigEndian.Uint16(s.pkt[start+udpChecksumAt:]), ^uint16(s.ip.total-start))
	s.more = true
	return true
}

// whole hands out what was loaded without cutting it; p has it in its room already.
func (s *splitter) whole(p *Packet) (packets int) {
	p.Data = s.pkt
	p.CsumStart, p.CsumOffset, p.Segment, p.Headers = 0, 0, 0, 0
	if s.virtio.flags&virtioNeedsCsum != 0 {
		p.CsumStart, p.CsumOffset = s.virtio.csumStart, s.virtio.csumOffset
	}
	packets = 1
	if payload := len(s.pkt) - s.headers; s.headers > 0 && payload > int(s.virtio.gsoSize) {
		p.Segment, p.Headers = s.virtio.gsoSize, uint16(s.headers)
		packets = (payload + int(s.virtio.gsoSize) - 1) / int(s.virtio.gsoSize)
	}
	s.more, s.pkt = false, nil
	return packets
}

// size is the length of the packet that cut would make now; only while s.more.
func (s *splitter) size() int {
	if s.headers == 0 {
		return len(s.pkt)
	}
	return s.headers + min(int(s.virtio.gsoSize), len(s.pkt)-s.next)
}

// skip passes over one packet.
func (s *splitter) skip() {
	if s.headers == 0 {
		s.more = false
		return
	}
	s.next += min(int(s.virtio.gsoSize), len(s.pkt)-s.next)
	s.index++
	s.more = s.next < len(s.pkt)
}

// cut writes the next packet into p, which has room for size bytes.
func (s *splitter) cut(p *Packet) {
	size := s.size()
	p.Data = p.Data[:size]
	p.CsumStart, p.CsumOffset, p.Segment, p.Headers = 0, 0, 0, 0
	if s.virtio.flags&virtioNeedsCsum != 0 {
		p.CsumStart, p.CsumOffset = s.virtio.csumStart, s.virtio.csumOffset
	}
	if s.headers == 0 {
		copy(p.Data, s.pkt)
		s.more = false
		return
	}
	copy(p.Data, s.pkt[:s.headers])
	copy(p.Data[s.headers:], s.pkt[s.next:])
	if !s.ip.v6 {
		binary.BigEndian.PutUint16(p.Data[4:], s.id+s.index)
	}
	s.ip.setTotal(p.Data, size)

	start := int(s.virtio.csumStart)
	if s.virtio.csumOffset == udpChecksumAt {
		u := p.Data[start:]
		binary.BigEndian.PutUint16(u[4:], uint16(size-start))
		binary.BigEndian.PutUint16(u[udpChecksumAt:], add16(s.pseudo, uint16(size-start)))
		s.skip()
		return
	}
	tcp := p.Data[start:]
	binary.BigEndian.PutUint32(tcp[4:], s.seq+uint32(s.next-s.headers))
	if s.index > 0 {
		tcp[13] &^= flagCWR // one answer per reaction (RFC 3168 §6.1.2)
	}
	s.skip()
	if s.more {
		tcp[13] &^= flagFIN | flagPSH
	}
	binary.BigEndian.PutUint16(tcp[tcpChecksumAt:], add16(s.pseudo, uint16(size-start)))
}
