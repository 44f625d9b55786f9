package tunnel

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel/buf"
)

// transfer is one stream that carries numbered bytes from one side to the other.
type transfer struct {
	p       *pair
	from    int
	id      StreamID
	total   uint64 // bytes to be sent; 0: no end
	sent    uint64
	got     uint64
	ended   bool
	eof     bool
	reset   bool
	done    time.Duration
	paused  bool // the reader does not read
	lastGot time.Duration
	longest time.Duration // between two deliveries
}

// octet is the content of a transfer at an offset.
func octet(id StreamID, off uint64) byte {
	h := off*0x9e3779b97f4a7c15 + uint64(id)
	return byte(h >> 56)
}

// streams drives the transfers of a pair.
type streams struct {
	p   *pair
	all map[StreamID]*transfer
	ids []StreamID
}

func newStreams(p *pair) *streams { return &streams{p: p, all: map[StreamID]*transfer{}} }

// open starts a transfer of total bytes. With down set the peer sends, as soon as it sees the stream.
func (s *streams) open(total uint64, down bool) *transfer {
	s.p.t.Helper()
	id, err := s.p.ends[0].s.OpenStream(s.p.now, []byte("target"))
	if err != nil {
		s.p.t.Fatal(err)
	}
	tr := &transfer{p: s.p, id: id, total: total, lastGot: s.p.now}
	if down {
		tr.from = 1
		s.p.ends[0].s.StreamEnd(s.p.now, id)
	}
	s.all[id] = tr
	s.ids = append(s.ids, id)
	return tr
}

// step lets the applications of both sides do what they can.
func (s *streams) step() {
	for _, e := range s.p.ends {
		for ev, ok := e.s.StreamEvent(); ok; ev, ok = e.s.StreamEvent() {
			tr := s.all[ev.ID]
			if ev.Kind == StreamOpened {
				e.s.StreamAccept(s.p.now, ev.ID)
				if tr != nil && tr.from == 0 {
					e.s.StreamEnd(s.p.now, ev.ID)
				}
			}
			if ev.Kind == StreamReset && tr != nil {
				tr.reset = true
			}
		}
	}
	for _, id := range s.ids {
		if tr := s.all[id]; !tr.eof && !tr.reset {
			tr.step()
			// The other direction carries nothing but its end.
			s.p.ends[tr.from].s.StreamRead(s.p.now, id, make([]*buf.Buf, 1))
		}
	}
}

func (tr *transfer) step() {
	p := tr.p
	src, dst := p.ends[tr.from].s, p.ends[1-tr.from].s
	for !tr.ended {
		n := src.StreamRoom(tr.id)
		if n == 0 {
			break
		}
		if tr.total > 0 {
			n = int(min(uint64(n), tr.total-tr.sent))
		}
		data := make([]byte, n)
		for i := range data {
			data[i] = octet(tr.id, tr.sent+uint64(i))
		}
		if src.StreamWrite(p.now, tr.id, data) != nil {
			break
		}
		tr.sent += uint64(n)
		if tr.total > 0 && tr.sent == tr.total {
			src.StreamEnd(p.now, tr.id)
			tr.ended = true
		}
	}
	var bufs [32]*buf.Buf
	for !tr.paused {
		n, eof := dst.StreamRead(p.now, tr.id, bufs[:])
		for _, b := range bufs[:n] {
			for i, c := range b.Bytes() {
				if c != octet(tr.id, tr.got+uint64(i)) {
					p.t.Fatalf("stream %d: wrong byte at %d", tr.id, tr.got+uint64(i))
				}
			}
			tr.got += uint64(b.Len())
			b.Release()
		}
		if n > 0 {
			tr.longest = max(tr.longest, p.now-tr.lastGot)
			tr.lastGot = p.now
		}
		if eof {
			if tr.total > 0 && tr.got != tr.total {
				p.t.Fatalf("stream %d ended at %d of %d", tr.id, tr.got, tr.total)
			}
			tr.eof, tr.done = true, p.now
		}
		if n < len(bufs) {
			break
		}
	}
}

var linkG = link.Config{Rate: 20 * mbit, Delay: 300 * ms, Loss: .002, Queue: 300 * ms}

func TestStreamFillsAllPaths(t *testing.T) {
	for _, c := range []struct {
		name   string
		links  []link.Config
		settle time.Duration
		want   float64 // of the sum of rate × (1 - loss)
	}{
		{"V+A", []link.Config{linkV, linkA}, 2 * time.Second, .95},
		{"V+L", []link.Config{linkV, linkL}, 2 * time.Second, .95},
		{"L2+L3", []link.Config{linkL2, linkL3}, 2 * time.Second, .92},
		{"V+T", []link.Config{linkV, linkT}, 2 * time.Second, .94},
		{"V+S", []link.Config{linkV, linkS}, 2 * time.Second, .93},
		{"A+G", []link.Config{linkA, linkG}, 10 * time.Second, .90},
		{"V+A+L+G", []link.Config{linkV, linkA, linkL, linkG}, 10 * time.Second, .90},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 1, c.links...)
			s := newStreams(p)
			p.run(time.Second, nil)
			tr := s.open(0, false)
			p.run(p.now+c.settle, s.step)
			start := tr.got
			p.run(p.now+8*time.Second, s.step)
			var sum float64
			for _, l := range c.links {
				sum += l.Rate * (1 - l.Loss)
			}
			got := float64(tr.got-start) * 8 / 8 / sum
			for _, ps := range p.ends[0].s.Stats(p.now).Paths {
				t.Logf("%s: %s rtt %v q %v rate %.1f Mb/s cwnd %d lost %d/%d %s", ps.Name, ps.State, ps.RTT, ps.Queue, ps.Rate*8/1e6, ps.Window, ps.LostDatagrams, ps.SentDatagrams, ps.Control)
			}
			st := p.ends[0].s.streamByID[tr.id]
			t.Logf("%.3f of %.1f Mb/s, window %d, unacked %d, longest gap %v, %+v", got, sum/1e6, p.ends[1].s.streamByID[tr.id].recv.window, st.send.granted-st.send.acked, tr.longest, p.ends[0].s.bond.Stats())
			if got < c.want {
				t.Errorf("%.3f of the sum, want %.2f", got, c.want)
			}
		})
	}
}

func TestStreamsDeliverEveryByteOnceInOrder(t *testing.T) {
	for seed := range uint64(6) {
		p := newPair(t, seed, linkV, linkL2, linkT)
		s := newStreams(p)
		rng := rand.New(rand.NewPCG(seed, 9))
		spent := 0
		for _, e := range p.ends {
			e.s.cfg.Spent = func(block []byte) {
				spent += len(block)
				clear(block) // who still needs it delivers zeros
			}
		}
		p.run(300*ms, nil)
		for i := range 40 {
			s.open(1+rng.Uint64N(200_000), i%2 == 0)
		}
		cut := -1
		p.filter = func(_, path int, _ []byte) bool { return path != cut }
		for range 20 {
			p.run(p.now+200*ms, s.step)
			cut = rng.IntN(5)
		}
		cut = -1
		p.run(p.now+8*time.Second, s.step)
		for _, id := range s.ids {
			if tr := s.all[id]; !tr.eof {
				t.Errorf("seed %d: stream %d has %d of %d", seed, id, tr.got, tr.total)
			}
		}
		total := 0
		for _, tr := range s.all {
			total += int(tr.total)
		}
		if spent != total {
			t.Errorf("seed %d: blocks of %d bytes came back, want %d", seed, spent, total)
		}
		for side, e := range p.ends {
			if e.s.Streams() != 0 || e.s.streamHeld != 0 {
				t.Errorf("seed %d: side %d keeps %d streams and %d bytes", seed, side, e.s.Streams(), e.s.streamHeld)
			}
		}
	}
}

func TestStreamSurvivesABlackHole(t *testing.T) {
	for _, down := range []bool{false, true} {
		p := newPair(t, 1, linkV, linkL)
		s := newStreams(p)
		p.run(time.Second, nil)
		tr := s.open(0, down)
		p.run(4*time.Second, s.step)
		p.filter = func(_, path int, _ []byte) bool { return path != 0 }
		tr.longest = 0
		p.run(8*time.Second, s.step)
		if tr.longest > 200*ms {
			t.Errorf("down %v: stalled for %v", down, tr.longest)
		}
	}
}

func TestStalledReaderHoldsBackOnlyItself(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	s := newStreams(p)
	p.run(time.Second, nil)
	a, b := s.open(0, false), s.open(0, false)
	a.paused = true
	p.run(3*time.Second, s.step)
	start := b.got
	p.run(6*time.Second, s.step)
	if got := float64(b.got-start) * 8 / 3 / mbit; got < 54 {
		t.Errorf("the other stream moves at %.1f Mb/s", got)
	}
	if held := p.ends[1].s.streamHeld; held > 3<<20 {
		t.Errorf("%d bytes held for a reader that does not read", held)
	}
	a.paused = false
	p.run(8*time.Second, s.step)
	if a.got < 1<<20 {
		t.Errorf("the stalled stream got %d bytes after it went on", a.got)
	}
}

func TestStreamsShareFairly(t *testing.T) {
	p := newPair(t, 1, linkV, linkL)
	s := newStreams(p)
	p.run(time.Second, nil)
	var trs []*transfer
	for range 4 {
		trs = append(trs, s.open(0, true))
	}
	p.run(3*time.Second, s.step)
	var start [4]uint64
	for i, tr := range trs {
		start[i] = tr.got
	}
	p.run(9*time.Second, s.step)
	for i, tr := range trs {
		if got := float64(tr.got-start[i]) * 8 / 6 / mbit; got < 14 || got > 25 {
			t.Errorf("stream %d of four: %.1f Mb/s", i, got)
		}
	}
}

func TestStreamReset(t *testing.T) {
	p := newPair(t, 1, linkV)
	s := newStreams(p)
	p.run(300*ms, nil)
	tr := s.open(0, false)
	p.run(p.now+300*ms, s.step)
	p.ends[1].s.StreamReset(p.now, tr.id, ResetRefused)
	var code uint64 = 99
	p.run(p.now+300*ms, func() {
		for ev, ok := p.ends[0].s.StreamEvent(); ok; ev, ok = p.ends[0].s.StreamEvent() {
			if ev.Kind == StreamReset {
				code = ev.Code
			}
		}
	})
	if code != ResetRefused {
		t.Errorf("reset code %d", code)
	}
	for side, e := range p.ends {
		if e.s.Streams() != 0 || e.s.streamHeld != 0 || e.s.bond.Backlog() != 0 {
			t.Errorf("side %d keeps %d streams, %d bytes held, %d waiting", side, e.s.Streams(), e.s.streamHeld, e.s.bond.Backlog())
		}
	}
}

// An aborted stream is reset when all that was written has arrived, however slow and lossy the way.
func TestStreamAbortComesBehindTheData(t *testing.T) {
	p := newPair(t, 1, linkG, linkT)
	s := newStreams(p)
	p.run(3*time.Second, nil)
	tr := s.open(0, false)
	s.step()
	sent := tr.sent
	tr.ended = true // it writes no more
	if p.ends[0].s.StreamAbort(p.now, tr.id, ResetAborted) {
		t.Fatal("all has arrived before anything left")
	}
	if p.ends[0].s.StreamWrite(p.now, tr.id, []byte("more")) == nil || p.ends[0].s.StreamRoom(tr.id) != 0 {
		t.Error("an aborted stream takes data")
	}
	p.run(p.now+10*time.Second, s.step)
	if !tr.reset || tr.got != sent {
		t.Errorf("reset %v, %d of %d bytes arrived", tr.reset, tr.got, sent)
	}
	if !p.ends[0].s.StreamAbort(p.now, tr.id, ResetAborted) || p.ends[0].s.Streams()+p.ends[1].s.Streams() != 0 {
		t.Error("the stream is still there")
	}
}

// A reset may be quicker than the opening and the data of its stream, which then must not begin it again.
func TestResetOvertakesItsStream(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.run(300*ms, nil)
	a, b := p.ends[0].s, p.ends[1].s
	var outs [32]Out
	pull := func() (as []Arrival) {
		for _, o := range outs[:a.PullDatagrams(p.now, outs[:])] {
			as = append(as, Arrival{Buf: o.Buf, From: Endpoint{Remote: address(0, 0)}, At: p.now})
		}
		return as
	}
	id, err := a.OpenStream(p.now, []byte("target"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.StreamWrite(p.now, id, make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	slow := pull()
	a.StreamReset(p.now, id, ResetClosed)
	quick := pull()
	if len(slow) < 2 || len(quick) == 0 {
		t.Fatalf("%d datagrams, and %d after the reset", len(slow), len(quick))
	}
	b.PushDatagrams(p.now, quick)
	b.PushDatagrams(p.now, slow)
	if ev, ok := b.StreamEvent(); ok || b.Streams() != 0 || b.streamHeld != 0 {
		t.Errorf("the peer has %d streams, holds %d bytes, and tells %v %+v", b.Streams(), b.streamHeld, ok, ev)
	}
	p.run(p.now+time.Second, nil)
	if a.Streams() != 0 {
		t.Error("the opener still has its stream")
	}
}

func TestShortStreamIsAsFastAsTheBestPathAlone(t *testing.T) {
	took := func(size uint64, links ...link.Config) time.Duration {
		p := newPair(t, 1, links...)
		s := newStreams(p)
		p.run(5*time.Second, nil)
		start := p.now
		tr := s.open(size, true)
		p.run(p.now+5*time.Second, s.step)
		if !tr.eof {
			t.Fatalf("%d bytes did not arrive", size)
		}
		return tr.done - start
	}
	alone := took(50_000, linkV)
	bond := took(50_000, linkV, linkA, linkL, linkG)
	t.Logf("50 kB: %v alone, %v bonded; 1 MB: %v alone, %v bonded", alone, bond, took(1<<20, linkV), took(1<<20, linkV, linkA, linkL, linkG))
	if bond > alone+alone/20 {
		t.Errorf("50 kB take %v over all paths, %v over the best one alone", bond, alone)
	}
}

// The spans of a sender agree with a set of bytes.
func TestArrivedSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		var h sendHalf
		seen := map[uint64]bool{}
		for range 60 {
			from := rng.Uint64N(300)
			to := from + 1 + rng.Uint64N(20)
			h.arrived(from, to)
			for b := from; b < to; b++ {
				seen[b] = true
			}
			var want uint64
			for seen[want] {
				want++
			}
			if h.acked != want {
				t.Fatalf("acked %d, want %d", h.acked, want)
			}
			n := int(h.acked)
			for i, s := range h.spans {
				if s.from >= s.to || s.from <= h.acked || i > 0 && s.from <= h.spans[i-1].to {
					t.Fatalf("spans %v behind %d", h.spans, h.acked)
				}
				n += int(s.to - s.from)
			}
			if n != len(seen) {
				t.Fatalf("%d bytes in the spans, %d arrived", n, len(seen))
			}
		}
	}
}
