package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The records and chunks of a log that grows, is trimmed and wraps around are those that were put in. The oracle is a
// slice.
func TestSentLogAgainstASlice(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var l sentLog
		type entry struct {
			r      sent
			chunks []Chunk
		}
		var all []entry
		next := uint64(0)
		for step := range 2000 {
			now := time.Duration(step) * ms
			if rng.IntN(100) < 25+50*(step/400%2) { // it shrinks, and grows
				e := entry{r: sent{at: now, size: int32(1 + rng.IntN(1400)), state: sentState(rng.IntN(2)) * sentUncounted}}
				for range rng.IntN(5) {
					e.chunks = append(e.chunks, Chunk{Kind: ChunkPacket, Flow: uint16(seed), Seq: next})
					next++
				}
				l.push(e.r, e.chunks)
				all = append(all, e)
			} else if l.base < l.next {
				// Something is settled, mostly near the front.
				pn := l.base + uint64(rng.IntN(min(10, int(l.next-l.base))))
				all[pn].r.state = []sentState{sentAcked, sentAcked, sentLost}[rng.IntN(3)]
				l.at(pn).state = all[pn].r.state
				l.trim(now, 50*ms)
			}
			if l.next != uint64(len(all)) {
				t.Fatalf("seed %d: next %d after %d datagrams", seed, l.next, len(all))
			}
			if step%8 > 0 {
				continue
			}
			for pn := l.base; pn < l.next; pn++ {
				got, want := l.at(pn), all[pn]
				if got.at != want.r.at || got.size != want.r.size || got.state != want.r.state {
					t.Fatalf("seed %d step %d: datagram %d is %+v, want %+v", seed, step, pn, *got, want.r)
				}
				chunks := l.appendChunks(nil, got)
				if len(chunks) != len(want.chunks) {
					t.Fatalf("seed %d step %d: datagram %d has %v, want %v", seed, step, pn, chunks, want.chunks)
				}
				for i := range chunks {
					if chunks[i] != want.chunks[i] {
						t.Fatalf("seed %d step %d: datagram %d has %v, want %v", seed, step, pn, chunks, want.chunks)
					}
				}
			}
			if n := l.cnext - l.cbase; n > uint64(len(l.chunks)) || l.next-l.base > uint64(len(l.ring)) {
				t.Fatalf("seed %d: %d chunks in %d places", seed, n, len(l.chunks))
			}
		}
	}
}

// Trimming stops at what is outstanding, and at what was lost a moment ago: its acknowledgement may still come.
func TestSentLogTrim(t *testing.T) {
	var l sentLog
	for i, s := range []sentState{sentAcked, sentUncounted, sentLost, sentAcked, sentOutstanding, sentAcked} {
		l.push(sent{at: time.Duration(i) * ms, state: s}, nil)
	}
	for _, step := range []struct {
		now  time.Duration
		base uint64
	}{{20 * ms, 2}, {41 * ms, 2}, {42 * ms, 4}, {time.Hour, 4}} {
		if l.trim(step.now, 20*ms); l.base != step.base {
			t.Errorf("at %v the log begins at %d, want %d", step.now, l.base, step.base)
		}
	}
	l.at(4).state = sentAcked
	if l.trim(time.Hour, 20*ms); l.base != l.next {
		t.Errorf("[%d, %d) remain", l.base, l.next)
	}
}

// Room that was made once serves for ever: a steady flow does not make the log grow.
func TestSentLogStopsGrowing(t *testing.T) {
	var l sentLog
	chunks := []Chunk{{Kind: ChunkPacket}, {Kind: ChunkPacket}}
	for i := range 10_000 {
		l.push(sent{at: time.Duration(i), state: sentOutstanding}, chunks)
		if i >= 100 {
			l.at(uint64(i - 100)).state = sentAcked
			l.trim(time.Duration(i), 0)
		}
	}
	if len(l.ring) != 128 || len(l.chunks) != 256 {
		t.Errorf("%d records, %d chunks", len(l.ring), len(l.chunks))
	}
}
