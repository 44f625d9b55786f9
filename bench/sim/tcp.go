package sim

import (
	"fmt"
	"time"

	"github.com/bondd/bondd/tunnel/buf"
)

// TCPConfig chooses the variants of the TCP model. The zero value is a Linux
// host with its defaults.
type TCPConfig struct {
	// BBR uses BBR version 1 instead of CUBIC.
	BBR bool
	// HyStartPP uses HyStart++ (RFC 9406) in CUBIC's slow start instead of
	// the HyStart of Linux.
	HyStartPP bool
	// GRO: segments that arrive at one instant are acknowledged as one, as
	// behind a network card that coalesces. Without it every second segment
	// is, as behind a veth or a TUN device.
	GRO bool
	// Limit of the receive buffer; 0 is tcpReceiveBuffer.
	ReceiveBuffer int
}

const (
	// tcpReceiveBuffer and tcpSendBuffer are the defaults of net.ipv4.tcp_rmem
	// and tcp_wmem (third value) in bytes; about half of the receive buffer is
	// overhead of the packets in it, and cannot be advertised.
	tcpReceiveBuffer = 6 << 20
	tcpSendBuffer    = 4 << 20
	tcpWindowScale   = 7
	tcpInitialWindow = 10 // RFC 6928

	synTimeout = time.Second // RFC 6298
)

type tcpState uint8

const (
	tcpClosed tcpState = iota
	tcpListen
	tcpSynSent
	tcpSynReceived
	tcpEstablished
)

// conn is one end of a TCP connection. Data flows from one end to the other;
// the receiving end only acknowledges.
type conn struct {
	cfg    TCPConfig
	host   *host
	flow   int
	client bool
	mtu    func() int
	timer  actor
	state  tcpState
	id     uint16
	isn    uint32 // ours; data byte 0 has number isn+1
	peer   uint32 // theirs
	synAt  time.Duration
	synRTO time.Duration
	synNum int

	tsRecent uint32
	lastSent uint32 // tsVal of the last ACK, for the receiver's RTT

	sends bool // this end has the data
	snd   sender
	rcv   receiver

	// onData is told of bytes that arrived in order.
	onData func(now time.Duration, n int)
}

func newConn(h *host, cfg TCPConfig, flow int, client, sends bool) *conn {
	c := &conn{cfg: cfg, host: h, mtu: h.mtu, flow: flow, client: client, sends: sends}
	c.isn = h.rng.Uint32()
	if !client {
		c.state = tcpListen
	}
	c.timer = h.clock.add(fmt.Sprintf("tcp %d %s", flow, h.name), c.onTimer)
	return c
}

// millis is the clock of the timestamps option. It starts at 1: 0 means none.
func millis(now time.Duration) uint32 { return uint32(now/time.Millisecond) + 1 }

// connect starts the handshake.
func (c *conn) connect(now time.Duration) {
	c.state, c.synRTO = tcpSynSent, synTimeout
	c.sendSyn(now)
}

func (c *conn) sendSyn(now time.Duration) {
	s := packet{flags: flagSYN, seq: c.isn, window: 65535, mss: uint16(c.mtu() - ipHeader - tcpHeader)}
	if c.state == tcpSynReceived {
		s.flags |= flagACK
		s.ack = c.peer + 1
	}
	c.synNum++
	if c.synNum == 1 {
		c.synAt = now
	}
	c.output(now, &s, 0)
	c.host.clock.set(c.timer, now+c.synRTO)
}

// output stamps and sends one segment.
func (c *conn) output(now time.Duration, s *packet, n int) {
	s.flow, s.fromClient, s.id = c.flow, c.client, c.id
	c.id++
	s.tsVal, s.tsEcr = millis(now), c.tsRecent
	c.host.send(newTCP(s, n))
}

func (c *conn) onTimer(now time.Duration) {
	switch c.state {
	case tcpSynSent, tcpSynReceived:
		c.synRTO *= 2
		c.sendSyn(now)
	case tcpEstablished:
		if c.sends {
			c.sendTimer(now)
		} else {
			c.receiveTimer(now)
		}
	}
}

// receive takes one segment; more tells that another of the same connection
// follows at the same instant (GRO).
func (c *conn) receive(now time.Duration, p *packet, more bool) {
	if p.flags&flagSYN != 0 {
		c.receiveSyn(now, p)
		return
	}
	if c.state == tcpSynReceived && p.flags&flagACK != 0 && p.ack == c.isn+1 {
		c.establish(now)
	}
	if c.state != tcpEstablished {
		return
	}
	if c.sends {
		if p.tsVal-c.tsRecent < 1<<31 {
			c.tsRecent = p.tsVal
		}
		c.onAck(now, p)
	} else if len(p.payload) > 0 {
		c.onSegment(now, p, more)
	}
}

func (c *conn) receiveSyn(now time.Duration, p *packet) {
	c.tsRecent = p.tsVal
	switch {
	case c.state == tcpListen:
		c.peer, c.state, c.synRTO = p.seq, tcpSynReceived, synTimeout
		c.snd.mss = min(c.mtu()-ipHeader-tcpHeader, int(p.mss)) - tsOption
		c.sendSyn(now)
	case c.state == tcpSynReceived: // the SYN came again
		c.sendSyn(now)
	case c.state == tcpSynSent && p.flags&flagACK != 0 && p.ack == c.isn+1:
		c.peer = p.seq
		c.snd.mss = min(c.mtu()-ipHeader-tcpHeader, int(p.mss)) - tsOption
		c.state = tcpEstablished // so that the ACK goes out in the right state
		c.output(now, &packet{flags: flagACK, seq: c.isn + 1, ack: c.peer + 1, window: c.rcv.windowField()}, 0)
		c.establish(now)
	case c.state == tcpEstablished:
		c.output(now, &packet{flags: flagACK, seq: c.isn + 1, ack: c.peer + 1 + uint32(c.rcv.nxt), window: c.rcv.windowField()}, 0)
	}
}

func (c *conn) establish(now time.Duration) {
	c.state = tcpEstablished
	c.host.clock.set(c.timer, Never)
	c.rcv.init(c)
	if !c.sends {
		return
	}
	c.startSending(now)
	if c.synNum == 1 {
		c.sampleRTT(now, now-c.synAt)
	}
	c.transmit(now)
	c.armSender(now)
}

// host is one end of the world: the device on the LAN, or the server.
type host struct {
	name   string
	client bool
	clock  *clock
	rng    randomness
	mtu    func() int
	conns  []*conn    // by flow; nil where the flow is not TCP
	udps   []*udpFlow // by flow; nil where the flow is not UDP
	out    []*buf.Buf // sent at this instant, to be taken by the network
	spare  []*buf.Buf
	seen   []window // per flow: what arrived
	err    error

	batch []packet
}

type randomness interface {
	Uint32() uint32
	Float64() float64
}

func (h *host) send(b *buf.Buf) { h.out = append(h.out, b) }

// receive takes the packets that arrive at one instant, and their buffers.
func (h *host) receive(now time.Duration, bufs []*buf.Buf) {
	h.batch = h.batch[:0]
	for _, b := range bufs {
		var p packet
		if err := parse(b.Bytes(), &p); err != nil || p.fromClient == h.client || p.flow < 0 || p.flow >= len(h.seen) {
			h.fail(fmt.Errorf("%w (at %v, host %s, %d bytes)", errPacket, now, h.name, b.Len()))
			continue
		}
		if !h.seen[p.flow].add(p.id) {
			h.fail(fmt.Errorf("sim: host %s received packet %d of flow %d twice (at %v)", h.name, p.id, p.flow, now))
		}
		h.batch = append(h.batch, p)
	}
	for i := range h.batch {
		p := &h.batch[i]
		if c := h.conns[p.flow]; c != nil && p.proto == protoTCP {
			c.receive(now, p, c.cfg.GRO && i+1 < len(h.batch) && h.batch[i+1].flow == p.flow)
		} else if u := h.udps[p.flow]; u != nil && p.proto == protoUDP {
			u.receive(now, h.client, p)
		}
	}
	for _, b := range bufs {
		b.Release()
	}
}

func (h *host) fail(err error) {
	if h.err == nil {
		h.err = err
	}
}
