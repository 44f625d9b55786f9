package udp

import (
	"context"
	"net/netip"
	"testing"
)

// BenchmarkLoopback sends and receives batches of 44 datagrams of 1400 bytes in one goroutine.
func BenchmarkLoopback(b *testing.B) {
	for _, v := range variants {
		b.Run(v.name, func(b *testing.B) {
			opts := v.opts
			opts.Local = netip.MustParseAddrPort("127.0.0.1:0")
			var ends [2]Socket
			for i := range ends {
				s, err := Listen(context.Background(), opts)
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				ends[i] = s
			}
			const n = 44
			out, in := make([]Datagram, n), rooms(n, 1500)
			for i := range out {
				out[i] = Datagram{Data: payload(i, 1400), Peer: ends[1].LocalAddr(), ECN: ECT0}
			}
			b.SetBytes(n * 1400)
			b.ReportAllocs()
			for b.Loop() {
				if k, err := ends[0].WriteBatch(out); k != n || err != nil {
					b.Fatal(k, err)
				}
				for got := 0; got < n; {
					for i := range in {
						in[i].Data = in[i].Data[:1500]
					}
					k, err := ends[1].ReadBatch(in[got:])
					if err != nil {
						b.Fatal(err)
					}
					got += k
				}
			}
		})
	}
}
