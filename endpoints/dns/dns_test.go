package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// zone is what the servers of a test know.
type zone struct {
	mu    sync.Mutex
	asked int
	delay time.Duration
	down  bool
	rcode int
}

func (z *zone) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	z.mu.Lock()
	z.asked++
	delay, down, rcode := z.delay, z.down, z.rcode
	z.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if down {
		return nil, errors.New("down")
	}
	a := new(dns.Msg).SetRcode(q, rcode)
	name := q.Question[0].Name
	if strings.HasPrefix(strings.ToLower(name), "none.") {
		a.Rcode = dns.RcodeNameError
		a.Ns = []dns.RR{mustRR("example. 900 IN SOA ns.example. root.example. 1 2 3 4 60")}
		return a, nil
	}
	if rcode == dns.RcodeSuccess {
		a.Answer = []dns.RR{mustRR(name + " 100 IN A 192.0.2.1")}
	}
	return a, nil
}

func (z *zone) count() int { z.mu.Lock(); defer z.mu.Unlock(); return z.asked }

func (z *zone) set(f func()) { z.mu.Lock(); defer z.mu.Unlock(); f() }

func mustRR(s string) dns.RR {
	rr, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return rr
}

func query(name string) *dns.Msg { return new(dns.Msg).SetQuestion(name, dns.TypeA) }

// say is an answer in short.
func say(a *dns.Msg) string {
	s := dns.RcodeToString[a.Rcode]
	for _, rr := range a.Answer {
		s += fmt.Sprintf(" %s %d", rr.Header().Name, rr.Header().Ttl)
	}
	return s
}

func TestResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{delay: 50 * time.Millisecond}
		r := NewResolver(10, z.ask)
		defer r.Close()
		expect := func(what, name, want string, asked int) {
			t.Helper()
			q := query(name)
			a := r.Answer(t.Context(), q)
			if got := say(a); got != want || a.Id != q.Id || !a.Response || a.Question[0].Name != name {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
			if n := z.count(); n != asked {
				t.Errorf("%s: %d questions so far, want %d", what, n, asked)
			}
		}
		expect("a first time", "www.example.", "NOERROR www.example. 100", 1)
		time.Sleep(40 * time.Second)
		expect("from the cache, counted down", "WWW.example.", "NOERROR www.example. 60", 1)
		expect("what is not", "none.example.", "NXDOMAIN", 2)
		time.Sleep(59 * time.Second)
		expect("what is not, as long as the zone says", "none.example.", "NXDOMAIN", 2)
		time.Sleep(2 * time.Second)
		expect("and no longer", "none.example.", "NXDOMAIN", 3)
		expect("not fresh any more", "www.example.", "NOERROR www.example. 100", 4)

		// The servers are away: stale answers, after a while of patience; none where there never was one.
		time.Sleep(200 * time.Second)
		z.set(func() { z.delay = time.Hour })
		begin := time.Now()
		expect("stale", "www.example.", "NOERROR www.example. 30", 5)
		if took := time.Since(begin); took != staleAfter {
			t.Errorf("a stale answer after %v, want %v", took, staleAfter)
		}
		expect("nothing known", "other.example.", "SERVFAIL", 6)
		z.set(func() { z.delay, z.rcode = 50*time.Millisecond, dns.RcodeServerFailure })
		time.Sleep(questionTime)
		expect("a server that fails is no reason to forget", "www.example.", "NOERROR www.example. 30", 7)
		z.set(func() { z.rcode = dns.RcodeSuccess })
		expect("back", "www.example.", "NOERROR www.example. 100", 8)
		time.Sleep(100*time.Second + maxStale)
		z.set(func() { z.down = true })
		expect("too old", "www.example.", "SERVFAIL", 9)

		// Who asks the same meanwhile waits for the same answer.
		z.set(func() { z.down = false })
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { r.Answer(t.Context(), query("many.example.")) })
		}
		wg.Wait()
		if n := z.count(); n != 10 {
			t.Errorf("20 who ask the same made %d questions", n-9)
		}
		// Signatures are another question.
		q := query("many.example.")
		q.SetEdns0(4096, true)
		if a := r.Answer(t.Context(), q); z.count() != 11 || a.IsEdns0() == nil || !a.IsEdns0().Do() {
			t.Error("a client that wants signatures was given what another had asked for, or no EDNS")
		}
		for i := range 50 {
			r.Answer(t.Context(), query(fmt.Sprintf("n%d.example.", i)))
		}
		if n := r.Stats().Entries; n != 10 {
			t.Errorf("%d entries in a cache for 10", n)
		}
		bad := query("a.example.")
		bad.Question = append(bad.Question, bad.Question[0])
		if a := r.Answer(t.Context(), bad); a.Rcode != dns.RcodeFormatError {
			t.Error("two questions:", say(a))
		}
		update := query("a.example.")
		update.Opcode = dns.OpcodeUpdate
		if a := r.Answer(t.Context(), update); a.Rcode != dns.RcodeNotImplemented {
			t.Error("an update:", say(a))
		}
	})
}

func TestResolverIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{delay: time.Hour}
		r := NewResolver(10, z.ask)
		var wg sync.WaitGroup
		for i := range maxQuestions + 100 {
			wg.Go(func() { r.Answer(t.Context(), query(fmt.Sprintf("n%d.example.", i))) })
		}
		synctest.Wait()
		if n := z.count(); n != maxQuestions {
			t.Errorf("%d questions under way, want %d", n, maxQuestions)
		}
		r.Close() // everybody gets an answer, and nothing is left
		wg.Wait()
		if n := r.Stats().Failed; n != maxQuestions+100 {
			t.Errorf("%d got SERVFAIL", n)
		}
	})
}

// serverTest serves a handler on a port of loopback, UDP and TCP.
func serverTest(t *testing.T, h dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Skip("the port of TCP is not free for UDP:", err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the shutdowns, which are registered below
	for _, s := range []*dns.Server{{Listener: l, Handler: h}, {PacketConn: p, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return netip.MustParseAddrPort(l.Addr().String())
}

// TestWholeWay has a client, a server of ours and a server behind it, on loopback: long answers over TCP, and short ones after a lost try.
func TestWholeWay(t *testing.T) {
	var mu sync.Mutex
	tries, overTCP := 0, 0
	behind := serverTest(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		mu.Lock()
		tries++
		first := tries == 1
		if tcp {
			overTCP++
		}
		mu.Unlock()
		if first {
			return // lost
		}
		a := new(dns.Msg).SetReply(q)
		if strings.HasPrefix(q.Question[0].Name, "long.") {
			for i := range 100 {
				a.Answer = append(a.Answer, mustRR(fmt.Sprintf("%s 100 IN TXT \"%d %s\"", q.Question[0].Name, i, strings.Repeat("x", 40))))
			}
		} else {
			a.Answer = []dns.RR{mustRR(q.Question[0].Name + " 100 IN A 192.0.2.1")}
		}
		if !tcp {
			forged := a.Copy() // somebody guesses, and is not believed
			forged.Id++
			forged.Answer = []dns.RR{mustRR(q.Question[0].Name + " 100 IN A 203.0.113.66")}
			w.WriteMsg(forged)
			a.Truncate(maxUDP)
		}
		w.WriteMsg(a)
	})
	u := &Upstream{Servers: func() []netip.AddrPort { return []netip.AddrPort{behind} }, Dial: Dialer(0)}
	r := NewResolver(100, u.Exchange)
	defer r.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	refused := netip.MustParseAddr("127.0.0.2")
	s := &Server{Resolver: r, Allowed: func(a netip.Addr) bool { return a != refused }}
	go func() { defer close(done); s.Serve(ctx, p, l) }() // joined below
	defer func() { cancel(); <-done }()

	at := l.Addr().String()
	ask := func(network, name string, udpSize uint16) *dns.Msg {
		t.Helper()
		q := query(name)
		if strings.HasPrefix(name, "long.") {
			q.Question[0].Qtype = dns.TypeTXT
		}
		if udpSize > 0 {
			q.SetEdns0(udpSize, false)
		}
		c := dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: 4096}
		a, _, err := c.Exchange(q, at)
		if err != nil {
			t.Fatal(name, err)
		}
		return a
	}
	if a := ask("udp", "www.example.", 0); say(a) != "NOERROR www.example. 100" || a.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Error("after a try that was lost:", a)
	}
	for _, size := range []uint16{0, 900, 4096} {
		a := ask("udp", "long.example.", size)
		a.Compress = true // as it was on the wire
		limit := int(max(512, min(size, maxUDP)))
		if !a.Truncated || a.Len() > limit || len(a.Answer) == 0 {
			t.Errorf("a client that takes %d bytes: truncated %v, %d bytes, %d records", size, a.Truncated, a.Len(), len(a.Answer))
		}
	}
	if a := ask("tcp", "long.example.", 0); a.Truncated || len(a.Answer) != 100 {
		t.Errorf("over TCP: truncated %v, %d records", a.Truncated, len(a.Answer))
	}
	mu.Lock()
	if overTCP == 0 {
		t.Error("nothing was asked over TCP")
	}
	mu.Unlock()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: refused.AsSlice()}}
	c := dns.Client{Dialer: &d, Timeout: 300 * time.Millisecond}
	if a, _, err := c.Exchange(query("www.example."), at); err == nil {
		t.Error("a client that is not allowed was answered:", say(a))
	}
	raw, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, junk := range []string{"", "x", strings.Repeat("\xff", 600)} { // and it lives on
		raw.Write([]byte(junk))
	}
	if a := ask("udp", "again.example.", 0); say(a) != "NOERROR again.example. 100" {
		t.Error("after junk:", say(a))
	}
}

func TestResolvConf(t *testing.T) {
	file := t.TempDir() + "/resolv.conf"
	get := ResolvConf(file)
	if got := get(); len(got) != 0 {
		t.Error("without a file:", got)
	}
	if err := os.WriteFile(file, []byte("# a comment\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ResolvConf(file)()); got != "[192.0.2.53:53 [2001:db8::53]:53]" {
		t.Error("got", got)
	}
}
