package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// PingSpec asks for ICMP echoes at a steady pace. The far kernel answers them,
// and the near one stamps the answers: neither end waits for a process.
type PingSpec struct {
	Source   netip.Addr    `json:"source"`
	Target   netip.Addr    `json:"target"`
	Interval time.Duration `json:"interval"`
	Count    int           `json:"count"`
	Wait     time.Duration `json:"wait"`  // for the last answers
	First    bool          `json:"first"` // end with the first answer
	Fresh    bool          `json:"fresh"` // each echo has an identifier of its own: to a router, a flow
}

// Echo is one echo request.
type Echo struct {
	At  time.Duration `json:"at"`  // instant of sending (Now)
	RTT time.Duration `json:"rtt"` // negative: no answer
}

// Pings is a series of echoes.
type Pings []Echo

// RTTs are the round-trip times of the answered ones.
func (p Pings) RTTs() []time.Duration {
	var out []time.Duration
	for _, e := range p {
		if e.RTT >= 0 {
			out = append(out, e.RTT)
		}
	}
	return out
}

// Lost is the number of unanswered ones.
func (p Pings) Lost() int { return len(p) - len(p.RTTs()) }

// Silence is the longest time between the sending of two answered echoes (or
// from the first, or to the last, of the series).
func (p Pings) Silence() time.Duration {
	var longest time.Duration
	if len(p) == 0 {
		return 0
	}
	last := p[0].At
	for i, e := range p {
		if e.RTT >= 0 || i == len(p)-1 {
			longest = max(longest, e.At-last)
			last = e.At
		}
	}
	return longest
}

const (
	pingSize  = 56     // bytes behind the ICMP header, as ping(8) sends
	pingMagic = "bond" // tells our answers from others on the same identifier
)

// pingKind are the numbers that differ between the families.
type pingKind struct {
	domain, proto  int
	request, reply byte
	header         int // bytes before the ICMP header in what is received
}

// ping sends the echoes and waits for the answers.
func ping(_ context.Context, spec PingSpec) (Pings, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exactTimers()
	kind := pingKind{unix.AF_INET, unix.IPPROTO_ICMP, 8, 0, 20}
	if spec.Target.Is6() {
		kind = pingKind{unix.AF_INET6, unix.IPPROTO_ICMPV6, 128, 129, 0}
	}
	fd, err := unix.Socket(kind.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, kind.proto)
	if err != nil {
		return nil, fmt.Errorf("open a socket for echoes: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return nil, fmt.Errorf("receive timestamps: %w", err)
	}
	if spec.Source.IsValid() {
		if err := unix.Bind(fd, sockaddr(spec.Source)); err != nil {
			return nil, fmt.Errorf("bind to %s: %w", spec.Source, err)
		}
	}
	p := &pinger{PingSpec: spec, kind: kind, fd: fd, id: uint16(rand.Uint32())}
	return p.run(), nil
}

type pinger struct {
	PingSpec
	kind   pingKind
	fd     int
	id     uint16
	echoes Pings
	buf    [1500]byte
	oob    [128]byte
}

func (p *pinger) run() Pings {
	begin := Now()
	end := begin + time.Duration(p.Count)*p.Interval + p.Wait
	answered := 0
	for {
		now := Now()
		next := end
		if n := len(p.echoes); n < p.Count {
			next = begin + time.Duration(n)*p.Interval
			if now >= next {
				p.send()
				continue
			}
		}
		if now >= end || answered == p.Count || p.First && answered > 0 {
			return p.echoes
		}
		ts := unix.NsecToTimespec(int64(next - now))
		unix.Ppoll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, &ts, nil)
		for p.receive() {
			answered++
		}
	}
}

// ident is the identifier of an echo.
func (p *pinger) ident(seq int) uint16 {
	if p.Fresh {
		return p.id + uint16(seq)
	}
	return p.id
}

// send sends the next echo request: ICMP header (RFC 792, RFC 4443 §4.1),
// magic, filling.
func (p *pinger) send() {
	seq := len(p.echoes)
	b := make([]byte, 8+pingSize)
	b[0] = p.kind.request
	binary.BigEndian.PutUint16(b[4:], p.ident(seq))
	binary.BigEndian.PutUint16(b[6:], uint16(seq))
	copy(b[8:], pingMagic)
	if p.kind.domain == unix.AF_INET {
		binary.BigEndian.PutUint16(b[2:], checksum(b)) // ICMPv6: the kernel's
	}
	p.echoes = append(p.echoes, Echo{At: Now(), RTT: -1})
	unix.Sendto(p.fd, b, 0, sockaddr(p.Target)) // a failure is an echo without answer
}

// receive takes one message; more reports whether to call again.
func (p *pinger) receive() (more bool) {
	for {
		n, oobn, _, _, err := unix.Recvmsg(p.fd, p.buf[:], p.oob[:], 0)
		if err != nil {
			return false
		}
		if n < p.kind.header+8+len(pingMagic) {
			continue
		}
		b := p.buf[p.kind.header:n]
		seq := int(binary.BigEndian.Uint16(b[6:]))
		if b[0] != p.kind.reply || binary.BigEndian.Uint16(b[4:]) != p.ident(seq) || string(b[8:8+len(pingMagic)]) != pingMagic || seq >= len(p.echoes) {
			continue
		}
		if p.echoes[seq].RTT >= 0 {
			continue // a duplicate
		}
		p.echoes[seq].RTT = max(0, arrival(p.oob[:oobn])-p.echoes[seq].At)
		return true
	}
}

// checksum is the Internet checksum (RFC 1071) of b, whose length is even.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}
