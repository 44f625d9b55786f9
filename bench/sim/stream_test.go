package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/tunnel/buf"
)

// What streams must reach in a few seconds; the full sets and targets are in `bondd bench sim --service stream`.
func TestStreamFractions(t *testing.T) {
	slowWithRace(t)
	for _, c := range []struct {
		names []string
		down  bool
		from  time.Duration
		least float64 // of the limit
	}{
		{[]string{"V", "A"}, true, 2 * time.Second, .95},
		{[]string{"V", "L"}, false, 2 * time.Second, .94},
		{[]string{"V", "T"}, true, 2 * time.Second, .95},
		{[]string{"A", "G"}, true, 10 * time.Second, .92},
	} {
		var limit float64
		for _, n := range c.names {
			limit += lines[n].Rate / 1e6 * (1 - lines[n].Loss) * 1448 / 1500
		}
		r := start(t, bond(1, c.names, Flow{Kind: Stream, Down: c.down, Start: 500 * ms}, Flow{Kind: Ping}))
		to := c.from + 4*time.Second
		advance(t, r, to)
		got := r.Flows[0].Mbps(c.from, to) / limit
		ds, lost := r.Flows[1].Delays(c.from, to-time.Second)
		t.Logf("%v down %v: %.3f of %.1f Mb/s, echoes p50 %v p99 %v lost %d", c.names, c.down, got, limit, Quantile(ds, .5), Quantile(ds, .99), lost)
		if got < c.least {
			t.Errorf("%v, down %v: %.3f of %.1f Mb/s, want %.2f", c.names, c.down, got, limit, c.least)
		}
		if p99 := Quantile(ds, .99); p99 > 2*lines[c.names[0]].Delay+15*ms {
			t.Errorf("%v, down %v: echoes beside the stream take %v at the 99th percentile", c.names, c.down, p99)
		}
	}
}

// Streams share with each other and with packets, and together have little more waiting than one alone: what they send next is not old.
func TestStreamsShare(t *testing.T) {
	slowWithRace(t)
	const n = 20
	flows := []Flow{{Kind: TCP, Down: true, Start: 500 * ms}, {Kind: Ping}}
	for i := range n {
		flows = append(flows, Flow{Kind: Stream, Down: true, Start: 500*ms + time.Duration(i)*10*ms})
	}
	r := start(t, bond(1, []string{"V", "A"}, flows...))
	advance(t, r, 10*time.Second)
	share := 55. / (n + 1)
	for i, f := range r.Flows {
		if f.Kind == Ping {
			continue
		}
		if got := f.Mbps(4*time.Second, 10*time.Second); got < .75*share || got > 1.25*share {
			t.Errorf("flow %d: %.2f Mb/s, its share is %.2f", i, got, share)
		}
	}
	ds, lost := r.Flows[1].Delays(4*time.Second, 9*time.Second)
	if p99 := Quantile(ds, .99); p99 > 28*ms || lost > 0 {
		t.Errorf("echoes beside them take %v at the 99th percentile, %d were lost; the lines have 16 ms", p99, lost)
	}
	if st := r.exit.sess.Stats(r.Now()); st.Backlog > n*(streamBlock+32<<10) {
		t.Errorf("%d bytes wait to be sent", st.Backlog)
	}
}

// A short stream ends with both directions whole, one that is broken off with a reset, and a reader holds back only its own.
func TestStreamsEnd(t *testing.T) {
	slowWithRace(t)
	r := start(t, bond(1, []string{"V", "A"},
		Flow{Kind: Stream, Down: true, Bytes: 50_000, Start: time.Second},
		Flow{Kind: Stream, Bytes: 3_000_000, Start: time.Second},
		Flow{Kind: Stream, Down: true, Start: time.Second, Stop: 2 * time.Second},
		Flow{Kind: Stream, Down: true, Start: time.Second, Stop: 2 * time.Second, Abort: true},
		Flow{Kind: Stream, Down: true, Bytes: 2_000_000, Start: 1500 * ms, ReadRate: 2e6},
	))
	advance(t, r, 5*time.Second)
	if got := r.Flows[4].Mbps(2*time.Second, 5*time.Second); got < 1.9 || got > 2.1 {
		t.Errorf("a reader of 2 Mb/s gets %.2f", got)
	}
	advance(t, r, 12*time.Second)
	for i, f := range r.Flows {
		if f.Whole == f.Reset || f.Reset != f.Abort || f.Bytes > 0 && f.Received != f.Bytes {
			t.Errorf("flow %d: whole %v, reset %v, %d bytes", i, f.Whole, f.Reset, f.Received)
		}
	}
	atRest(t, r)
}

// atRest expects that nothing of streams is left in both sessions.
func atRest(t *testing.T, r *Run) {
	t.Helper()
	for _, n := range r.nodes() {
		if st := n.sess.Stats(r.Now()); st.Streams != 0 || st.Held != 0 || st.Backlog != 0 {
			t.Errorf("the %s keeps %d streams, holds %d bytes, has %d to send", n.name, st.Streams, st.Held, st.Backlog)
		}
	}
}

// manyStreams are n streams of all kinds that come and go until the given instant.
func manyStreams(rng *rand.Rand, n int, until time.Duration) []Flow {
	flows := make([]Flow, n)
	for i := range flows {
		f := &flows[i]
		*f = Flow{Kind: Stream, Down: rng.IntN(3) > 0, Bytes: uint64(math.Exp(rng.Float64() * math.Log(300_000)))}
		f.Start = 200*ms + time.Duration(rng.Int64N(int64(until)))
		switch rng.IntN(8) {
		case 0: // the client goes away, now and then at once
			f.Abort, f.Stop = true, f.Start+[]time.Duration{500 * ms, 10 * ms}[rng.IntN(2)]*time.Duration(rng.IntN(1000))/1000
		case 1:
			f.ReadRate = 1e5 + 2e6*rng.Float64()
		case 2: // ends when it likes
			f.Bytes, f.Stop = 0, f.Start+time.Duration(rng.Int64N(int64(time.Second)))
		}
	}
	return flows
}

// Two thousand streams through uplinks that flap, fail, move and are all out at times: what arrives of each is what was sent, once and in order
// (the applications see to that), each ends whole unless its client broke it off, and nothing is left of any.
func TestStreamsThroughFaults(t *testing.T) {
	slowWithRace(t)
	const until = 20 * time.Second
	rng := rand.New(rand.NewPCG(4, 2))
	sc := bond(4, []string{"V", "L", "A"}, manyStreams(rng, 2000, until)...)
	sc.Uplinks = append(sc.Uplinks, Symmetric("T", link.Config{Rate: 4e6, Delay: 60 * ms, Jitter: 20 * ms, Loss: .02, Queue: time.Second}))
	for at := time.Second; at < until; at += time.Duration(300+rng.IntN(700)) * ms {
		name := sc.Uplinks[rng.IntN(len(sc.Uplinks))].Name
		back := at + time.Duration(50+rng.IntN(1500))*ms
		switch rng.IntN(6) {
		case 0, 1:
			sc.Faults = append(sc.Faults, Cut(at, name, Both), Restore(back, name, Both))
		case 2:
			sc.Faults = append(sc.Faults, Cut(at, name, Direction(rng.IntN(2))), Restore(back, name, Both))
		case 3:
			sc.Faults = append(sc.Faults, Failed(at, name), Restore(back, name, Both))
		case 4:
			sc.Faults = append(sc.Faults, Move(at, name))
		case 5: // all of them
			for _, u := range sc.Uplinks {
				sc.Faults = append(sc.Faults, Cut(at, u.Name, Both), Restore(back, u.Name, Both))
			}
		}
	}
	taken := buf.Watch()
	r := start(t, sc)
	advance(t, r, 60*time.Second)
	whole, reset := 0, 0
	for i, f := range r.Flows {
		switch {
		case f.Whole && (f.Bytes == 0 || f.Received == f.Bytes):
			whole++
		case f.Reset && f.Abort:
			reset++
		default:
			t.Errorf("stream %d: %d of %d bytes, whole %v, reset %v, %+v", i, f.Received, f.Bytes, f.Whole, f.Reset, f.Flow)
		}
	}
	if whole < 1500 || reset < 50 {
		t.Errorf("%d streams were whole, %d broken off", whole, reset)
	}
	atRest(t, r)
	// What the lines have swallowed, or carry now, is all that was not given back.
	swallowed := 0
	for _, l := range r.lines {
		for _, st := range l.stats {
			swallowed += int(st.Datagrams - st.Dropped - st.Delivered)
		}
	}
	if n := taken(); n != swallowed {
		t.Errorf("%d buffers are not given back; %d were under way in lines that broke", n, swallowed)
	}
}

// All uplinks are out for 20 s: streams go on where they were.
func TestStreamsSurviveAnOutage(t *testing.T) {
	slowWithRace(t)
	sc := bond(1, []string{"V", "A"}, Flow{Kind: Stream, Down: true, Start: 500 * ms}, Flow{Kind: Stream, Start: 500 * ms})
	for _, u := range sc.Uplinks {
		sc.Faults = append(sc.Faults, Cut(2*time.Second, u.Name, Both), Restore(22*time.Second, u.Name, Both))
	}
	r := start(t, sc)
	advance(t, r, 30*time.Second)
	for i, f := range r.Flows {
		if got := f.Mbps(28*time.Second, 30*time.Second); f.Reset || got < 50 {
			t.Errorf("stream %d: reset %v, %.1f Mb/s after the outage", i, f.Reset, got)
		}
		t.Logf("stream %d: silent for %v", i, f.Silence(2*time.Second, 30*time.Second))
	}
}

// A thin line is left, or one that is slower by far: what the dead one had delivered is not sent again before what is missing.
func TestStreamsGoOnOverAThinLine(t *testing.T) {
	slowWithRace(t)
	for _, c := range []struct{ names, victim string }{{"VT", "V"}, {"VL", "V"}, {"AG", "G"}} {
		at := 8 * time.Second
		sc := bond(1, []string{c.names[:1], c.names[1:]}, Flow{Kind: Stream, Down: true, Start: 500 * ms})
		sc.Faults = []Fault{Cut(at, c.victim, Both)}
		r := start(t, sc)
		advance(t, r, at+2*time.Second)
		if stall := r.Flows[0].Silence(at-100*ms, at+2*time.Second); stall > 200*ms && c.victim != "G" || stall > 400*ms {
			t.Errorf("%s without %s: silent for %v", c.names, c.victim, stall)
		}
	}
}

// What a satellite loses is told of and repaired by the other lines; by itself it would be silent for another round trip.
func TestStreamsDoNotWaitForASatellite(t *testing.T) {
	slowWithRace(t)
	from, to := 12*time.Second, 18*time.Second // it has left start-up
	r := start(t, bond(1, []string{"V", "G"}, Flow{Kind: Stream, Down: true, Start: 500 * ms}))
	advance(t, r, to)
	if stall := r.Flows[0].Silence(from, to); stall > 100*ms {
		t.Errorf("silent for %v", stall)
	}
}

// With streams too, the same seed is the same run.
func TestStreamsOfEqualSeeds(t *testing.T) {
	slowWithRace(t)
	hash := func() string {
		rng := rand.New(rand.NewPCG(9, 9))
		r := start(t, bond(9, []string{"V", "L"}, manyStreams(rng, 100, time.Second)...))
		advance(t, r, 2*time.Second)
		return fmt.Sprint(r.Hash())
	}
	if a, b := hash(), hash(); a != b {
		t.Errorf("two runs of one seed: %s and %s", a, b)
	}
}
