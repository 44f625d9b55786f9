package sim

import (
	"math"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
)

const ms = time.Millisecond

// lines are those of DESIGN section 9.
var lines = map[string]link.Config{
	"V":  {Rate: 50e6, Delay: 8 * ms, Queue: 100 * ms},
	"A":  {Rate: 10e6, Delay: 12 * ms, Queue: 300 * ms},
	"L":  {Rate: 30e6, Delay: 25 * ms, Jitter: 8 * ms, Loss: .005, Queue: 200 * ms},
	"L2": {Rate: 20e6, Delay: 20 * ms, Jitter: 10 * ms, Loss: .01, Queue: 200 * ms},
	"L3": {Rate: 20e6, Delay: 35 * ms, Jitter: 10 * ms, Loss: .01, Queue: 200 * ms},
	"G":  {Rate: 20e6, Delay: 300 * ms, Loss: .002, Queue: 300 * ms},
	"T":  {Rate: 2e6, Delay: 60 * ms, Jitter: 20 * ms, Queue: 2000 * ms},
	"S":  {Rate: 100e6, Delay: 20 * ms, Jitter: 5 * ms, Loss: .008, Queue: 100 * ms},
}

// plain runs one TCP flow over one line and returns it and its rate after the
// start.
func plain(t *testing.T, cfg link.Config, tcp TCPConfig, duration time.Duration, seed uint64) (*FlowResult, float64) {
	t.Helper()
	rs, err := Plain(cfg, []Flow{{Kind: TCP, Down: true, TCP: tcp}}, duration, seed)
	if err != nil {
		t.Fatal(err)
	}
	return rs[0], rs[0].Mbps(4*time.Second, duration)
}

// What the kernel (Linux 6.18) reaches over the same lines in the lab, one flow,
// 4 s to 24 s. On lossy lines a single run scatters, here as there; the bounds
// leave room for that, and none for another congestion control.
func TestPlainTCPLikeTheKernel(t *testing.T) {
	slowWithRace(t)
	for _, c := range []struct {
		line   string
		bbr    bool
		lo, hi float64 // Mb/s
	}{
		{"V", false, 47.5, 48.3},
		{"A", false, 9.4, 9.66},
		{"L", false, 1.6, 4}, // kernel 1.9 .. 2.7
		{"L2", false, 1.4, 3},
		{"L3", false, .7, 2},
		{"G", false, 1.5, 6}, // kernel 1.9
		{"T", false, 1.6, 1.94},
		{"S", false, 2, 4},
		{"V", true, 46, 48.3},
		{"L", true, 26, 28.8},
		{"L2", true, 17, 19.2},
		{"S", true, 70, 96},
	} {
		var mean float64
		const seeds = 3
		for seed := range uint64(seeds) {
			_, mbps := plain(t, lines[c.line], TCPConfig{BBR: c.bbr}, 24*time.Second, seed)
			mean += mbps / seeds
		}
		if mean < c.lo || mean > c.hi {
			t.Errorf("%s (bbr %v): %.2f Mb/s, want %.2f to %.2f", c.line, c.bbr, mean, c.lo, c.hi)
		}
	}
}

// The rate under random loss follows the square root law: Mathis' formula,
// rate = C × MSS/(RTT × sqrt(loss)), with C about 1.2 for Reno and CUBIC's
// friendly region, more where CUBIC is ahead of Reno (little loss), less where
// timeouts take their share (much loss).
func TestPlainTCPFollowsTheLossRate(t *testing.T) {
	slowWithRace(t)
	for _, loss := range []float64{.0025, .01, .04} {
		var mean float64
		for seed := range uint64(4) {
			_, mbps := plain(t, link.Config{Rate: 200e6, Delay: 20 * ms, Queue: 200 * ms, Loss: loss}, TCPConfig{}, 40*time.Second, seed)
			mean += mbps / 4
		}
		c := mean * 1e6 / 8 * .040 * math.Sqrt(loss) / 1448
		if c < .6 || c > 1.6 {
			t.Errorf("loss %g: %.2f Mb/s, a constant of %.2f", loss, mean, c)
		}
	}
}

// Packets that overtake each other on a line must not be taken for lost for
// long: RACK widens its window, and reductions are undone.
func TestReorderingIsNotLoss(t *testing.T) {
	slowWithRace(t)
	r, mbps := plain(t, link.Config{Rate: 20e6, Delay: 20 * ms, Queue: 100 * ms, ReorderProb: .01}, TCPConfig{}, 14*time.Second, 1)
	if mbps < 18 {
		t.Errorf("%.2f Mb/s over 20 Mb/s with 1 %% reordering; %+v", mbps, r.Sender())
	}
	if late, _ := r.Order(); late < 100 {
		t.Errorf("only %d packets were late: the line did not reorder", late)
	}
}

// A finite transfer ends with its last byte, whatever is lost: the tail by a
// loss probe, not by a timeout.
func TestTransferCompletes(t *testing.T) {
	slowWithRace(t)
	var timeouts, probes uint64
	for seed := range uint64(40) {
		cfg := link.Config{Rate: 10e6, Delay: 15 * ms, Queue: 100 * ms, Loss: .03}
		rs, err := Plain(cfg, []Flow{{Kind: TCP, Down: true, Bytes: 50_000}, {Kind: TCP, Bytes: 3_000_001, Start: 100 * ms}}, 40*time.Second, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			if r.Done == 0 || r.Received != r.Bytes {
				t.Errorf("seed %d: %d of %d bytes, done at %v; %+v", seed, r.Received, r.Bytes, r.Done, r.Sender())
			}
			timeouts += r.Sender().Timeouts
			probes += r.Sender().Probes
		}
	}
	if probes == 0 {
		t.Error("no loss probe was needed in 80 transfers")
	}
	if timeouts > 40 {
		t.Errorf("%d timeouts in 80 transfers", timeouts)
	}
}

// After a hole in time the sender goes on by its retransmission timer, whose
// floor is 200 ms above the round trip.
func TestOutageIsSurvived(t *testing.T) {
	cfg := link.Config{Rate: 10e6, Delay: 10 * ms, Queue: 100 * ms, Outages: []link.Span{{From: 5 * time.Second, To: 6 * time.Second}}}
	r, _ := plain(t, cfg, TCPConfig{}, 12*time.Second, 1)
	if s := r.Sender(); s.Timeouts == 0 || s.Timeouts > 4 {
		t.Errorf("%d timeouts in an outage of 1 s", s.Timeouts)
	}
	if silence := r.Silence(4*time.Second, 12*time.Second); silence < time.Second || silence > 2500*ms {
		t.Errorf("silent for %v", silence)
	}
	if mbps := r.Mbps(9*time.Second, 12*time.Second); mbps < 9 {
		t.Errorf("%.2f Mb/s after the outage", mbps)
	}
}

// The receive window starts at 64 KB and grows with what arrives, up to half of
// the buffer.
func TestReceiveWindowAutotunes(t *testing.T) {
	slowWithRace(t)
	cfg := link.Config{Rate: 100e6, Delay: 50 * ms, Queue: 200 * ms}
	if _, mbps := plain(t, cfg, TCPConfig{}, 14*time.Second, 1); mbps < 90 {
		t.Errorf("%.1f Mb/s with a window that should have grown", mbps)
	}
	_, mbps := plain(t, cfg, TCPConfig{ReceiveBuffer: 400_000}, 14*time.Second, 1)
	if want := 200_000 * 8 / .1 / 1e6; mbps < want*.85 || mbps > want*1.02 {
		t.Errorf("%.1f Mb/s with a window of 200 kB and 100 ms, want %.1f", mbps, want)
	}
}

// ACKs: about one for two segments; far fewer where segments are coalesced.
func TestAcksAreDelayedAndStretched(t *testing.T) {
	acks := func(tcp TCPConfig, cfg link.Config) float64 {
		r, _ := plain(t, cfg, tcp, 6*time.Second, 1)
		return float64(r.conns[1].snd.stats.Segments) / float64(r.conns[0].id)
	}
	even := link.Config{Rate: 20e6, Delay: 10 * ms, Queue: 50 * ms}
	if got := acks(TCPConfig{}, even); got < 1.7 || got > 2.1 {
		t.Errorf("%.2f segments per ACK, want about 2", got)
	}
	// A line that releases in bursts, as a radio does.
	bursts := even
	for range 8 {
		bursts.Trace = append(bursts.Trace, 4*ms)
	}
	if got := acks(TCPConfig{GRO: true}, bursts); got < 4 {
		t.Errorf("%.2f segments per ACK with GRO and bursts of 8, want more", got)
	}
}

// HyStart leaves slow start before the queue of 1000 packets is full; HyStart++,
// which sees the queue a round later and still grows for five, overflows it by
// far less than the whole window that doubling would.
func TestHyStartSparesTheQueue(t *testing.T) {
	slowWithRace(t)
	cfg := link.Config{Rate: 50e6, Delay: 20 * ms, Queue: 200 * ms}
	for _, c := range []struct {
		tcp  TCPConfig
		lost uint64
	}{{TCPConfig{}, 0}, {TCPConfig{HyStartPP: true}, 400}} {
		r, _ := plain(t, cfg, c.tcp, 2*time.Second, 1)
		if n := r.Sender().Retransmits; n > c.lost {
			t.Errorf("HyStart++ %v: %d retransmissions in the first 2 s", c.tcp.HyStartPP, n)
		}
		if mbps := r.Mbps(time.Second, 2*time.Second); mbps < 30 {
			t.Errorf("HyStart++ %v: %.1f Mb/s in the second second", c.tcp.HyStartPP, mbps)
		}
	}
}
