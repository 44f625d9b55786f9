package lab

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestSeries(t *testing.T) {
	const ms = time.Millisecond
	s := Series{Origin: time.Second}
	for at := time.Duration(0); at < time.Second; at += Bin {
		if at >= 300*ms && at < 420*ms { // nothing arrives for 120 ms
			continue
		}
		s.Add(time.Second+at+3*ms, 12_500) // 10 Mb/s
	}
	s.Add(0, 1000)                           // before the origin: not counted
	s.Add(time.Second+(maxBins+5)*Bin, 1000) // absurdly late: not counted
	if got := s.Mbps(500*ms, time.Second); math.Abs(got-10) > 1e-9 {
		t.Errorf("rate %v Mb/s, want 10", got)
	}
	if got, want := s.Between(0, time.Second), int64(12_500*88); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if longest, at := s.Silence(0, time.Second); longest != 120*ms || at != 300*ms {
		t.Errorf("silence of %v at %v, want 120ms at 300ms", longest, at)
	}
	// The end of the series is silence, too.
	if longest, at := s.Silence(500*ms, 1500*ms); longest != 500*ms || at != time.Second {
		t.Errorf("silence of %v at %v, want 500ms at 1s", longest, at)
	}
	if got := s.Slices(500 * ms); !slices.EqualFunc(got, []float64{7.6, 10}, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
		t.Errorf("slices %v, want 7.6 and 10", got)
	}
	other := Series{Origin: time.Second}
	other.Add(time.Second+300*ms, 5)
	other.Add(2*time.Second+5*ms, 7)
	s.Merge(other)
	if got, want := s.Between(0, 3*time.Second), int64(12_500*88+12); got != want {
		t.Errorf("%d bytes merged, want %d", got, want)
	}
}

func TestQuantile(t *testing.T) {
	ds := []time.Duration{5, 1, 4, 2, 3}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.2, 1}, {0.21, 2}, {0.5, 3}, {0.99, 5}, {1, 5}} {
		if got := Quantile(ds, c.q); got != c.want {
			t.Errorf("quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
}

func TestPingsSilence(t *testing.T) {
	const ms = time.Millisecond
	p := Pings{{0, 5}, {20 * ms, 5}, {40 * ms, -1}, {60 * ms, -1}, {80 * ms, 5}, {100 * ms, -1}}
	if got := p.Silence(); got != 60*ms {
		t.Errorf("silence %v, want 60ms", got)
	}
	if p.Lost() != 3 || len(p.RTTs()) != 3 {
		t.Errorf("%d lost, %d answered; want 3 and 3", p.Lost(), len(p.RTTs()))
	}
	if got := (Pings{{0, -1}, {20 * ms, -1}, {40 * ms, -1}}).Silence(); got != 40*ms {
		t.Errorf("silence of an unanswered series is %v, want 40ms", got)
	}
}

func TestLateness(t *testing.T) {
	var l lateness
	for i := range 1000 {
		l.add(time.Duration(i) * time.Microsecond)
	}
	l.add(time.Second) // beyond the scale
	l.add(-time.Second)
	if got := l.quantile(0.5); got < 490*time.Microsecond || got > 520*time.Microsecond {
		t.Errorf("median %v, want about 500µs", got)
	}
	if got := l.quantile(0.99); got < 980*time.Microsecond || got > 1010*time.Microsecond {
		t.Errorf("99th percentile %v, want about 990µs", got)
	}
	if got := (&lateness{}).quantile(0.5); got > latenessStep {
		t.Errorf("median of nothing %v", got)
	}
}

func TestUDPRecord(t *testing.T) {
	var r udpRecord
	for _, seq := range []int{0, 1, 3, 2, 2, 5000} {
		r.add(seq, time.Millisecond, 0, 100)
	}
	r.Sent = 5001
	if r.Received != 5 || r.Reordered != 1 || r.Duplicate != 1 || len(r.Delays) != 5 {
		t.Errorf("%+v", r.UDPResult)
	}
}

func TestChecksum(t *testing.T) {
	// RFC 1071 §3: the example's sum is ddf2.
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("checksum %04x", got)
	}
}
