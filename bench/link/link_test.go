package link

import (
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 7)) }

type arrival struct {
	v  int
	at time.Duration
}

// drain delivers everything up to the given instant.
func drain(l *Link[int], until time.Duration) (got []arrival) {
	for l.Next() <= until {
		at := l.Next()
		v, ok := l.Receive(at)
		if !ok {
			panic("Next promised a delivery and there is none")
		}
		got = append(got, arrival{v, at})
	}
	return got
}

func TestSerialisationAndDelay(t *testing.T) {
	l := New[int](Config{Rate: 12e6, Delay: 10 * ms}, seeded(1)) // 1500 bytes take 1 ms
	for i := range 3 {
		if v := l.Send(0, 1500, i); v != Queued {
			t.Fatalf("packet %d: %v", i, v)
		}
	}
	if q := l.QueueDelay(0); q != 3*ms {
		t.Errorf("queue delay %v, want 3ms", q)
	}
	if q := l.QueueBytes(1500 * time.Microsecond); q != 3000 {
		t.Errorf("queue holds %d bytes after 1.5 ms, want 3000", q)
	}
	for i, a := range drain(l, Never-1) {
		if want := time.Duration(i+11) * ms; a.v != i || a.at != want {
			t.Errorf("delivery %d: %+v, want at %v", i, a, want)
		}
	}
	if l.Next() != Never {
		t.Error("an empty link promises a delivery")
	}
	if _, ok := l.Receive(time.Hour); ok {
		t.Error("an empty link delivers")
	}
}

func TestDropTail(t *testing.T) {
	l := New[int](Config{Rate: 12e6, Queue: 5 * ms}, seeded(1))
	for i := range 10 {
		want := Queued
		if i >= 5 {
			want = DroppedQueue
		}
		if v := l.Send(0, 1500, i); v != want {
			t.Errorf("packet %d: %v, want %v", i, v, want)
		}
	}
	if v := l.Send(1*ms, 1500, 10); v != Queued {
		t.Errorf("a place was free, and the packet was %v", v)
	}
	tiny := New[int](Config{Rate: 1e6, QueueBytes: 100}, seeded(1))
	if v := tiny.Send(0, 1500, 0); v != Queued {
		t.Errorf("an empty queue refused a packet: %v", v)
	}
}

func TestRateStepMidPacket(t *testing.T) {
	// 12 Mb/s until 0.5 ms, then 6: the first packet is half done.
	l := New[int](Config{Rate: 12e6, Steps: []Step{{500 * time.Microsecond, 6e6}}}, seeded(1))
	l.Send(0, 1500, 0)
	l.Send(0, 1500, 1)
	got := drain(l, time.Second)
	if got[0].at != 1500*time.Microsecond || got[1].at != 3500*time.Microsecond {
		t.Errorf("deliveries %v, want 1.5 and 3.5 ms", got)
	}
}

func TestSetRateWhileServing(t *testing.T) {
	l := New[int](Config{Rate: 12e6, Delay: 3 * ms}, seeded(1))
	for i := range 3 {
		l.Send(0, 1500, i)
	}
	l.SetRate(1500*time.Microsecond, 6e6) // packet 0 left at 1 ms, 1 is half done, 2 waits
	want := []time.Duration{4 * ms, 5500 * time.Microsecond, 7500 * time.Microsecond}
	for i, a := range drain(l, time.Second) {
		if a.v != i || a.at != want[i] {
			t.Errorf("delivery %d: %+v, want at %v", i, a, want[i])
		}
	}
}

func TestOutageAndCut(t *testing.T) {
	l := New[int](Config{Rate: 12e6, Delay: 10 * ms, Outages: []Span{{2 * ms, 4 * ms}}}, seeded(1))
	for i := range 4 { // leave at 1, 2, 3, 4 ms
		l.Send(0, 1500, i)
	}
	if v := l.Send(3*ms, 1500, 9); v != DroppedOutage {
		t.Errorf("sent into the outage: %v", v)
	}
	got := drain(l, time.Second)
	if len(got) != 2 || got[0].v != 0 || got[1].v != 3 {
		t.Errorf("delivered %v, want packets 0 and 3", got)
	}

	l = New[int](Config{Rate: 12e6, Delay: 10 * ms}, seeded(1))
	for i := range 4 {
		l.Send(0, 1500, i)
	}
	l.Cut(2500 * time.Microsecond)
	if v := l.Send(3*ms, 1500, 9); v != DroppedOutage {
		t.Errorf("sent into a cut link: %v", v)
	}
	l.Restore(5 * ms)
	l.Send(5*ms, 1500, 5)
	got = drain(l, time.Second)
	if len(got) != 3 || got[1].v != 1 || got[2] != (arrival{5, 16 * ms}) {
		t.Errorf("delivered %v, want 0, 1 and 5 (at 16 ms)", got)
	}
	if n := l.Stats().Verdicts[DroppedOutage]; n != 3 {
		t.Errorf("%d packets counted as lost to the cut, want 3", n)
	}
}

func TestJitterKeepsOrderAndBlocks(t *testing.T) {
	l := New[int](Config{Rate: 12e6, Delay: 10 * ms, Jitter: 8 * ms}, seeded(3))
	for i := range 2000 {
		now := time.Duration(i) * ms
		l.Send(now, 1500, i)
	}
	var sum, low, high time.Duration
	low = time.Hour
	for i, a := range drain(l, time.Hour) {
		if a.v != i {
			t.Fatalf("reordered: %d arrives as number %d", a.v, i)
		}
		d := a.at - time.Duration(i)*ms
		sum, low, high = sum+d, min(low, d), max(high, d)
	}
	if low < 11*ms || low > 12*ms || high > 19*ms || high < 18*ms {
		t.Errorf("delays %v..%v, want about 11..19 ms", low, high)
	}
	if mean := sum / 2000; mean < 14*ms || mean > 17*ms {
		t.Errorf("mean delay %v, want about 15 ms", mean)
	}
}

func TestLossUsesCapacity(t *testing.T) {
	l := New[int](Config{Rate: 12e6, Loss: 0.1, Queue: time.Second}, seeded(5))
	lost := 0
	for i := range 20000 {
		if v := l.Send(time.Duration(i)*ms, 1500, i); v == DroppedLoss {
			lost++
		}
	}
	if lost < 1850 || lost > 2150 {
		t.Errorf("lost %d of 20000, want about 2000", lost)
	}
	if got := len(drain(l, time.Hour)); got != 20000-lost {
		t.Errorf("delivered %d, want %d", got, 20000-lost)
	}
	l.QueueDelay(time.Hour) // let the last one, perhaps lost, leave
	if s := l.Stats(); s.Left != 20000 || s.Wait != 20000*ms {
		t.Errorf("%d left after %v in all; every packet, lost or not, takes its millisecond", s.Left, s.Wait)
	}
}

func TestGilbertElliott(t *testing.T) {
	// 1 % of the time goes bad, bursts of 10 packets, all lost there: 9.1 % in all.
	l := New[int](Config{Gilbert: &GilbertElliott{ToBad: 0.01, ToGood: 0.1, LossBad: 1}}, seeded(2))
	lost, bursts, in := 0, 0, false
	for i := range 1000000 {
		drop := l.Send(time.Duration(i), 100, i) == DroppedLoss
		if drop {
			lost++
			if !in {
				bursts++
			}
		}
		in = drop
	}
	if p := float64(lost) / 1000000; p < 0.087 || p > 0.095 {
		t.Errorf("loss %.3f, want about 0.091", p)
	}
	if mean := float64(lost) / float64(bursts); mean < 9 || mean > 11 {
		t.Errorf("mean burst %.1f packets, want about 10", mean)
	}
}

func TestTrace(t *testing.T) {
	trace, err := ParseTrace("2\n2\n5\n10\n")
	if err != nil {
		t.Fatal(err)
	}
	l := New[int](Config{Trace: trace, Delay: ms, QueueBytes: 1 << 20}, seeded(1))
	l.Send(0, 1500, 0)        // 2
	l.Send(0, 750, 1)         // 2, half of the second
	l.Send(0, 1500, 2)        // the other half, and half of 5
	l.Send(3*ms, 1500, 3)     // rest of 5 and half of 10
	l.Send(10*ms, 1500, 4)    // rest of 10, then 12 (second turn)
	l.Send(1234*ms, 1500, 5)  // 1235 = turn 123, 5
	l.Send(1236*ms, 100, 6)   // 1240
	l.Send(1241*ms, 100, 7)   // 1242: the rest of 1240 is wasted
	l.Send(1241*ms, 1400, 8)  // 1242
	l.Send(1241*ms, 1500, 9)  // 1242
	l.Send(1241*ms, 1500, 10) // 1245
	want := []time.Duration{2, 2, 5, 10, 12, 1235, 1240, 1242, 1242, 1242, 1245}
	got := drain(l, time.Hour)
	if len(got) != len(want) {
		t.Fatalf("%d delivered, want %d", len(got), len(want))
	}
	for i, a := range got {
		if a.v != i || a.at != want[i]*ms+ms {
			t.Errorf("delivery %d: %+v, want at %v", i, a, want[i]*ms+ms)
		}
	}
	for _, text := range []string{"", "5\n3\n", "x\n", "0\n", "-1\n"} {
		if _, err := ParseTrace(text); err == nil {
			t.Errorf("trace %q was accepted", text)
		}
	}
}

func TestPolicerMTUAndMark(t *testing.T) {
	l := New[int](Config{Rate: 100e6, Policer: &Policer{Rate: 12e6, Burst: 15000}, MTU: 1500}, seeded(1))
	ok := 0
	for i := range 1000 { // offered at 24 Mb/s
		if l.Send(time.Duration(i)*500*time.Microsecond, 1500, i).Accepted() {
			ok++
		}
	}
	if ok < 508 || ok > 511 {
		t.Errorf("%d packets passed, want 500 and the bucket's 10", ok)
	}
	if v := l.Send(time.Second, 1501, 0); v != DroppedMTU {
		t.Errorf("1501 bytes: %v", v)
	}
	m := New[int](Config{Rate: 12e6, MarkAbove: 2500 * time.Microsecond}, seeded(1))
	for i := range 5 {
		want := Queued
		if i >= 3 {
			want = Marked
		}
		if v := m.Send(0, 1500, i); v != want {
			t.Errorf("packet %d: %v, want %v", i, v, want)
		}
	}
}

func TestReorder(t *testing.T) {
	l := New[int](Config{Rate: 12e6, ReorderProb: 0.05}, seeded(4))
	for i := range 2000 {
		l.Send(time.Duration(i)*ms, 1500, i)
	}
	late, high := 0, -1
	for _, a := range drain(l, time.Hour) {
		if a.v < high {
			late++
		}
		high = max(high, a.v)
	}
	if late < 70 || late > 130 {
		t.Errorf("%d of 2000 overtaken, want about 100", late)
	}
}

// However the link is asked in between, the same sends give the same deliveries.
func TestSameSeedSameDeliveries(t *testing.T) {
	run := func(nosy bool) (got []arrival) {
		l := New[int](Config{Rate: 10e6, Delay: 20 * ms, Jitter: 10 * ms, Loss: 0.02, ReorderProb: 0.01, Queue: 50 * ms}, seeded(9))
		dice := seeded(10)
		now := time.Duration(0)
		for i := range 5000 {
			now += time.Duration(dice.IntN(int(2 * ms)))
			if nosy {
				l.QueueDelay(now)
				l.Set(now, func(*Config) {})
			}
			l.Send(now, 200+dice.IntN(1300), i)
			got = append(got, drain(l, now)...)
		}
		return append(got, drain(l, time.Hour)...)
	}
	a, b := run(false), run(true)
	if len(a) != len(b) {
		t.Fatalf("%d against %d deliveries", len(a), len(b))
	}
	for i := range a {
		d := a[i].at - b[i].at
		if a[i].v != b[i].v || d > 100*time.Microsecond || d < -100*time.Microsecond { // Set rounds up to 1 ns each
			t.Fatalf("delivery %d: %+v against %+v", i, a[i], b[i])
		}
	}
}

func TestCheck(t *testing.T) {
	good := Config{Rate: 1e6, Loss: 0.5, Steps: []Step{{1, 2}, {3, 0}}, Outages: []Span{{1, 2}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for i, c := range []Config{
		{Rate: -1}, {Loss: 1.1}, {Delay: -1}, {Steps: []Step{{5, 1}, {4, 1}}}, {Outages: []Span{{2, 1}}},
		{QueueBytes: -1}, {MTU: -1}, {Policer: &Policer{}}, {Trace: []time.Duration{0}}, {Gilbert: &GilbertElliott{ToBad: 2}}, {ReorderProb: -1},
	} {
		if c.Check() == nil {
			t.Errorf("configuration %d was accepted: %+v", i, c)
		}
	}
}

func BenchmarkLink(b *testing.B) {
	l := New[int](Config{Rate: 100e6, Delay: 20 * ms, Jitter: 5 * ms, Loss: 0.008, Queue: 100 * ms}, seeded(1))
	b.ReportAllocs()
	now := time.Duration(0)
	for i := range b.N {
		now += 119 * time.Microsecond
		l.Send(now, 1500, i)
		for {
			if _, ok := l.Receive(now); !ok {
				break
			}
		}
	}
}
