package tunnel

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
)

// pair is two sessions joined by links, in virtual time.
type pair struct {
	t    *testing.T
	now  time.Duration
	ends [2]*end // 0 the initiator
	rng  *rand.Rand
	// filter may drop or change a datagram on its way; nil lets all pass.
	filter func(from int, path int, dg []byte) bool
}

type end struct {
	s      *Session
	links  []*link.Link[Arrival] // out of this end, by path
	got    [][]byte              // packets that came out, copies
	bytes  int
	onPkt  func(now time.Duration, p []byte)
	events []Event
}

func address(side, path int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(side), byte(path + 1)}), 7117)
}

func newPair(t *testing.T, seed uint64, cfgs ...link.Config) *pair {
	t.Helper()
	p := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 1))}
	var a, b [32]byte
	a[0], b[0] = 1, 2
	for i := range p.ends {
		cfg := Config{Initiator: i == 0, LocalIndex: uint32(10 + i), PeerIndex: uint32(11 - i), Suite: seal.SuiteAES128GCM, SendSecret: a, RecvSecret: b}
		if i == 1 {
			cfg.SendSecret, cfg.RecvSecret = b, a
		}
		s, err := New(0, cfg, rand.New(rand.NewPCG(seed, uint64(2+i))))
		if err != nil {
			t.Fatal(err)
		}
		p.ends[i] = &end{s: s}
	}
	for i, c := range cfgs {
		p.addPath(i, c)
	}
	return p
}

func (p *pair) addPath(i int, c link.Config) PathID {
	for side := range p.ends {
		p.ends[side].links = append(p.ends[side].links, link.New[Arrival](c, rand.New(rand.NewPCG(p.rng.Uint64(), uint64(side)))))
	}
	id, err := p.ends[0].s.AddPath(p.now, PathSpec{Name: string(rune('a' + i)), To: Endpoint{Socket: i, Remote: address(1, i)}, Group: uint8(i), MTU: 1500})
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// pump moves everything that can move at p.now.
func (p *pair) pump() {
	for {
		moved := false
		for side, e := range p.ends {
			if e.s.Deadline() <= p.now {
				e.s.Advance(p.now)
			}
			var outs [32]Out
			for n := e.s.PullDatagrams(p.now, outs[:]); n > 0; n = e.s.PullDatagrams(p.now, outs[:]) {
				moved = true
				for _, o := range outs[:n] {
					i := int(o.To.Remote.Addr().As4()[3]) - 1
					if p.filter != nil && !p.filter(side, i, o.Buf.Bytes()) {
						o.Buf.Release()
						continue
					}
					a := Arrival{Buf: o.Buf, From: Endpoint{Socket: i, Remote: address(side, i)}, ECN: o.ECN}
					if !e.links[i].Send(p.now, o.Buf.Len()+28, a).Accepted() {
						o.Buf.Release()
					}
				}
			}
			for _, l := range e.links {
				for a, ok := l.Receive(p.now); ok; a, ok = l.Receive(p.now) {
					a.At = p.now
					p.ends[1-side].s.PushDatagrams(p.now, []Arrival{a})
					moved = true
				}
			}
		}
		for _, e := range p.ends {
			var bufs [64]*buf.Buf
			for n := e.s.PullPackets(p.now, bufs[:]); n > 0; n = e.s.PullPackets(p.now, bufs[:]) {
				for _, b := range bufs[:n] {
					e.bytes += b.Len()
					if e.onPkt != nil {
						e.onPkt(p.now, b.Bytes())
					} else {
						e.got = append(e.got, append([]byte(nil), b.Bytes()...))
					}
					b.Release()
				}
			}
			for ev, ok := e.s.Event(); ok; ev, ok = e.s.Event() {
				e.events = append(e.events, ev)
			}
		}
		if !moved {
			return
		}
	}
}

func (p *pair) next() time.Duration {
	n := Never
	for _, e := range p.ends {
		n = min(n, e.s.Deadline())
		for _, l := range e.links {
			n = min(n, l.Next())
		}
	}
	return n
}

// run goes on until the instant, calling each (if not nil) before every step.
func (p *pair) run(until time.Duration, each func()) {
	for steps := 0; p.now < until; steps++ {
		if each != nil {
			each()
		}
		p.pump()
		n := p.next()
		if n <= p.now {
			n = p.now + time.Microsecond
		}
		p.now = min(n, until)
		if steps > 20_000_000 {
			p.t.Fatal("the pair does not come to rest")
		}
	}
	p.pump()
}

// packet makes an IPv4 packet of proto (6 or 17) with a number in it.
func packet(proto uint8, port uint16, number uint32, size int) *buf.Buf {
	b := buf.Get()
	p := b.Extend(size)
	clear(p)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(size))
	p[8], p[9] = 64, proto
	copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(p[20:], port)
	binary.BigEndian.PutUint16(p[22:], 80)
	p[32] = 5 << 4 // a TCP header without options
	binary.BigEndian.PutUint32(p[36:], number)
	return b
}

func number(p []byte) uint32 { return binary.BigEndian.Uint32(p[36:]) }

// greedy keeps the initiator's queue full of one ordered flow.
func (p *pair) greedy(backlog int) func() {
	var n uint32
	return func() {
		for p.ends[0].s.bond.Backlog() < backlog {
			p.ends[0].s.PushPackets(p.now, []*buf.Buf{packet(6, 1, n, 1440)})
			n++
		}
	}
}

const (
	mbit = 1e6
	ms   = time.Millisecond
)

var (
	linkV  = link.Config{Rate: 50 * mbit, Delay: 8 * ms, Queue: 100 * ms}
	linkA  = link.Config{Rate: 10 * mbit, Delay: 12 * ms, Queue: 300 * ms}
	linkL  = link.Config{Rate: 30 * mbit, Delay: 25 * ms, Jitter: 8 * ms, Loss: .005, Queue: 200 * ms}
	linkL2 = link.Config{Rate: 20 * mbit, Delay: 20 * ms, Jitter: 10 * ms, Loss: .01, Queue: 200 * ms}
	linkL3 = link.Config{Rate: 20 * mbit, Delay: 35 * ms, Jitter: 10 * ms, Loss: .01, Queue: 200 * ms}
	linkT  = link.Config{Rate: 2 * mbit, Delay: 60 * ms, Jitter: 20 * ms, Queue: 2 * time.Second}
	linkS  = link.Config{Rate: 100 * mbit, Delay: 20 * ms, Jitter: 5 * ms, Loss: .008, Queue: 100 * ms}
)

func TestBulkFillsAllPaths(t *testing.T) {
	for _, c := range []struct {
		name  string
		links []link.Config
		want  float64 // of the sum of the link rates
	}{
		{"V", []link.Config{linkV}, .93},
		{"V+A", []link.Config{linkV, linkA}, .90},
		{"V+L", []link.Config{linkV, linkL}, .90},
		{"L2+L3", []link.Config{linkL2, linkL3}, .87},
		{"V+T", []link.Config{linkV, linkT}, .90},
		{"V+S", []link.Config{linkV, linkS}, .90},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 1, c.links...)
			p.ends[1].onPkt = func(time.Duration, []byte) {}
			each := p.greedy(1 << 20)
			p.run(3*time.Second, each)
			start := p.ends[1].bytes
			p.run(10*time.Second, each)
			var sum float64
			for _, l := range c.links {
				sum += l.Rate
			}
			got := float64(p.ends[1].bytes-start) * 8 / 7 / sum
			st := p.ends[0].s.Stats(p.now)
			for _, ps := range st.Paths {
				t.Logf("%s: %s rtt %v q %v rate %.1f Mb/s cwnd %d lost %d/%d spurious %d %s", ps.Name, ps.State, ps.RTT, ps.Queue, ps.Rate*8/1e6, ps.Window, ps.LostDatagrams, ps.SentDatagrams, ps.SpuriousLosses, ps.Control)
			}
			t.Logf("%.3f of %v Mb/s; %+v", got, sum/1e6, p.ends[1].s.Stats(p.now).Ordering)
			if got < c.want {
				t.Errorf("delivered %.3f of the sum, want %.2f", got, c.want)
			}
		})
	}
}
