package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"
)

// What a device does that wants a name: it asks, and asks again after a second. The resolver of most systems gives up after ten.
const (
	resolveEvery = 200 * time.Millisecond
	resolveAgain = time.Second
	resolveLimit = 10 * time.Second
)

// resolving asks a resolver for one name after the other.
type resolving struct {
	To       netip.AddrPort
	Duration time.Duration
}

// resolved is what came of it.
type resolved struct {
	Asked, Silent int
	Slowest       time.Duration
}

// testResolve asks for names that nobody has asked for before, so that no cache answers.
func testResolve(ctx context.Context, r resolving) (out resolved, err error) {
	c, err := net.Dial("udp", r.To.String())
	if err != nil {
		return out, err
	}
	defer c.Close()
	next := time.NewTicker(resolveEvery)
	defer next.Stop()
	for end := time.Now().Add(r.Duration); time.Now().Before(end) && ctx.Err() == nil; out.Asked++ {
		begin := time.Now()
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("name%d.example.", out.Asked), dns.TypeA)
		for !asked(c, q) {
			if time.Since(begin) > resolveLimit {
				out.Silent++
				break
			}
		}
		out.Slowest = max(out.Slowest, time.Since(begin))
		select {
		case <-next.C:
		case <-ctx.Done():
		}
	}
	return out, nil
}

// asked asks once, and tells whether the answer has come in time.
func asked(c net.Conn, q *dns.Msg) bool {
	p, err := q.Pack()
	if err != nil {
		return false
	}
	c.Write(p) // an error is heard by the read
	c.SetReadDeadline(time.Now().Add(resolveAgain))
	b := make([]byte, 2000)
	for {
		n, err := c.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			continue // refused; it is asked again when its time is over
		}
		if a := new(dns.Msg); a.Unpack(b[:n]) == nil && a.Id == q.Id && a.Rcode == dns.RcodeSuccess && len(a.Answer) == 1 {
			return true
		}
	}
}

// testResolver is a resolver that knows every name, until the host ends.
func testResolver(_ context.Context, at netip.AddrPort) (struct{}, error) {
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return struct{}{}, err
	}
	s := &dns.Server{PacketConn: u, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 53)}}
		w.WriteMsg(a)
	})}
	go s.ActivateAndServe() // ends with the process
	return struct{}{}, nil
}
