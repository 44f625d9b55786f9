package cc

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 99)) }

// feeder hands a controller the acknowledgements of an ideal path: one every
// 10 ms, each as if rate had come through.
type feeder struct {
	c     *BBR
	now   time.Duration
	total uint64
	rtt   time.Duration
}

func (f *feeder) ack(rate float64, queue time.Duration, changes ...func(*Ack)) {
	f.now += 10 * ms
	n := int(rate / 100)
	f.total += uint64(n)
	flight := uint64(rate * (f.rtt + queue).Seconds())
	a := Ack{Delivered: n, Inflight: int(flight), Rate: rate, RTT: f.rtt + queue, Queue: queue, DeliveredTotal: f.total, DeliveredAtSend: f.total - min(f.total, flight)}
	for _, change := range changes {
		change(&a)
	}
	f.c.OnSent(f.now, n, a.Inflight)
	f.c.OnAck(f.now, a)
}

// settled is a controller that has learnt a path of 1 MB/s and 40 ms.
func settled(t *testing.T) *feeder {
	t.Helper()
	f := &feeder{c: New(Config{MSS: 1400}, seeded(1)), rtt: 40 * ms}
	for range 500 {
		f.ack(1e6, 0)
	}
	if r := f.c.Rate(); r != 1e6 {
		t.Fatalf("the estimate is %.0f, want 1e6", r)
	}
	if f.c.State() == "startup" || f.c.State() == "drain" {
		t.Fatalf("still in %s after 5 s", f.c.State())
	}
	return f
}

func TestBeforeTheFirstSample(t *testing.T) {
	c := New(Config{MSS: 1400}, seeded(1))
	if w := c.Window(); w < 10*1400 || w > 32*1400 {
		t.Errorf("first window %d, want 10 to 32 datagrams", w)
	}
	if r := c.PacingRate(); r < float64(c.Window())/0.05 || r > float64(c.Window())/0.001 {
		t.Errorf("first pacing rate %.0f: the window neither waits nor bursts", r)
	}
	if c.Rate() != 0 || c.MinRTT() != 0 || c.State() != "startup" {
		t.Errorf("a new path claims to know rate %v, round trip %v, state %s", c.Rate(), c.MinRTT(), c.State())
	}
	s := New(Config{MSS: 1400, SeedRate: 3e6, SeedRTT: 30 * ms}, seeded(1))
	if w := s.Window(); w < 10*1400 {
		t.Errorf("window %d with a seed", w)
	}
	if r := s.PacingRate(); r != 3e6 {
		t.Errorf("pacing %v, want the seed", r)
	}
}

func TestRestartKeepsRate(t *testing.T) {
	f := settled(t)
	f.c.Restart(f.now, 4e5)
	if f.c.Rate() != 0 || f.c.State() != "startup" || f.c.PacingRate() != 4e5 {
		t.Errorf("after the restart: rate %v, state %s, pacing %v", f.c.Rate(), f.c.State(), f.c.PacingRate())
	}
	for range 500 {
		f.ack(2e6, 0)
	}
	if r := f.c.Rate(); r != 2e6 {
		t.Errorf("learnt %v on the new ground, want 2e6", r)
	}
}

func TestCapHolds(t *testing.T) {
	c := New(Config{MSS: 1400, MaxRate: 5e5}, seeded(1))
	f := &feeder{c: c, rtt: 40 * ms}
	for range 500 {
		f.ack(1e6, 0)
		if r := c.PacingRate(); r > 5e5 {
			t.Fatalf("pacing %v above the cap", r)
		}
	}
	c.SetMaxRate(0)
	if r := c.PacingRate(); r <= 5e5 {
		t.Errorf("pacing %v with the cap removed", r)
	}
}

func TestAppLimitedNeverLowers(t *testing.T) {
	f := settled(t)
	for range 3000 {
		f.ack(1e5, 0, func(a *Ack) { a.AppLimited = true })
	}
	if r := f.c.Rate(); r != 1e6 {
		t.Errorf("half a minute of small app-limited samples moved the estimate to %v", r)
	}
	f.ack(1.5e6, 0, func(a *Ack) { a.AppLimited = true })
	if r := f.c.Rate(); r != 1.5e6 {
		t.Errorf("an app-limited sample above the estimate left it at %v", r)
	}
}

func TestDelayBoundClosesTheWindow(t *testing.T) {
	f := settled(t)
	open := f.c.Window()
	if path := 1e6 * .040; float64(open) < 1.9*path {
		t.Errorf("window %d without a queue, want about twice the path", open)
	}
	for range 12 {
		f.ack(1e6, 40*ms)
	}
	if w := f.c.Window(); float64(w) > 1.25*1e6*.040 {
		t.Errorf("window %d with a queue of 40 ms standing, want about 1.1 of the path", w)
	}
	if r := f.c.PacingRate(); r >= 1e6 {
		t.Errorf("pacing %v into a standing queue", r)
	}
}

func TestTimeoutAndRecovery(t *testing.T) {
	f := settled(t)
	before := f.c.Window()
	f.c.OnTimeout(f.now)
	if w := f.c.Window(); w > 4*1400 {
		t.Errorf("window %d after everything was lost", w)
	}
	if r := f.c.Rate(); r != 1e6 {
		t.Errorf("the estimate went to %v; a silence says nothing about the rate", r)
	}
	for range 20 {
		f.ack(1e6, 0)
	}
	if w := f.c.Window(); w < before*9/10 {
		t.Errorf("window %d 200 ms after the return, before it was %d", w, before)
	}
}

// Paths whose base has gone stale probe it in turns.
func TestProbeRTTIsStaggered(t *testing.T) {
	for _, phase := range []time.Duration{1 * time.Second, 6 * time.Second} {
		f := settled(t)
		f.c.ProbeRTTAt(phase)
		var began []time.Duration
		was := f.c.State()
		for f.now < 31*time.Second {
			// Three milliseconds never go away: too little to be left, too
			// much to show the base.
			f.ack(1e6, 3*ms)
			if s := f.c.State(); s != was {
				if s == "probe-rtt" {
					began = append(began, f.now)
				}
				was = s
			}
		}
		turns := 0
		for _, at := range began {
			if (at-phase)%(10*time.Second) < 50*ms {
				turns++
			}
		}
		if turns < 2 {
			t.Errorf("phase %v: probes at %v, want at least two in turn", phase, began)
		}
	}
	f := settled(t) // the base is seen all the time: one proof at the start, no probes
	probes := 0
	was := f.c.State()
	for f.now < 31*time.Second {
		f.ack(1e6, 0)
		if s := f.c.State(); s != was {
			if s == "probe-rtt" {
				probes++
			}
			was = s
		}
	}
	if probes > 1 {
		t.Errorf("%d probes of a base that is seen all the time", probes)
	}
}

func TestMarksEndStartup(t *testing.T) {
	f := &feeder{c: New(Config{MSS: 1400}, seeded(1)), rtt: 40 * ms}
	rate := 1e5
	for range 12 {
		f.ack(rate, 0)
		rate *= 1.2
	}
	if f.c.State() != "startup" {
		t.Fatalf("%s before the mark", f.c.State())
	}
	f.ack(rate, 0, func(a *Ack) { a.CE = 3 })
	if f.c.State() == "startup" {
		t.Error("start-up goes on past congestion marks")
	}
}

// A flow that never fills its window floods a thin line all the same: start-up must not go on for that.
func TestFloodedThinPathEndsStartup(t *testing.T) {
	for _, c := range []struct {
		lost int // of 32 datagrams
		want bool
	}{{2, false}, {12, true}} {
		f := &feeder{c: New(Config{MSS: 1400}, seeded(1)), rtt: 40 * ms}
		for range 20 {
			f.ack(32*1400*100, 0, func(a *Ack) {
				a.AppLimited, a.Rate = true, 150e3
				a.Lost = c.lost * 1400
				a.Delivered -= a.Lost
			})
		}
		if got := f.c.State() != "startup"; got != c.want {
			t.Errorf("%d of 32 lost, limited by the flow: state %s", c.lost, f.c.State())
		}
	}
}

func TestStartupIsQuick(t *testing.T) {
	n := newSimNet(link.Config{Rate: 50e6, Delay: 8 * ms, Queue: 100 * ms}, link.Config{Delay: 8 * ms}, 1)
	f := n.add(New(Config{MSS: packetSize}, seeded(1)), 0)
	n.run(2100 * ms)
	if use := float64(f.marks[19]) * 8 / 2 / 50e6; use < 0.85 {
		t.Errorf("the first two seconds used %.2f of the link, want 0.85", use)
	}
}

// Whatever is reported, window and rate stay finite and above zero.
func TestSurvivesNonsense(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		dice := seeded(seed)
		c := New(Config{MSS: dice.IntN(3000) - 500, MaxRate: [...]float64{0, 1, math.NaN(), math.Inf(1), 1e9, -1}[dice.IntN(6)], SeedRate: math.Exp(dice.Float64() * 40)}, dice)
		now := time.Duration(0)
		rates := [...]float64{0, 1, 1e3, 1e6, 1e9, 1e300, math.Inf(1), math.NaN(), -5}
		delays := [...]time.Duration{0, 1, ms, 20 * ms, time.Second, time.Hour, math.MaxInt64 / 4, -1, -time.Hour}
		total := uint64(0)
		for i := range 4000 {
			now += time.Duration(dice.Int64N(int64([...]time.Duration{1, ms, 30 * ms, 3 * time.Second}[dice.IntN(4)])))
			switch dice.IntN(40) {
			case 0:
				c.OnTimeout(now)
			case 1:
				c.Restart(now, rates[dice.IntN(len(rates))])
			case 2:
				c.SetMSS(dice.IntN(70000) - 100)
			case 3:
				c.ProbeRTTAt(delays[dice.IntN(len(delays))])
			default:
				total += uint64(dice.IntN(100000))
				c.OnSent(now, dice.IntN(3000)-100, dice.IntN(1<<20)-1000)
				c.OnAck(now, Ack{
					Delivered: dice.IntN(100000) - 1000, Lost: max(0, dice.IntN(20000)-15000), Inflight: dice.IntN(1<<22) - 1000,
					Rate: rates[dice.IntN(len(rates))], AppLimited: dice.IntN(4) == 0, RTT: delays[dice.IntN(len(delays))], Queue: delays[dice.IntN(len(delays))],
					DeliveredAtSend: total - min(total, uint64(dice.IntN(200000))), DeliveredTotal: total, CE: max(0, dice.IntN(20)-18),
				})
			}
			if w := c.Window(); w < 2*256 || w > maxWindow {
				t.Fatalf("seed %d step %d, %s: window %d", seed, i, c.State(), w)
			}
			if r := c.PacingRate(); !(r > 0) || math.IsInf(r, 0) {
				t.Fatalf("seed %d step %d, %s: pacing %v", seed, i, c.State(), r)
			}
			if r := c.Rate(); !(r >= 0) || math.IsInf(r, 0) {
				t.Fatalf("seed %d step %d, %s: rate %v", seed, i, c.State(), r)
			}
			if c.MinRTT() < 0 {
				t.Fatalf("seed %d step %d: round trip %v", seed, i, c.MinRTT())
			}
		}
	}
}

func TestAckAllocatesNothing(t *testing.T) {
	f := settled(t)
	a := Ack{Delivered: 10000, Inflight: 40000, Rate: 1e6, RTT: 40 * ms, DeliveredTotal: f.total}
	if n := testing.AllocsPerRun(10000, func() {
		f.now += 10 * ms
		a.DeliveredTotal += 10000
		a.DeliveredAtSend = a.DeliveredTotal - 40000
		f.c.OnSent(f.now, 10000, 30000)
		f.c.OnAck(f.now, a)
	}); n != 0 {
		t.Errorf("%v allocations per acknowledgement", n)
	}
}

func BenchmarkOnAck(b *testing.B) {
	f := &feeder{c: New(Config{MSS: 1400}, seeded(1)), rtt: 40 * ms}
	b.ReportAllocs()
	for range b.N {
		f.ack(1e6, ms)
	}
}

// A test of the loss holds the flow to three quarters of what came through. With little to send it may never see enough: it ends all the same, and the next
// one is not due at once.
func TestLossTestEndsWithLittleToSend(t *testing.T) {
	f := settled(t)
	lossy := func(a *Ack) { a.Lost = a.Delivered / 9 }
	for n := 0; !f.c.testing; n++ {
		if n == 1000 {
			t.Fatal("10 % loss without a queue are never tested")
		}
		f.ack(1e6, 0, lossy)
	}
	began := f.now
	for f.c.testing && f.now-began < time.Minute {
		f.ack(1e4, 0, lossy, func(a *Ack) { a.AppLimited = true })
	}
	if d := f.now - began; d > testLongest+100*ms {
		t.Errorf("the test lasted %v", d)
	}
	for f.now-began < testEvery {
		if f.ack(1e6, 0, lossy); f.c.testing {
			t.Fatalf("another began %v after the first", f.now-began)
		}
	}
}

// Who sends less than a test would let through, and loses, is no policer's victim: there is nothing to test.
func TestNoLossTestWithLittleToSend(t *testing.T) {
	f := settled(t)
	for i := range 1000 {
		f.ack(5e5, 0, func(a *Ack) {
			if a.Rate = 1e6; i > 200 {
				a.Lost = a.Delivered / 9
			}
		})
		if f.c.testing {
			t.Fatal("tested at half the rate")
		}
	}
}
