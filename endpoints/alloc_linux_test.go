//go:build !race

package endpoints

import (
	"io"
	"runtime"
	"testing"

	"github.com/bondd/bondd/tunnel/buf"
)

// Reading a connection that brings much allocates nothing: its blocks come back from the session.
func TestBlocksAreNotAllocated(t *testing.T) {
	a, b := tcpPair(t)
	a.SetWriteBuffer(4 << 20)
	b.SetReadBuffer(4 << 20)
	r := newBlockReader(b)
	data := make([]byte, maxBlocks*maxBlock)
	var before, after runtime.MemStats
	allocations, first := uint64(0), true
	for range 50 {
		send(t, a, b, data)
		runtime.ReadMemStats(&before)
		for left := len(data); left > 0; {
			blocks, err := r.read(maxBlocks)
			if err != nil {
				t.Fatal(err)
			}
			left -= sizeOf(blocks)
			freeBlocks(blocks)
		}
		runtime.ReadMemStats(&after)
		if !first {
			allocations += after.Mallocs - before.Mallocs
		}
		first = false
	}
	if allocations > 20 { // the collector may empty the pool meanwhile, and the runtime allocates for itself
		t.Errorf("%d allocations for %d blocks", allocations, 49*maxBlocks)
	}
}

// Neither does writing one.
func TestChainsAreNotAllocated(t *testing.T) {
	a, b := tcpPair(t)
	b.SetReadBuffer(4 << 20)
	go io.Copy(struct{ io.Writer }{io.Discard}, b) // ends with the test
	w := newChainWriter(a)
	chain := make([]*buf.Buf, 200)
	for i := range chain {
		chain[i] = buf.Get()
		chain[i].Append(make([]byte, 1300))
	}
	write := func() {
		if _, err := w.write(chain); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if n := testing.AllocsPerRun(100, write); n > 1 {
		t.Errorf("%v allocations for %d buffers", n, len(chain))
	}
	releaseAll(chain)
}
