package sim

import (
	"encoding/binary"
	"fmt"
	"time"
)

// udpFlow is either a datagram stream of constant rate, one way, as of a paced
// QUIC sender, or (echo) a ping: the client sends and the server answers.
type udpFlow struct {
	from, to *host // from sends, or pings
	flow     int
	timer    actor
	size     int // IP bytes
	every    time.Duration
	next     time.Duration
	stop     time.Duration
	echo     bool
	seq      uint64
	replies  uint16
	onData   func(now time.Duration, n int)

	// Results: packets sent, and the delay of each that arrived (round trip
	// for pings), with the instant at which it left.
	sent      uint64
	sentTimes []time.Duration
	delays    []delaySample
}

type delaySample struct{ sent, delay time.Duration }

// udpBody is the sequence number and the instant of sending.
const udpBody = 16

func newUDPFlow(from, to *host, flow, size int, every time.Duration, echo bool) *udpFlow {
	u := &udpFlow{from: from, to: to, flow: flow, size: max(size, ipHeader+udpHeader+udpBody), every: every, echo: echo, stop: Never}
	u.timer = from.clock.add(fmt.Sprintf("udp %d %s", flow, from.name), u.fire)
	return u
}

func (u *udpFlow) start(now time.Duration) {
	u.next = now
	u.from.clock.set(u.timer, now)
}

func (u *udpFlow) fire(now time.Duration) {
	if now >= u.stop {
		return
	}
	var body [udpBody]byte
	binary.BigEndian.PutUint64(body[:], u.seq)
	binary.BigEndian.PutUint64(body[8:], uint64(now))
	u.from.send(newUDP(u.flow, u.from.client, uint16(u.seq), u.size, body[:]))
	u.seq++
	u.sent++
	u.sentTimes = append(u.sentTimes, now)
	u.next += u.every
	u.from.clock.set(u.timer, u.next)
}

// receive takes a packet of the flow at one of the two hosts.
func (u *udpFlow) receive(now time.Duration, client bool, p *packet) {
	if len(p.payload) < udpBody {
		return
	}
	sent := time.Duration(binary.BigEndian.Uint64(p.payload[8:]))
	if u.echo && client != u.from.client {
		u.to.send(newUDP(u.flow, client, u.replies, u.size, p.payload[:udpBody]))
		u.replies++
		return
	}
	u.delays = append(u.delays, delaySample{sent, now - sent})
	u.onData(now, p.size-ipHeader-udpHeader)
}
