package tunnel

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/link"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel/buf"
	"github.com/bondd/bondd/tunnel/seal"
)

// send pushes numbered packets [from, to) of one flow, one every gap, and lets them arrive.
func (p *pair) send(side int, proto uint8, from, to uint32, gap time.Duration) {
	for n := from; n < to; n++ {
		p.ends[side].s.PushPackets(p.now, []*buf.Buf{packet(proto, 7, n, 200)})
		p.run(p.now+gap, nil)
	}
}

// wantNumbers fails unless exactly the numbers [0, n) came out at side, in order if ordered.
func (p *pair) wantNumbers(side int, n uint32, ordered bool) {
	p.t.Helper()
	seen := map[uint32]bool{}
	var last int64 = -1
	for _, b := range p.ends[side].got {
		k := number(b)
		if seen[k] {
			p.t.Errorf("packet %d came out twice", k)
		}
		seen[k] = true
		if ordered && int64(k) < last {
			p.t.Errorf("packet %d after %d", k, last)
		}
		last = int64(k)
	}
	if len(seen) != int(n) {
		p.t.Errorf("%d packets came out, want %d", len(seen), n)
	}
}

func TestPacketsCrossBothWays(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	p.run(200*ms, nil)
	for side := range 2 {
		p.send(side, 6, 0, 100, ms)
		p.send(side, 17, 100, 200, ms)
		p.run(p.now+200*ms, nil)
		p.wantNumbers(1-side, 200, false)
	}
	for _, e := range p.ends {
		if d := e.s.drops; d != (Drops{}) {
			t.Errorf("drops on a clean network: %+v", d)
		}
	}
}

func TestPathIsUsedOnlyWhenProvenInBothDirections(t *testing.T) {
	for _, deaf := range []int{0, 1} {
		p := newPair(t, 1, linkV, linkA)
		p.filter = func(from, path int, _ []byte) bool { return path != 1 || from != deaf }
		p.run(2*time.Second, nil)
		for side, e := range p.ends {
			for _, q := range e.s.paths {
				if want := q.id == 0; (q.sched.State() == scheduler.Up) != want {
					t.Errorf("deaf side %d: at side %d path %d is %v", deaf, side, q.id, q.sched.State())
				}
			}
		}
	}
}

func TestOrderedFlowSurvivesLossInOrder(t *testing.T) {
	lossy := link.Config{Rate: 20 * mbit, Delay: 20 * ms, Loss: .03}
	p := newPair(t, 3, lossy, link.Config{Rate: 20 * mbit, Delay: 35 * ms, Loss: .03})
	p.run(300*ms, nil)
	p.send(0, 6, 0, 3000, ms)
	p.run(p.now+time.Second, nil)
	// Beyond the hold time a packet may be given up, but with repair on another path that must stay rare.
	if n := len(p.ends[1].got); n < 2995 {
		t.Errorf("%d of 3000 arrived", n)
	}
	st := p.ends[0].s.Stats(p.now).Sending
	if st.Retransmitted == 0 {
		t.Error("nothing was sent again at 3 % loss")
	}
	var late int
	var last uint32
	for _, b := range p.ends[1].got {
		if number(b) < last {
			late++
		}
		last = max(last, number(b))
	}
	if late > 3 {
		t.Errorf("%d packets came out of order", late)
	}
}

func TestBlackHoleIsLeftAtOnce(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	each := p.greedy(256 << 10)
	var last, stall time.Duration
	p.ends[1].onPkt = func(now time.Duration, _ []byte) {
		if now > time.Second {
			stall = max(stall, now-last)
		}
		last = now
	}
	p.run(2*time.Second, each)
	p.filter = func(_, path int, _ []byte) bool { return path != 0 }
	p.run(4*time.Second, each)
	if stall > 200*ms {
		t.Errorf("delivery stalled for %v", stall)
	}
	if p.now-last > 100*ms {
		t.Errorf("nothing delivered for %v at the end", p.now-last)
	}
	p.filter = nil
	p.run(8*time.Second, each)
	if s := p.ends[0].s.paths[0].sched.State(); s != scheduler.Up {
		t.Errorf("the path that came back is %v", s)
	}
	start := p.ends[1].bytes
	p.run(10*time.Second, each)
	if got := float64(p.ends[1].bytes-start) * 8 / 2 / mbit; got < .85*60 {
		t.Errorf("%.1f Mb/s after the path came back", got)
	}
}

func TestReplayedForgedAndStrangeDatagramsAreCounted(t *testing.T) {
	p := newPair(t, 1, linkV)
	var kept [][]byte
	p.filter = func(from, _ int, dg []byte) bool {
		if from == 0 && len(kept) < 50 {
			kept = append(kept, bytes.Clone(dg))
		}
		return true
	}
	p.run(200*ms, nil)
	p.send(0, 6, 0, 20, ms)
	p.run(p.now+100*ms, nil)
	s := p.ends[1].s
	inject := func(dg []byte) {
		b := buf.Get()
		b.Append(dg)
		s.PushDatagrams(p.now, []Arrival{{Buf: b, From: Endpoint{Remote: address(0, 0)}, At: p.now}})
	}
	for _, dg := range kept {
		inject(dg)
	}
	if s.drops.Replayed != uint64(len(kept)) {
		t.Errorf("%d of %d replays refused", s.drops.Replayed, len(kept))
	}
	for i := range kept {
		bad := bytes.Clone(kept[i])
		bad[7] += 100 // another packet number: not a replay, but not authentic either
		inject(bad)
	}
	if s.drops.Forged != uint64(len(kept)) {
		t.Errorf("%d of %d forgeries refused", s.drops.Forged, len(kept))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		junk := make([]byte, rng.IntN(1400))
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		inject(junk)
		if len(junk) > 8 {
			// With a right header it must fail at the seal.
			copy(junk, kept[0][:8])
			junk[7] = byte(rng.Uint32())
			inject(junk)
		}
	}
	p.wantNumbers(1, 20, true)
	if len(s.paths) != 1 {
		t.Errorf("strangers made %d paths", len(s.paths)-1)
	}
}

func TestOnlyInnerAddressesOfThePeerAreAccepted(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.ends[1].s.cfg.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}
	p.run(200*ms, nil)
	p.send(0, 6, 0, 10, ms)
	p.send(0, 17, 10, 20, ms)
	p.run(p.now+100*ms, nil)
	if n, d := len(p.ends[1].got), p.ends[1].s.drops.Source; n != 0 || d != 20 {
		t.Errorf("%d packets with a forged source came out, %d were counted", n, d)
	}
}

func TestAddressChangeIsFollowedOnceProven(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.run(200*ms, nil)
	moved := netip.MustParseAddrPort("203.0.113.9:4242")
	s := p.ends[1].s
	// What the exit receives now comes from a new address, as after a NAT rebinding.
	b := buf.Get()
	p.ends[0].s.PushPackets(p.now, []*buf.Buf{packet(17, 7, 1, 100)})
	var out [1]Out
	if p.ends[0].s.PullDatagrams(p.now, out[:]) != 1 {
		t.Fatal("nothing to send")
	}
	b.Append(out[0].Buf.Bytes())
	out[0].Buf.Release()
	s.PushDatagrams(p.now, []Arrival{{Buf: b, From: Endpoint{Remote: moved}, At: p.now}})
	if s.paths[0].to.Remote == moved {
		t.Fatal("the new address was believed without proof")
	}
	var asked *Out
	var outs [8]Out
	for i, n := 0, s.PullDatagrams(p.now, outs[:]); i < n; i++ {
		if outs[i].To.Remote == moved {
			asked = &outs[i]
		}
	}
	if asked == nil {
		t.Fatal("the new address was not challenged")
	}
	p.ends[0].s.PushDatagrams(p.now, []Arrival{{Buf: asked.Buf, From: Endpoint{Remote: address(1, 0)}, At: p.now}})
	for i, n := 0, p.ends[0].s.PullDatagrams(p.now, outs[:]); i < n; i++ {
		s.PushDatagrams(p.now, []Arrival{{Buf: outs[i].Buf, From: Endpoint{Remote: moved}, At: p.now}})
	}
	if got := s.paths[0].to.Remote; got != moved {
		t.Errorf("after the proof the path still goes to %v", got)
	}
}

func TestKeysAreRenewedWithoutLosingAPacket(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	p.run(200*ms, nil)
	var sent uint32
	for range 5 {
		for _, e := range p.ends {
			e.s.epochSent = seal.MaxDatagrams
		}
		p.send(0, 6, sent, sent+100, 5*ms)
		sent += 100
	}
	p.run(p.now+200*ms, nil)
	p.wantNumbers(1, sent, true)
	if e := p.ends[0].s.sealer.Epoch(); e < 4 {
		t.Errorf("epoch %d after five renewals were due", e)
	}
	if f := p.ends[1].s.drops.Forged; f != 0 {
		t.Errorf("%d datagrams did not open", f)
	}
}

func TestPathMTUIsFound(t *testing.T) {
	for _, mtu := range []int{1500, 1492, 1400, 1280} {
		c := linkV
		c.MTU = mtu
		p := newPair(t, 1, c)
		p.run(10*time.Second, nil)
		for side, e := range p.ends {
			got := e.s.paths[0].sched.MTU()
			if got > mtu-28 || got < mtu-28-mtuGrain {
				t.Errorf("link of %d at side %d: datagrams of %d, want %d", mtu, side, got, mtu-28)
			}
		}
		if lost := p.ends[0].s.paths[0].sched.Window(); lost < 2*1200 {
			t.Errorf("link of %d: window %d after lost probes", mtu, lost)
		}
	}
}

func TestClosedPathIsClosedAtBothEnds(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	p.run(200*ms, nil)
	p.ends[0].s.RemovePath(p.now, 0)
	p.run(p.now+200*ms, nil)
	for side, e := range p.ends {
		if st := e.s.paths[0].sched.State(); st != scheduler.Closed {
			t.Errorf("side %d: path is %v", side, st)
		}
	}
	p.send(0, 6, 0, 50, ms)
	p.run(p.now+200*ms, nil)
	p.wantNumbers(1, 50, true)
	if _, err := p.ends[0].s.AddPath(p.now, PathSpec{To: Endpoint{Remote: address(1, 0)}}); err != nil {
		t.Fatal(err)
	}
	p.run(p.now+500*ms, nil)
	if st := p.ends[1].s.path(2).sched.State(); st != scheduler.Up {
		t.Errorf("the path opened again is %v", st)
	}
}

// What one end knows of an interface the other has to hear by another path: its silence there may be a long round trip.
func TestFailureOfAPathIsToldToThePeer(t *testing.T) {
	p := newPair(t, 1, linkV, linkL)
	p.quiet()
	each := p.greedyBoth()
	p.run(2*time.Second, each)
	// Only what the peer still receives on the path says that it lives: everything comes through but nothing new.
	p.ends[0].s.PathFailed(p.now, 1)
	p.run(p.now+30*ms, each) // the other path takes 8 ms
	if st := p.ends[1].s.path(1).sched.State(); st != scheduler.Suspect {
		t.Errorf("30 ms after the failure of the path the peer takes it for %v", st)
	}
	p.run(p.now+time.Second, each)
	for i, e := range p.ends {
		if st := e.s.path(1).sched.State(); st != scheduler.Up {
			t.Errorf("end %d, a second later, the line being in order: %v", i, st)
		}
	}
	if p.ends[0].s.path(1).status.Failed {
		t.Error("the failure is not taken back")
	}
}

// The news of a failure, and what had arrived until then, go out at once and on two other paths: one of these may be dead as well.
func TestFailureIsToldOnTwoPaths(t *testing.T) {
	p := newPair(t, 1, linkV, linkL, linkA)
	p.quiet()
	each := p.greedyBoth()
	p.run(2*time.Second, each)
	for drained := [64]Out{}; ; {
		n := p.ends[0].s.PullDatagrams(p.now, drained[:])
		for _, o := range drained[:n] {
			o.Buf.Release()
		}
		if n == 0 {
			break
		}
	}
	p.ends[0].s.PathFailed(p.now, 0)
	var out [64]Out
	small := map[PathID]int{} // neither data nor probes: these are longer, or go on the path itself
	for n := p.ends[0].s.PullDatagrams(p.now, out[:]); n > 0; n = p.ends[0].s.PullDatagrams(p.now, out[:]) {
		for _, o := range out[:n] {
			if o.Buf.Len() < 800 {
				small[o.Path]++
			}
			o.Buf.Release()
		}
	}
	// Beside the notice and the acknowledgement there is a probe: the failure makes one due on each.
	if small[1] < 3 || small[2] < 3 {
		t.Errorf("on the others there were %d and %d short datagrams, want the notice, the acknowledgement and the probe on both", small[1], small[2])
	}
}

func TestCloseReachesThePeer(t *testing.T) {
	p := newPair(t, 1, linkV)
	p.run(200*ms, nil)
	p.ends[0].s.Close(p.now, 1, "good night")
	p.run(p.now+100*ms, nil)
	for _, e := range p.ends[1].events {
		if e.Kind == PeerClosed && e.Reason == "good night" {
			return
		}
	}
	t.Errorf("events %v", p.ends[1].events)
}

// The probes of an idle backup are no measure of it: when its hour comes it begins like a new path, and not at the rate of its probes.
func TestIdleBackupIsStillToBeMeasured(t *testing.T) {
	p := newPair(t, 1, linkV, linkL)
	p.quiet()
	p.terms(1, PathSpec{Backup: true})
	each := p.greedyBoth()
	p.run(20*time.Second, each)
	for i, e := range p.ends {
		if st := e.s.path(1).sched.ControlState(); st != "startup" {
			t.Errorf("end %d takes the backup for measured: %s", i, st)
		}
	}
}

func TestBackupPathCarriesOnlyWhenAlone(t *testing.T) {
	p := newPair(t, 1, linkV, linkA)
	p.run(200*ms, nil)
	p.ends[0].s.SetTerms(p.now, 1, PathSpec{Backup: true})
	p.run(p.now+100*ms, nil)
	before := p.ends[0].s.paths[1].sched.Stats.SentBytes
	each := p.greedy(64 << 10)
	p.ends[1].onPkt = func(time.Duration, []byte) {}
	p.run(p.now+2*time.Second, each)
	if n := p.ends[0].s.paths[1].sched.Stats.SentBytes - before; n > 20_000 {
		t.Errorf("the backup carried %d bytes while the other path was up", n)
	}
	p.filter = func(_, path int, _ []byte) bool { return path != 0 }
	p.run(p.now+time.Second, each)
	start := p.ends[1].bytes
	p.run(p.now+time.Second, each)
	if got := float64(p.ends[1].bytes-start) * 8 / mbit; got < 8 {
		t.Errorf("the backup alone carries %.1f Mb/s", got)
	}
}
