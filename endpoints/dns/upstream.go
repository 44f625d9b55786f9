package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxUDP is the greatest message over UDP that gets through everywhere without fragments (DNS flag day 2020).
const maxUDP = 1232

// pauses are how long each try waits for its answer. The first outlasts a satellite; with the bond's twins a loss is rare, a change
// of uplinks takes up to a second.
var pauses = []time.Duration{900 * time.Millisecond, 900 * time.Millisecond, 1500 * time.Millisecond, 2 * time.Second, 2 * time.Second}

// Upstream asks other servers.
type Upstream struct {
	// Servers are those to ask now, the best first.
	Servers func() []netip.AddrPort
	// Dial connects to one, by "udp" or "tcp"; each try by a new connection, so that the port is as good as random.
	Dial func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
}

var errNoServer = errors.New("there is no server to ask")

// Exchange asks until one answers, all have answered badly twice, or ctx ends.
func (u *Upstream) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	servers := u.Servers()
	if len(servers) == 0 {
		return nil, errNoServer
	}
	var bad *dns.Msg
	var errs []error
	for i, pause := range pauses {
		at := servers[i%len(servers)]
		begin := time.Now()
		answer, err := u.once(ctx, q, at, pause)
		switch {
		case err == nil && answer.Rcode != dns.RcodeServerFailure && answer.Rcode != dns.RcodeRefused:
			return answer, nil
		case err == nil:
			bad = answer
			if i+1 >= 2*len(servers) {
				return bad, nil
			}
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			errs = append(errs, fmt.Errorf("ask %s: %w", at, err))
		}
		if err != nil { // refused at once, as by a route that is not there yet: give it the time it had
			rest := time.NewTimer(pause/2 - time.Since(begin))
			select {
			case <-rest.C:
			case <-ctx.Done():
				rest.Stop()
			}
		}
	}
	if bad != nil {
		return bad, nil
	}
	return nil, errors.Join(errs...)
}

// once asks one server, over TCP too if the answer is too long for UDP.
func (u *Upstream) once(ctx context.Context, q *dns.Msg, at netip.AddrPort, pause time.Duration) (*dns.Msg, error) {
	answer, err := u.over(ctx, "udp", q, at, pause)
	if err == nil && answer.Truncated {
		if whole, err := u.over(ctx, "tcp", q, at, 2*pause); err == nil {
			return whole, nil
		}
	}
	return answer, err
}

func (u *Upstream) over(ctx context.Context, network string, q *dns.Msg, at netip.AddrPort, pause time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	nc, err := u.Dial(ctx, network, at)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	c := &dns.Conn{Conn: nc, UDPSize: maxUDP}
	m := q.Copy()
	m.Id = dns.Id()
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		answer, err := c.ReadMsg()
		switch {
		case err != nil && network == "udp" && answer != nil:
			continue // no message: somebody tries
		case err != nil:
			return nil, err
		case answers(m, answer):
			return answer, nil
		}
	}
}

// answers tells whether a message is the answer to q, and not what somebody else has sent.
func answers(q, a *dns.Msg) bool {
	return a.Response && a.Id == q.Id && len(a.Question) == 1 && a.Question[0].Qtype == q.Question[0].Qtype &&
		a.Question[0].Qclass == q.Question[0].Qclass && strings.EqualFold(a.Question[0].Name, q.Question[0].Name)
}
