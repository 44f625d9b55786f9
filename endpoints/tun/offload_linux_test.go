package tun

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSuperPacketRefused: where the super-packet is refused its packets go down one by one. A datagram socket with a small buffer
// plays the kernel that has no room for much at once.
func TestSuperPacketRefused(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 8192); err != nil {
		t.Fatal(err)
	}
	d := &offload{headers: make([]byte, 200), iov: make([]unix.Iovec, 0, 1+maxRun)}
	sizes := make([]int, 30)
	for i := range sizes {
		sizes[i] = 1400
	}
	want := flow(end4a, end4b, sizes, true)
	d.write = flow(end4a, end4b, sizes, true)
	b := make([]byte, 3000)
	for got := 0; got < len(want); {
		done := d.stepWrite(uintptr(fds[0]))
		for {
			n, err := unix.Read(fds[1], b)
			if err != nil {
				break
			}
			w := want[got]
			v := virtioHeader{flags: virtioNeedsCsum, csumStart: w.CsumStart, csumOffset: w.CsumOffset}
			if parseVirtio(b) != v || !bytes.Equal(b[virtioLen:n], w.Data) {
				t.Fatalf("packet %d: %d bytes with header %+v", got, n, parseVirtio(b))
			}
			got++
		}
		if done && got < len(want) {
			t.Fatalf("%d of %d packets were written", got, len(want))
		}
	}
	if st := d.Stats(); st.WritePackets != 30 || st.WriteCalls != 30 || st.DropRefused != 0 {
		t.Errorf("stats %+v", st)
	}
}
