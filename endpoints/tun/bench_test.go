package tun

import (
	"fmt"
	"testing"
)

func BenchmarkSum16(b *testing.B) {
	for _, size := range []int{20, 1448} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				sum16(data)
			}
		})
	}
}

// BenchmarkSplitJoin takes a full super-packet apart and joins it again, as a mirror without system calls would.
func BenchmarkSplitJoin(b *testing.B) {
	v, pkt := super(tcpSpec{src: end4a, dst: end4b, flags: flagACK, payload: make([]byte, 44*1448)}, 1448)
	ps := make([]Packet, batchSize)
	room := make([]byte, batchSize*2000)
	headers := make([]byte, 200)
	var s splitter
	b.SetBytes(int64(len(pkt)))
	b.ReportAllocs()
	for b.Loop() {
		if !s.load(v, pkt) {
			b.Fatal("refused")
		}
		n := 0
		for ; s.more; n++ {
			ps[n].Data = room[n*2000 : (n+1)*2000]
			s.cut(&ps[n])
		}
		r := nextRun(ps[:n], true)
		if len(r.packets) != n {
			b.Fatal("not joined")
		}
		r.putHeaders(headers)
	}
}
