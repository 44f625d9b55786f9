package cc

import (
	"testing"
	"time"
)

// The slotted minimum lies between the true minimum of the whole window and
// that of seven eighths of it.
func TestMinimumAgainstTheObvious(t *testing.T) {
	type sample struct{ at, v time.Duration }
	for seed := uint64(1); seed <= 20; seed++ {
		dice := seeded(seed)
		var m minimum
		var all []sample
		now := time.Duration(dice.Int64N(int64(time.Hour)))
		span := 800 * ms
		for range 3000 {
			now += time.Duration(dice.Int64N(int64([...]time.Duration{ms, 20 * ms, 400 * ms}[dice.IntN(3)])))
			v := time.Duration(dice.Int64N(int64(time.Second)))
			m.add(now, span, v)
			all = append(all, sample{now, v})
			long, short := never, never
			for i := len(all) - 1; i >= 0 && all[i].at > now-span; i-- {
				long = min(long, all[i].v)
				if all[i].at > now-span*7/8 {
					short = min(short, all[i].v)
				}
			}
			if got := m.value(now); got < long || got > short {
				t.Fatalf("seed %d: %v, want between %v and %v", seed, got, long, short)
			}
		}
		if m.value(now+2*span) != never {
			t.Fatal("the window has passed and the minimum is still there")
		}
	}
}

func TestMinimumKeepsItsValueWhenTheSpanChanges(t *testing.T) {
	var m minimum
	m.add(time.Second, 100*ms, 7)
	m.add(time.Second+ms, 400*ms, 9)
	if v := m.value(time.Second + ms); v != 7 {
		t.Errorf("minimum %v, want 7", v)
	}
}

func TestBandwidthRemembersTwoCycles(t *testing.T) {
	var b bandwidth
	b.add(10)
	b.advance()
	b.add(6)
	if b.value() != 10 {
		t.Errorf("%v one cycle later, want 10", b.value())
	}
	b.advance()
	if b.value() != 6 {
		t.Errorf("%v two cycles later, want 6", b.value())
	}
	b.advance() // nothing was measured in this one
	if b.value() != 6 {
		t.Errorf("%v after an empty cycle, want 6", b.value())
	}
	b.limit(4)
	if b.value() != 4 {
		t.Errorf("%v after the limit, want 4", b.value())
	}
}

func TestBase(t *testing.T) {
	var b Base
	if _, ok := b.Low(0); ok {
		t.Error("a base without a sample")
	}
	offset := -5 * time.Hour // the clocks of the two ends differ by anything
	if q := b.Queue(0, offset+30*ms, 60*ms); q != 0 {
		t.Errorf("first sample: queue %v", q)
	}
	if q := b.Queue(ms, offset+42*ms, 72*ms); q != 12*ms {
		t.Errorf("queue %v, want 12 ms", q)
	}
	if q := b.Queue(2*ms, offset+25*ms, 55*ms); q != 0 {
		t.Errorf("a new base shows a queue of %v", q)
	}
	if q := b.Queue(30*time.Second, offset+45*ms, 75*ms); q != 20*ms {
		t.Errorf("queue %v after 30 s, want 20 ms", q)
	}
	if q := b.Queue(3*time.Minute, offset+45*ms, 75*ms); q != 0 {
		t.Errorf("queue %v: the base should have gone with its window", q)
	}
	b.Reset()
	if _, ok := b.Low(3 * time.Minute); ok {
		t.Error("a base after the reset")
	}
}

// Clocks that drift apart by 200 ppm show as no queue for as long as the road is empty now and then, and a neighbour's queue that stands for
// most of a minute still shows as what it is.
func TestBaseTellsDriftFromQueue(t *testing.T) {
	for _, ppm := range []int64{200, -200, 100} {
		var b Base
		for now := time.Duration(0); now < 10*time.Minute; now += 10 * ms {
			drift := now * time.Duration(ppm) / 1_000_000
			queue := time.Duration(0)
			switch at := now % time.Minute; {
			case at < 50*time.Second:
				queue = 40*ms + time.Duration(at)/1000 // a neighbour
			case at%(200*ms) >= 20*ms:
				queue = 8 * ms // our own, which comes and goes
			}
			got := b.Queue(now, 20*ms+drift+queue, 40*ms+queue)
			if now < time.Minute {
				continue // the first minute begins in the queue
			}
			// In 50 s without an empty road the drift is 10 ms at the most.
			if low, high := queue-11*ms, queue+11*ms; got < low || got > high {
				t.Fatalf("%d ppm, at %v: a queue of %v is taken for %v", ppm, now, queue, got)
			}
			if at := now % time.Minute; at > 55*time.Second && (got < queue-ms || got > queue+ms) {
				t.Fatalf("%d ppm, at %v: some time after the neighbour has gone, a queue of %v is taken for %v", ppm, now, queue, got)
			}
		}
	}
}
