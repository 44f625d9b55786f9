package sim

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/bondd/bondd/tunnel/buf"
)

const (
	ipHeader  = 20
	tcpHeader = 20
	udpHeader = 8
	// tsOption is what the timestamps option takes in every segment, padded.
	tsOption = 12

	protoTCP = 6
	protoUDP = 17

	flagFIN = 1
	flagSYN = 2
	flagPSH = 8
	flagACK = 16

	// clientPort and serverPort are the first of the ports in use: the flow
	// number is added to the client's.
	clientPort = 40000
	serverPort = 5001
)

var (
	// clientAddr is what the client's packets carry behind the gateway's
	// address translation: the gateway's inner address.
	clientAddr = netip.AddrFrom4([4]byte{10, 177, 0, 2})
	serverAddr = netip.AddrFrom4([4]byte{198, 51, 100, 10})
)

// packet is what a host understands of an IP packet of this world.
type packet struct {
	flow       int
	fromClient bool
	proto      uint8
	id         uint16 // identification: counts the packets of the flow and direction
	ce         bool
	size       int // of the whole packet

	// TCP
	seq, ack     uint32
	flags        uint8
	window       uint16
	mss          uint16 // 0 when absent
	tsVal, tsEcr uint32 // milliseconds
	sacks        int
	sack         [4]span32

	payload []byte
}

type span32 struct{ from, to uint32 }

var errPacket = errors.New("sim: a host received a packet that was never sent like this")

// putIP writes the IPv4 header of a packet of the given flow, checksum included.
func putIP(p []byte, proto uint8, fromClient bool, id uint16) {
	src, dst := clientAddr.As4(), serverAddr.As4()
	if !fromClient {
		src, dst = dst, src
	}
	p[0], p[1] = 0x45, 0
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], id)
	p[6], p[7] = 0x40, 0 // do not fragment
	p[8], p[9] = 63, proto
	p[10], p[11] = 0, 0
	copy(p[12:16], src[:])
	copy(p[16:20], dst[:])
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:ipHeader])))
}

func putPorts(p []byte, flow int, fromClient bool) {
	src, dst := uint16(clientPort+flow), uint16(serverPort)
	if !fromClient {
		src, dst = dst, src
	}
	binary.BigEndian.PutUint16(p, src)
	binary.BigEndian.PutUint16(p[2:], dst)
}

// newTCP builds a segment with n bytes of payload: 4 bytes of the sequence
// number at the start, then zeros.
func newTCP(s *packet, n int) *buf.Buf {
	opts := tsOption
	if s.mss != 0 {
		opts += 8
	}
	if s.sacks > 0 {
		opts += 4 + 8*s.sacks
	}
	b := buf.Get()
	p := b.Extend(ipHeader + tcpHeader + opts + n)
	putIP(p, protoTCP, s.fromClient, s.id)
	t := p[ipHeader:]
	putPorts(t, s.flow, s.fromClient)
	binary.BigEndian.PutUint32(t[4:], s.seq)
	binary.BigEndian.PutUint32(t[8:], s.ack)
	t[12], t[13] = uint8((tcpHeader+opts)/4)<<4, s.flags
	binary.BigEndian.PutUint16(t[14:], s.window)
	t[16], t[17], t[18], t[19] = 0, 0, 0, 0
	o := t[tcpHeader : tcpHeader+opts]
	if s.mss != 0 {
		o[0], o[1] = 2, 4
		binary.BigEndian.PutUint16(o[2:], s.mss)
		o[4], o[5] = 4, 2 // SACK permitted
		o[6], o[7] = 1, 1
		o = o[8:]
	}
	o[0], o[1], o[2], o[3] = 1, 1, 8, 10
	binary.BigEndian.PutUint32(o[4:], s.tsVal)
	binary.BigEndian.PutUint32(o[8:], s.tsEcr)
	if s.sacks > 0 {
		o = o[tsOption:]
		o[0], o[1], o[2], o[3] = 1, 1, 5, uint8(2+8*s.sacks)
		for i, r := range s.sack[:s.sacks] {
			binary.BigEndian.PutUint32(o[4+8*i:], r.from)
			binary.BigEndian.PutUint32(o[8+8*i:], r.to)
		}
	}
	body := t[tcpHeader+opts:]
	clear(body)
	covered := t[:tcpHeader+opts] // the zeros behind add nothing to the sum
	if n >= 4 {
		binary.BigEndian.PutUint32(body, s.seq)
		covered = t[:tcpHeader+opts+4]
	}
	pseudo := sum(p[12:20]) + protoTCP + uint32(len(t))
	binary.BigEndian.PutUint16(t[16:], ^fold(pseudo+sum(covered)))
	return b
}

// newUDP builds a datagram of size bytes in all whose payload begins with body.
func newUDP(flow int, fromClient bool, id uint16, size int, body []byte) *buf.Buf {
	b := buf.Get()
	p := b.Extend(size)
	clear(p)
	putIP(p, protoUDP, fromClient, id)
	u := p[ipHeader:]
	putPorts(u, flow, fromClient)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	n := copy(u[udpHeader:], body)
	pseudo := sum(p[12:20]) + protoUDP + uint32(len(u))
	c := ^fold(pseudo + sum(u[:udpHeader+n+n%2]))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(u[6:], c)
	return b
}

// parse reads a packet, and proves on the way that the bond has not changed it.
func parse(p []byte, out *packet) error {
	*out = packet{size: len(p)}
	if len(p) < ipHeader+udpHeader || p[0] != 0x45 || int(binary.BigEndian.Uint16(p[2:])) != len(p) {
		return errPacket
	}
	out.proto = p[9]
	out.id = binary.BigEndian.Uint16(p[4:])
	out.ce = p[1]&3 == 3
	t := p[ipHeader:]
	src, dst := binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	port := dst
	if dst == serverPort {
		out.fromClient, port = true, src
	}
	out.flow = int(port) - clientPort
	switch out.proto {
	case protoUDP:
		out.payload = t[udpHeader:]
		return nil
	case protoTCP:
		return parseTCP(t, out)
	}
	return errPacket
}

func parseTCP(t []byte, out *packet) error {
	if len(t) < tcpHeader {
		return errPacket
	}
	out.seq = binary.BigEndian.Uint32(t[4:])
	out.ack = binary.BigEndian.Uint32(t[8:])
	out.flags = t[13]
	out.window = binary.BigEndian.Uint16(t[14:])
	head := int(t[12]>>4) * 4
	if head < tcpHeader || head > len(t) {
		return errPacket
	}
	for o := t[tcpHeader:head]; len(o) > 0; {
		switch {
		case o[0] == 1:
			o = o[1:]
			continue
		case len(o) < 2 || int(o[1]) < 2 || int(o[1]) > len(o):
			return errPacket
		case o[0] == 2:
			out.mss = binary.BigEndian.Uint16(o[2:])
		case o[0] == 5:
			for i := 2; i+8 <= int(o[1]) && out.sacks < len(out.sack); i += 8 {
				out.sack[out.sacks] = span32{binary.BigEndian.Uint32(o[i:]), binary.BigEndian.Uint32(o[i+4:])}
				out.sacks++
			}
		case o[0] == 8:
			out.tsVal = binary.BigEndian.Uint32(o[2:])
			out.tsEcr = binary.BigEndian.Uint32(o[6:])
		}
		o = o[o[1]:]
	}
	out.payload = t[head:]
	if n := len(out.payload); n >= 4 && (binary.BigEndian.Uint32(out.payload) != out.seq || n > 4 && out.payload[n-1] != 0) {
		return errPacket
	}
	return nil
}

// sum is the one's complement sum of RFC 1071, not yet folded, of an even
// number of bytes.
func sum(p []byte) uint32 {
	var s uint32
	for ; len(p) >= 2; p = p[2:] {
		s += uint32(p[0])<<8 | uint32(p[1])
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
