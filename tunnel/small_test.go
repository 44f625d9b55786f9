package tunnel

import (
	"testing"

	"github.com/bondd/bondd/tunnel/buf"
)

// Small packets that are waiting anyway share datagrams, whatever flows they belong to; one that comes alone leaves alone, and at once.
func TestSmallPacketsShareDatagrams(t *testing.T) {
	const many, size = 60, 64
	for _, proto := range []uint8{6, 17} {
		p := newPair(t, 3, linkV)
		datagrams := 0
		p.run(500*ms, nil)
		p.filter = func(from, _ int, dg []byte) bool {
			if from == 0 && len(dg) >= size {
				datagrams++
			}
			return true
		}
		p.ends[0].s.PushPackets(p.now, []*buf.Buf{packet(proto, 7, 0, size)})
		p.pump()
		if datagrams != 1 {
			t.Errorf("protocol %d: a packet that came alone left in %d datagrams, at once", proto, datagrams)
		}
		p.run(p.now+100*ms, nil)

		datagrams = 0
		var burst []*buf.Buf
		for n := uint32(1); n <= many; n++ {
			burst = append(burst, packet(proto, uint16(7+n%3), n, size))
		}
		p.ends[0].s.PushPackets(p.now, burst)
		p.run(p.now+100*ms, nil)
		// Each takes up to 72 bytes of about 1400, so 60 fit into four.
		if datagrams > 6 || datagrams < 3 {
			t.Errorf("protocol %d: %d small packets left in %d datagrams", proto, many, datagrams)
		}
		p.wantNumbers(1, many+1, false)
	}
}
