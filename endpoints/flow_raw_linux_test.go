package endpoints

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// send writes n bytes and waits until the other end has them all to read.
func send(t *testing.T, a, b *net.TCPConn, data []byte) {
	t.Helper()
	if _, err := a.Write(data); err != nil {
		t.Fatal(err)
	}
	raw, err := b.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		there := 0
		raw.Control(func(fd uintptr) { there, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
		switch {
		case err != nil:
			t.Fatal(err)
		case there >= len(data):
			return
		case time.Now().After(deadline):
			t.Fatalf("%d of %d bytes arrived", there, len(data))
		}
	}
}

// Several blocks are taken at once where those before were full, and never more than is allowed. What is behind full ones stays where it was
// read; what comes alone and is small is copied.
func TestBlocksOfARead(t *testing.T) {
	const full, small = maxBlock, 1000
	for _, c := range []struct {
		waiting, most int
		reads         [][]int
	}{
		{small, maxBlocks, [][]int{{small}}},
		{6*full + small, maxBlocks, [][]int{{full}, {full, full, full, full}, {full, small}}},
		{3 * full, 1, [][]int{{full}, {full}, {full}}},
	} {
		a, b := tcpPair(t)
		a.SetWriteBuffer(4 << 20)
		b.SetReadBuffer(4 << 20)
		r := newBlockReader(b)
		send(t, a, b, make([]byte, c.waiting))
		for _, want := range c.reads {
			blocks, err := r.read(c.most)
			var got []int
			for _, block := range blocks {
				got = append(got, len(block))
				if copied := cap(block) < maxBlock; copied != (len(block) <= maxBlock/2 && len(blocks) == 1) {
					t.Errorf("%d bytes of %d blocks are kept in %d", len(block), len(blocks), cap(block))
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%d bytes, at most %d blocks: read %d, want %d, %v", c.waiting, c.most, got, want, err)
			}
		}
	}
}

// The system calls on connections are made without the runtime's knowledge, so none of them may wait.
func TestConnectionsNeverBlock(t *testing.T) {
	a, b := tcpPair(t)
	for _, c := range []*net.TCPConn{a, b} {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
				t.Errorf("flags %#x, %v", flags, err)
			}
			if _, err := readInto(int(fd), [][]byte{make([]byte, 10)}); err != unix.EAGAIN {
				t.Errorf("with nothing to read: %v", err)
			}
		})
	}
}
