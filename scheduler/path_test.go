package scheduler

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// sender is a path with its acknowledgements, narrated.
type sender struct {
	t   *testing.T
	p   *Path
	now time.Duration
	n   news
}

func newSender(t *testing.T) *sender {
	b := New(Config{}, rand.New(rand.NewPCG(1, 1)))
	p := b.AddPath(0, 0, PathConfig{MTU: 1472})
	b.Proven(0, p)
	p.known(6.25e6, 10*ms)
	return &sender{t: t, p: p}
}

// send sends n datagrams of 1000 bytes, each with one chunk that bears its number.
func (s *sender) send(n int) {
	for range n {
		s.p.record(s.now, Datagram{Size: 1000, Eliciting: true, Chunks: []Chunk{{Kind: ChunkControl, Seq: s.p.NextPN()}}})
	}
}

// ack acknowledges ranges (oldest first, pairs of first and last) and returns what it told: the chunks that arrived and
// those that were lost.
func (s *sender) ack(bounds ...uint64) (told bool, acked, lost []uint64) {
	s.t.Helper()
	a := Ack{Owd: 10 * ms}
	for i := len(bounds) - 2; i >= 0; i -= 2 {
		a.Ranges = append(a.Ranges, Range{bounds[i], bounds[i+1]})
	}
	s.n = news{}
	told, err := s.p.onAck(s.now, a, &s.n)
	if err != nil {
		s.t.Fatal(err)
	}
	return told, seqs(s.n.acked), seqs(s.n.lost)
}

func seqs(cs []Chunk) (out []uint64) {
	for _, c := range cs {
		out = append(out, c.Seq)
	}
	slices.Sort(out)
	return out
}

func (s *sender) want(what string, got []uint64, want ...uint64) {
	s.t.Helper()
	if !slices.Equal(got, want) {
		s.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What was never sent cannot be acknowledged, and nothing of such an acknowledgement counts (RFC 9000 §13.1).
func TestAckOfTheUnsentIsRejected(t *testing.T) {
	s := newSender(t)
	s.send(3)
	for _, ranges := range [][]Range{nil, {{0, 3}}, {{3, 3}}, {{1 << 61, 1<<62 - 1}, {0, 2}}} {
		told, err := s.p.onAck(20*ms, Ack{Ranges: ranges}, &s.n)
		if !errors.Is(err, errAckUnsent) || told || len(s.n.acked) > 0 || s.p.Inflight() != 3000 {
			t.Errorf("%v: told %v, %v, acked %v, %d bytes in flight", ranges, told, err, s.n.acked, s.p.Inflight())
		}
	}
	b := New(Config{}, rand.New(rand.NewPCG(1, 1)))
	if err := b.OnAck(0, Ack{Path: 9, Ranges: []Range{{0, 0}}}); err != nil {
		t.Errorf("an unknown path: %v", err) // it may be one that was closed
	}
}

func TestAckOnceOnly(t *testing.T) {
	s := newSender(t)
	s.send(3)
	s.now = 20 * ms
	told, acked, lost := s.ack(0, 2)
	if s.want("acked", acked, 0, 1, 2); !told || len(lost) > 0 || s.p.Inflight() != 0 {
		t.Errorf("told %v, lost %v, %d bytes in flight", told, lost, s.p.Inflight())
	}
	before := s.p.SRTT()
	s.now = 500 * ms
	if told, acked, _ := s.ack(0, 2); told || len(acked) > 0 || s.p.SRTT() != before {
		t.Errorf("the same again: told %v, %v, srtt %v", told, acked, s.p.SRTT())
	}
}

// Where the newest number acknowledged is that of our own acknowledgement, its time counts: on a thin path that is nearly always so.
func TestTimeIsToldByAcknowledgementsToo(t *testing.T) {
	s := newSender(t)
	s.send(1)
	s.now = 5 * ms
	s.p.record(s.now, Datagram{Size: 60})
	s.now = 30 * ms
	s.ack(0, 1)
	if s.p.rtt.latest != 25*ms || !s.p.out.has {
		t.Errorf("round trip %v, one-way delay known %v: want 25ms, from the datagram of 5ms", s.p.rtt.latest, s.p.out.has)
	}
	// But only once: the same number again says nothing of now.
	s.send(1)
	s.p.record(s.now, Datagram{Size: 60})
	s.now = 40 * ms
	s.ack(0, 1, 2, 3)
	before := s.p.rtt.samples
	s.send(1)
	s.now = 90 * ms
	if s.ack(0, 4); s.p.rtt.samples != before+1 {
		t.Errorf("%d samples, want %d", s.p.rtt.samples, before+1)
	}
}

// Three later ones have arrived: lost by number, to the byte (RFC 9002 §6.1.1).
func TestLostByNumber(t *testing.T) {
	s := newSender(t)
	s.send(10)
	s.now = 20 * ms
	if _, _, lost := s.ack(1, 2); len(lost) > 0 {
		t.Errorf("lost %v after two", lost)
	}
	_, acked, lost := s.ack(1, 3)
	s.want("acked", acked, 3)
	s.want("lost", lost, 0)
	if s.p.Inflight() != 6000 || s.p.Stats.LostDatagrams != 1 {
		t.Errorf("%d bytes in flight, %d lost", s.p.Inflight(), s.p.Stats.LostDatagrams)
	}
}

// Below the threshold, time decides: 9/8 of the round trip since it was sent (RFC 9002 §6.1.2).
func TestLostByTime(t *testing.T) {
	s := newSender(t)
	s.send(3)
	s.now = 20 * ms
	s.ack(1, 2)
	if want := 22500 * us; s.p.lossTime != want {
		t.Fatalf("loss time %v, want %v", s.p.lossTime, want)
	}
	s.now = s.p.lossTime - 1
	s.n = news{}
	if n := s.p.detectLost(s.now, &s.n); n > 0 || len(s.n.lost) > 0 {
		t.Errorf("%d bytes lost too early", n)
	}
	s.now++
	if n := s.p.detectLost(s.now, &s.n); n != 1000 || s.p.lossTime != Never {
		t.Errorf("%d bytes lost in time, then at %v", n, s.p.lossTime)
	}
	s.want("lost", seqs(s.n.lost), 0)
}

// The late acknowledgement of what was called lost is news about the datagram, not about the path; and it raises the
// threshold as far as was needed, within its bound.
func TestLateAckOfTheLost(t *testing.T) {
	s := newSender(t)
	s.send(200)
	s.now = 20 * ms
	_, _, lost := s.ack(7, 7)
	s.want("lost", lost, 0, 1, 2, 3, 4)
	inflight, srtt := s.p.Inflight(), s.p.SRTT()
	told, acked, lost := s.ack(2, 2, 7, 7)
	s.want("acked", acked, 2)
	if told || len(lost) > 0 || s.p.Inflight() != inflight || s.p.SRTT() != srtt || s.p.Stats.SpuriousLosses != 1 {
		t.Errorf("told %v, lost %v, %d bytes in flight, %d spurious", told, lost, s.p.Inflight(), s.p.Stats.SpuriousLosses)
	}
	if s.p.reorder != 6 {
		t.Errorf("threshold %d, want 6: it was seen 5 behind", s.p.reorder)
	}
	// Five behind is now waited for.
	if _, _, lost = s.ack(2, 2, 7, 10); slices.Contains(lost, 5) || !slices.Contains(seqs(s.n.acked), 10) {
		t.Errorf("lost %v", lost)
	}
	_, _, lost = s.ack(2, 2, 7, 11)
	s.want("lost", lost, 5)
	// A straggler from far behind does not blind the path.
	s.ack(2, 2, 7, 11, 190, 199)
	s.ack(2, 2, 7, 12, 190, 199)
	if s.p.reorder != maxPacketThreshold {
		t.Errorf("threshold %d, want %d", s.p.reorder, maxPacketThreshold)
	}
}

// The round trip is that of the newest datagram, less the time the peer kept it, if the ACK is for it at all.
func TestRTTSamples(t *testing.T) {
	s := newSender(t)
	s.p.rtt = rttEstimator{}
	s.send(1)
	s.now = 5 * ms
	s.send(1)
	s.now = 30 * ms
	s.n = news{}
	if _, err := s.p.onAck(s.now, Ack{Delay: 3 * ms, Owd: 10 * ms, Ranges: []Range{{0, 1}}}, &s.n); err != nil {
		t.Fatal(err)
	}
	if s.p.SRTT() != 22*ms {
		t.Errorf("%v, want 30 - 5 - 3 ms", s.p.SRTT())
	}
	s.p.rtt = rttEstimator{}
	s.send(1)
	s.now += 80 * ms
	if _, err := s.p.onAck(s.now, Ack{Delay: time.Second, Owd: 10 * ms, Ranges: []Range{{0, 2}}}, &s.n); err != nil {
		t.Fatal(err)
	}
	if s.p.SRTT() != 80*ms-maxAckDelay {
		t.Errorf("%v: a claimed delay counts up to %v", s.p.SRTT(), maxAckDelay)
	}
	s.send(2)
	before := s.p.rtt.samples
	s.now += 20 * ms
	s.ack(0, 2, 4, 4)
	s.now += 20 * ms
	s.ack(0, 4)
	if s.p.rtt.samples != before+1 {
		t.Errorf("%d samples, want 1: the second ACK is about an older one", s.p.rtt.samples-before)
	}
}

// An MTU probe that is lost says nothing about congestion, a data datagram does; acknowledgements are not in flight.
func TestWhatCountsAsLoss(t *testing.T) {
	s := newSender(t)
	s.p.record(0, Datagram{Size: 1400, Eliciting: true, Unpaced: true, Probe: true})
	s.p.record(0, Datagram{Size: 60, Unpaced: true})
	s.send(4)
	if s.p.Inflight() != 1400+4000 {
		t.Errorf("%d bytes in flight", s.p.Inflight())
	}
	s.now = 20 * ms
	s.ack(2, 5)
	if s.p.Loss() != 0 || s.p.Stats.LostDatagrams != 1 || s.p.Inflight() != 0 {
		t.Errorf("loss %v, %d datagrams, %d bytes in flight", s.p.Loss(), s.p.Stats.LostDatagrams, s.p.Inflight())
	}
	if at, ok := s.p.oldest(); ok {
		t.Errorf("oldest %v of nothing", at)
	}
}

// Silence is suspicious a round trip, its variation and the acknowledgement delay after the oldest datagram, counted
// from the last sign of life if that is later.
func TestSuspectAt(t *testing.T) {
	s := newSender(t)
	if at := s.p.suspectAt(); at != Never {
		t.Errorf("with nothing outstanding: %v", at)
	}
	s.now = 100 * ms
	s.send(1)
	slack := max(4*s.p.RTTVar(), suspectMargin) + ackDelay(s.p.SRTT()) + timerSlack
	if at, want := s.p.suspectAt(), 100*ms+20*ms+slack; at != want {
		t.Errorf("%v, want %v", at, want)
	}
	s.p.lastAck = 150 * ms
	if at, want := s.p.suspectAt(), 150*ms+slack; at != want {
		t.Errorf("after a sign of life %v, want %v", at, want)
	}
	s.p.rtt.variance = 30 * ms
	if at, want := s.p.suspectAt(), 150*ms+120*ms+ackDelay(s.p.SRTT())+timerSlack; at != want {
		t.Errorf("on a restless path %v, want %v", at, want)
	}
}

// Pacing keeps the rate over any length of time, however late the timer comes, as long as that is within the credit.
func TestPacingKeepsTheRate(t *testing.T) {
	for _, late := range []time.Duration{0, pacingCredit / 2, 5 * ms} {
		s := newSender(t)
		s.p.ctl.SetMaxRate(1e6)
		s.now = time.Second
		start, n := s.now, 0
		for s.now < start+time.Second {
			s.send(1)
			n += 1000
			if w := s.p.paceWait(s.now); w > 0 {
				s.now += w + late
			}
		}
		got := float64(n) / (s.now - start).Seconds()
		if low := 1e6 * .98; got > 1.01e6 || got < low && late <= pacingCredit/2 {
			t.Errorf("timers late by %v: %.0f bytes/s", late, got)
		}
	}
}

// A threshold that reordering has raised stays for as long as there is reordering, and is forgotten by and by when there is none.
func TestReorderingIsForgotten(t *testing.T) {
	s := newSender(t)
	s.send(40)
	s.now = 20 * ms
	s.ack(30, 39) // 0 to 29 are lost by number
	s.now = 25 * ms
	s.ack(20, 39) // and were only late
	if s.p.reorder < 20 {
		t.Fatalf("threshold %d after a datagram was overtaken by 20", s.p.reorder)
	}
	raised := s.p.reorder
	for range 60 { // a minute of reordering by less than the threshold
		s.now += time.Second
		n := s.p.NextPN()
		s.send(10)
		s.now += ms
		s.ack(n+5, n+9)
		s.ack(n, n+9)
	}
	if s.p.reorder != raised {
		t.Errorf("threshold %d while datagrams are overtaken by 10, was %d", s.p.reorder, raised)
	}
	for range 60 {
		s.now += time.Second
		n := s.p.NextPN()
		s.send(10)
		s.now += ms
		s.ack(n, n+9)
	}
	if s.p.reorder > packetThreshold+1 {
		t.Errorf("threshold %d after a minute in order", s.p.reorder)
	}
}

// What is due when the owner comes late is sent at once where something was waiting for it, up to lateCredit; a path that had nothing to send has
// its small credit only.
func TestLateOwnerCatchesUp(t *testing.T) {
	for _, c := range []struct {
		late    time.Duration
		waiting bool
		want    time.Duration // of the rate, sent at once
	}{
		{5 * ms, true, 5 * ms},
		{30 * ms, true, lateCredit},
		{30 * ms, false, pacingCredit},
	} {
		o, p, q := two(t, 1472, 1472)
		o.b.Close(0, q)
		for o.now = 0; p.paceWait(o.now) == 0; { // use the credit up
			o.b.Enqueue(o.now, 1, Loose, 0, 1000, false)
			o.turn()
		}
		many := func() {
			for i := range 200 {
				o.b.Enqueue(o.now, 1, Loose, Handle(i), 1000, false)
			}
		}
		if c.waiting {
			many()
			o.turn()
		}
		sent := p.Stats.SentBytes
		o.now = p.resume + c.late
		if !c.waiting {
			many()
		}
		o.turn()
		got := seconds(float64(p.Stats.SentBytes-sent) / p.ctl.PacingRate())
		if got < c.want-ms || got > c.want+3*ms {
			t.Errorf("%v late, waiting %v: what %v brings was sent at once, want %v", c.late, c.waiting, got, c.want)
		}
	}
}
