package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bondd/bondd/endpoints/tun"
	"github.com/bondd/bondd/endpoints/udp"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
	"github.com/bondd/bondd/tunnel/wire"
)

// Sizes of what is measured: full datagrams of a line with an MTU of 1500.
const (
	rungDatagram = 1472 // UDP payload
	rungSegment  = 1388 // TCP payload of an inner packet
	rungHeaders  = 52   // IPv4 and TCP with timestamps
	rungPieces   = 46   // of a super-packet
	leastTurns   = 1000 // before it is said that nothing moves
)

// rung is one step of the ladder: work returns the bytes of user data it moved in one turn.
type rung struct {
	name string
	work func() (int, error)
}

// cost is the processor time of a rung in seconds per 10^9 bytes, measured over about d.
func (r rung) cost(d time.Duration) (float64, error) {
	if _, err := r.work(); err != nil { // the first turn is not like the others
		return 0, err
	}
	bytes := 0
	begin, from := time.Now(), processorTime()
	// What is sent in one turn may arrive in a later one: on a busy machine a short time holds few turns.
	for turns := 0; time.Since(begin) < d || bytes == 0 && turns < leastTurns; turns++ {
		n, err := r.work()
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	if bytes == 0 {
		return 0, errors.New("nothing was moved")
	}
	return (processorTime() - from).Seconds() / (float64(bytes) / 1e9), nil
}

// processorTime is what this process has used, user and system.
func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// smallRungs need nothing of the system.
func smallRungs(suites []seal.Suite) []rung {
	payload := make([]byte, rungDatagram)
	room := make([]byte, 0, 2*rungDatagram)
	rungs := []rung{
		{"no-op: one copy", func() (int, error) { room = append(room[:0], payload...); return len(payload), nil }},
		{"wire: header and frame, both ways", func() (int, error) {
			b := room[:wire.HeaderLen]
			wire.Header{Index: 5, Path: 2, PN: 77}.Put(b)
			b = wire.AppendTimestamp(b, 1234)
			b = wire.AppendOrderedHeader(b, wire.KindOrdered, true, 1, 2, rungDatagram)
			b = b[:len(b)+rungDatagram]
			if _, err := wire.ParseHeader(b); err != nil {
				return 0, err
			}
			_, frames, err := wire.ParseTimestamp(b[wire.HeaderLen:])
			r := wire.NewReader(frames)
			_, body, ok := r.Next()
			if _, _, _, bad := wire.ParseOrdered(body); err != nil || bad != nil || !ok {
				return 0, errors.New("the frame does not come back")
			}
			return rungDatagram, nil
		}},
	}
	for _, suite := range suites {
		rungs = append(rungs, sealRung(suite))
	}
	return rungs
}

func sealRung(suite seal.Suite) rung {
	sealer, err1 := seal.NewSealer(suite, [32]byte{1})
	opener, err2 := seal.NewOpener(suite, [32]byte{1})
	pn := uint64(0)
	room := make([]byte, 0, 2*rungDatagram)
	return rung{"seal and open, " + suite.String(), func() (int, error) {
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		pn++
		dg := sealer.Seal(room[:rungDatagram], wire.HeaderLen, 1, pn)
		_, err := opener.Open(0, dg, wire.HeaderLen, 0, 1, pn)
		return rungDatagram, err
	}}
}

// sessions are two ends without a network between, on one path without a limit.
type sessions struct {
	now  time.Duration
	ends [2]*tunnel.Session
	outs [132]tunnel.Out
	as   [132]tunnel.Arrival
	bufs [132]*buf.Buf
	send func([]tunnel.Out) error // instead of handing over directly; nil
}

func newSessions(suite seal.Suite) (*sessions, error) {
	s := &sessions{}
	secrets := [2][32]byte{{1}, {2}}
	for i := range s.ends {
		var err error
		s.ends[i], err = tunnel.New(0, tunnel.Config{
			Initiator: i == 0, LocalIndex: uint32(10 + i), PeerIndex: uint32(11 - i), Suite: suite, SendSecret: secrets[i], RecvSecret: secrets[1-i],
		}, rand.New(rand.NewPCG(1, uint64(i))))
		if err != nil {
			return nil, err
		}
	}
	if _, err := s.ends[0].AddPath(0, tunnel.PathSpec{Name: "a", To: tunnel.Endpoint{Remote: rungPeer}, MTU: 1500}); err != nil {
		return nil, err
	}
	for range 3000 { // three seconds of its own time: proven, MTU found
		if _, err := s.turn(nil); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var rungPeer = netip.MustParseAddrPort("127.0.0.1:7117")

// turn lets a millisecond pass, in which x, if there is one, goes from end 0 to end 1. It returns the payload that came out.
func (s *sessions) turn(x *buf.Buf) (payload int, err error) {
	s.now += time.Millisecond
	if x != nil {
		s.bufs[0] = x
		s.ends[0].PushPackets(s.now, s.bufs[:1])
	}
	for side, e := range s.ends {
		far := s.ends[1-side]
		if e.Deadline() <= s.now {
			e.Advance(s.now)
		}
		for n := e.PullDatagrams(s.now, s.outs[:]); n > 0; n = e.PullDatagrams(s.now, s.outs[:]) {
			if side == 0 && s.send != nil {
				if err := s.send(s.outs[:n]); err != nil {
					return payload, err
				}
				continue
			}
			for i, o := range s.outs[:n] {
				s.as[i] = tunnel.Arrival{Buf: o.Buf, From: tunnel.Endpoint{Remote: rungPeer}, At: s.now}
			}
			far.PushDatagrams(s.now, s.as[:n])
		}
		for n := far.PullPackets(s.now, s.bufs[:]); n > 0; n = far.PullPackets(s.now, s.bufs[:]) {
			for _, b := range s.bufs[:n] {
				payload += b.Len() - rungHeaders
				b.Release()
			}
		}
		for _, ok := e.Event(); ok; _, ok = e.Event() {
		}
	}
	return payload, nil
}

// super is a super-packet of a TCP flow.
func super() *buf.Buf {
	b := buf.GetSuper()
	p := b.Extend(rungHeaders + rungPieces*rungSegment)
	clear(p[:rungHeaders])
	p[0], p[8], p[9] = 0x45, 64, 6
	p[2], p[3] = byte(len(p)>>8), byte(len(p))
	copy(p[12:], []byte{10, 177, 0, 1, 10, 177, 0, 2})
	p[21], p[23], p[32], p[33] = 1, 2, 8<<4, 0x10
	b.CsumStart, b.CsumOffset, b.Segment, b.Headers = 20, 16, rungSegment, rungHeaders
	return b
}

// packetRung is the session of the packet service, both ends, sealing included.
func packetRung(suite seal.Suite) (rung, error) {
	s, err := newSessions(suite)
	return rung{"session, packets, both ends, " + suite.String(), func() (int, error) { return s.turn(super()) }}, err
}

// streamRung is the same of the stream service.
func streamRung(suite seal.Suite) (rung, error) {
	s, err := newSessions(suite)
	if err != nil {
		return rung{}, err
	}
	id, err := s.ends[0].OpenStream(s.now, []byte("x"))
	if err != nil {
		return rung{}, err
	}
	block := make([]byte, 64<<10)
	accepted := false
	return rung{"session, stream, both ends, " + suite.String(), func() (int, error) {
		if s.ends[0].StreamRoom(id) > 0 {
			if err := s.ends[0].StreamWrite(s.now, id, block); err != nil {
				return 0, err
			}
		}
		if _, err := s.turn(nil); err != nil {
			return 0, err
		}
		got := 0
		for i, e := range s.ends {
			for ev, ok := e.StreamEvent(); ok; ev, ok = e.StreamEvent() {
				if i == 1 && ev.Kind == tunnel.StreamOpened && !accepted {
					accepted = true
					e.StreamAccept(s.now, ev.ID)
				}
			}
		}
		for n, _ := s.ends[1].StreamRead(s.now, id, s.bufs[:]); n > 0; n, _ = s.ends[1].StreamRead(s.now, id, s.bufs[:]) {
			for _, b := range s.bufs[:n] {
				got += b.Len()
				b.Release()
			}
		}
		return got, nil
	}}, err
}

// socketPair is two UDP sockets over the loopback.
type socketPair struct {
	from, to udp.Socket
	in       []udp.Datagram
	rooms    []*buf.Buf
}

func newSocketPair(ctx context.Context) (*socketPair, error) {
	p := &socketPair{}
	var err error
	local := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	if p.from, err = udp.Listen(ctx, udp.Options{Local: local}); err != nil {
		return nil, err
	}
	if p.to, err = udp.Listen(ctx, udp.Options{Local: local}); err != nil {
		p.from.Close()
		return nil, err
	}
	for range 16 {
		b := buf.GetSuper()
		p.rooms = append(p.rooms, b)
		p.in = append(p.in, udp.Datagram{})
	}
	return p, nil
}

func (p *socketPair) close() {
	p.from.Close()
	p.to.Close()
	for _, b := range p.rooms {
		b.Release()
	}
}

// move sends datagrams and receives them, and passes what came to f, if there is one.
func (p *socketPair) move(ds []udp.Datagram, f func(part []byte)) (int, error) {
	for i := range ds {
		ds[i].Peer = p.to.LocalAddr()
	}
	if _, err := p.from.WriteBatch(ds); err != nil {
		return 0, err
	}
	total := 0
	for got := 0; got < len(ds); {
		for i := range p.in {
			p.in[i].Data = p.rooms[i].Room()
		}
		n, err := p.to.ReadBatch(p.in)
		if err != nil {
			return total, err
		}
		for _, d := range p.in[:n] {
			segment := d.Segment
			if segment == 0 {
				segment = max(1, len(d.Data))
			}
			for from := 0; from < len(d.Data); from += segment {
				part := d.Data[from:min(from+segment, len(d.Data))]
				got++
				total += len(part)
				if f != nil {
					f(part)
				}
			}
		}
	}
	return total, nil
}

func (p *socketPair) rung() rung {
	payload := make([]byte, rungDatagram)
	ds := make([]udp.Datagram, 44)
	for i := range ds {
		ds[i].Data = payload
	}
	return rung{"UDP, send and receive", func() (int, error) { return p.move(ds, nil) }}
}

// tcpRung is what a stream costs beside its session: reading one connection and writing another.
func tcpRung() (rung, func(), error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return rung{}, nil, err
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return rung{}, nil, err
	}
	b, err := ln.Accept()
	if err != nil {
		a.Close()
		return rung{}, nil, err
	}
	out, in := make([]byte, 64<<10), make([]byte, 64<<10)
	return rung{"TCP, send and receive", func() (int, error) {
		if _, err := a.Write(out); err != nil {
			return 0, err
		}
		for got := 0; got < len(out); {
			n, err := b.Read(in)
			if err != nil {
				return 0, err
			}
			got += n
		}
		return len(out), nil
	}}, func() { a.Close(); b.Close() }, nil
}

// tunRung writes packets to a device as super-packets; the kernel has no route for them and drops them. Needs rights.
func tunRung() (rung, func(), error) {
	dev, err := tun.Open("", tun.Options{MTU: 1500, Offload: true})
	if err != nil {
		return rung{}, nil, err
	}
	if err := setUp(dev.Name()); err != nil {
		dev.Close()
		return rung{}, nil, err
	}
	whole := super()
	ps := make([]tun.Packet, rungPieces)
	for i := range ps {
		b := make([]byte, rungHeaders+rungSegment)
		copy(b, whole.Bytes()[:rungHeaders])
		b[2], b[3] = byte(len(b)>>8), byte(len(b))
		b[6] = 0x40
		seq := uint32(i * rungSegment)
		b[24], b[25], b[26], b[27] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
		ps[i] = tun.Packet{Data: fixSums(b), CsumStart: 20, CsumOffset: 16}
	}
	whole.Release()
	return rung{"TUN, write", func() (int, error) {
		_, err := dev.Write(ps)
		return rungPieces * rungSegment, err
	}}, func() { dev.Close() }, nil
}

// fixSums sets the header checksum, and the pseudo header sum of the unfinished TCP checksum, of an IPv4 packet.
func fixSums(b []byte) []byte {
	sum := func(s uint32, p []byte) uint32 {
		for i := 0; i+1 < len(p); i += 2 {
			s += uint32(p[i])<<8 | uint32(p[i+1])
		}
		for s > 0xffff {
			s = s&0xffff + s>>16
		}
		return s
	}
	h := ^sum(0, b[:20])
	b[10], b[11] = byte(h>>8), byte(h)
	t := sum(6+uint32(len(b)-20), b[12:20])
	b[36], b[37] = byte(t>>8), byte(t)
	return b
}

func setUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	return nil
}

// wholeRung is everything of a service that needs no rights, in one: a session's datagrams over sockets into the other session. What it
// really moves within a quota is held against what the ladder says.
func wholeRung(suite seal.Suite, p *socketPair) (rung, error) {
	s, err := newSessions(suite)
	if err != nil {
		return rung{}, err
	}
	ds := make([]udp.Datagram, 0, len(s.outs))
	s.send = func(outs []tunnel.Out) error {
		for len(outs) > 0 {
			ds = ds[:0]
			n := min(len(outs), 44)
			for _, o := range outs[:n] {
				ds = append(ds, udp.Datagram{Data: o.Buf.Bytes()})
			}
			i := 0
			_, err := p.move(ds, func(part []byte) {
				b := buf.Get()
				b.Append(part)
				s.as[i] = tunnel.Arrival{Buf: b, From: tunnel.Endpoint{Remote: rungPeer}, At: s.now}
				i++
			})
			for _, o := range outs[:n] {
				o.Buf.Release()
			}
			if err != nil {
				return err
			}
			s.ends[1].PushDatagrams(s.now, s.as[:i])
			outs = outs[n:]
		}
		return nil
	}
	return rung{"session and UDP together, " + suite.String(), func() (int, error) { return s.turn(super()) }}, nil
}
