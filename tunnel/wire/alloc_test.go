package wire

import (
	"math/rand/v2"
	"testing"
)

// All that is done for a datagram works without allocating.
func TestNothingAllocates(t *testing.T) {
	dg := make([]byte, 0, 2048)
	ack := randomAck(rand.New(rand.NewPCG(1, 1)))
	packet := make([]byte, 1200)
	var got Ack
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"append", func() {
			b := dg[:HeaderLen]
			Header{Epoch: 1, Index: 5, Path: 2, PN: 77}.Put(b)
			b = AppendTimestamp(b, Timestamp(123456789))
			b = AppendAck(b, false, &ack)
			b = AppendPing(b, false)
			b = AppendChallenge(b, false, Token{1})
			b = AppendResponse(b, false, Token{1})
			b = AppendSkip(b, false, Skip{1, 2, 3})
			b = AppendPathStatus(b, false, PathStatus{Path: 1, Seq: 2, State: PathBackup})
			b = AppendMTUInfo(b, false, MTUInfo{1, 1400})
			b = AppendClose(b, false, 1, "restart")
			b = AppendPadding(b, false, 20)
			b = AppendPacketHeader(b, KindPacket, false, 0)
			b = AppendOrderedHeader(b, KindOrdered, true, 1, 2, len(packet))
			dg = append(b, packet...)
		}},
		{"parse", func() {
			h, err := ParseHeader(dg)
			if err != nil {
				t.Fatal(err)
			}
			got.CE = ReconstructPN(1<<30, h.PN)
			ts, frames, err := ParseTimestamp(dg[HeaderLen:])
			if err != nil {
				t.Fatal(err)
			}
			got.OneWayUS = OneWayDelay(1, ts)
			r := NewReader(frames)
			for kind, body, ok := r.Next(); ok; kind, body, ok = r.Next() {
				if kind == KindAck {
					err = ParseAck(body, &got)
				} else {
					err = parseBody(kind, body)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if r.Err() != nil {
				t.Fatal(r.Err())
			}
		}},
	} {
		if n := testing.AllocsPerRun(100, c.f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", c.name, n)
		}
	}
}
