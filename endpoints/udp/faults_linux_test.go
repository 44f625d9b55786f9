package udp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMessageTooLong(t *testing.T) {
	needNamespace(t)
	setMTU(t, "lo", 1500)
	defer setMTU(t, "lo", 65536)
	for _, v := range variants {
		for _, c := range []struct {
			addr string
			fits int
		}{{"127.0.0.1:0", 1500 - 28}, {"[::1]:0", 1500 - 48}} {
			t.Run(v.name+" "+c.addr, func(t *testing.T) {
				a, b := listenOn(t, c.addr, v.opts), listenOn(t, c.addr, v.opts)
				to := b.LocalAddr()
				batch := []Datagram{
					{Data: payload(0, c.fits), Peer: to},
					{Data: payload(1, c.fits), Peer: to},
					{Data: payload(2, c.fits+1), Peer: to},
					{Data: payload(3, c.fits+1), Peer: to},
					{Data: payload(4, 10), Peer: to},
				}
				var failed []int
				for base := 0; base < len(batch); {
					n, err := a.WriteBatch(batch[base:])
					base += n
					if err != nil {
						if !IsMessageTooLong(err) || IsPathDown(err) {
							t.Fatalf("datagram %d: %v", base, err)
						}
						failed = append(failed, base)
						base++
					}
				}
				if !slices.Equal(failed, []int{2, 3}) {
					t.Errorf("datagrams %v were too long, want 2 and 3", failed)
				}
				for i, d := range readN(t, b, 3, 8, 2000) {
					if want := []int{c.fits, c.fits, 10}[i]; len(d.Data) != want {
						t.Errorf("datagram %d has %d bytes, want %d", i, len(d.Data), want)
					}
				}
				if !v.opts.NoOffload && !a.Stats().GSO {
					t.Error("a datagram that was too long switched segmentation off")
				}
			})
		}
	}
}

// TestSegmentationRefused: a socket whose runs the kernel refuses sends them piece by piece, and no more runs.
func TestSegmentationRefused(t *testing.T) {
	a, b := listenOn(t, "127.0.0.1:0", Options{}), listenOn(t, "127.0.0.1:0", Options{})
	if !a.Stats().GSO {
		t.Skip("this kernel has no UDP_SEGMENT")
	}
	// The kernel refuses segmentation (EINVAL) on a socket that sends without checksums.
	var err error
	a.(*socket).raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []Datagram
	for i := range 100 {
		out = append(out, Datagram{Data: payload(i, 300), Peer: b.LocalAddr()})
	}
	writeAll(t, a, out)
	for i, d := range readN(t, b, len(out), 64, 1000) {
		if !bytes.Equal(d.Data, out[i].Data) {
			t.Fatalf("datagram %d differs", i)
		}
	}
	if a.Stats().GSO {
		t.Error("segmentation is still on")
	}
}

func TestPathDown(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name+" source", func(t *testing.T) {
			for _, c := range []struct{ listen, peer, source string }{
				{"0.0.0.0:0", "127.0.0.1:9", "192.0.2.1"},
				{"[::]:0", "127.0.0.1:9", "192.0.2.1"},
				{"[::]:0", "[::1]:9", "2001:db8::1"},
				{"[::]:0", "[::1]:9", "192.0.2.1"},
			} {
				s := listenOn(t, c.listen, v.opts)
				d := Datagram{Data: []byte("x"), Peer: netip.MustParseAddrPort(c.peer), Local: netip.MustParseAddr(c.source)}
				n, err := s.WriteBatch([]Datagram{d, d, d})
				if n != 0 || !IsPathDown(err) || IsMessageTooLong(err) {
					t.Errorf("%v: WriteBatch = %d, %v", c, n, err)
				}
				if !v.opts.NoOffload && !s.Stats().GSO {
					t.Errorf("%v: a wrong source switched segmentation off", c)
				}
			}
		})
		t.Run(v.name+" route", func(t *testing.T) {
			needNamespace(t) // in which there is no route out
			for listen, peer := range map[string]string{"0.0.0.0:0": "192.0.2.9:9", "[::]:0": "[2001:db8::9]:9"} {
				a := listenOn(t, listen, v.opts)
				d := Datagram{Data: []byte("x"), Peer: netip.MustParseAddrPort(peer)}
				if n, err := a.WriteBatch([]Datagram{d, d}); n != 0 || !IsPathDown(err) {
					t.Errorf("WriteBatch to %s = %d, %v", peer, n, err)
				}
			}
		})
	}
	if _, err := Listen(context.Background(), Options{Local: netip.MustParseAddrPort("192.0.2.1:0")}); !IsPathDown(err) {
		t.Errorf("listen on an address of others: %v", err)
	}
}

// TestFailedIndex: the error belongs to ds[n], what stands before it was sent.
func TestFailedIndex(t *testing.T) {
	a, b := listenOn(t, "127.0.0.1:0", Options{}), listenOn(t, "127.0.0.1:0", Options{})
	for bad := range 5 {
		var out []Datagram
		for i := range 5 {
			out = append(out, Datagram{Data: payload(i, 100), Peer: b.LocalAddr()})
		}
		out[bad].Peer = netip.MustParseAddrPort("[::1]:9") // not this socket's family
		if n, err := a.WriteBatch(out); n != bad || err == nil {
			t.Fatalf("WriteBatch = %d, %v, want %d and an error", n, err, bad)
		}
		writeAll(t, a, out[bad+1:])
		readN(t, b, 4, 8, 200)
	}
	if n, err := a.WriteBatch([]Datagram{{Data: []byte("x")}}); n != 0 || err == nil {
		t.Errorf("a datagram without a peer: %d, %v", n, err)
	}
}

func TestListenErrors(t *testing.T) {
	ctx := context.Background()
	if _, err := Listen(ctx, Options{Device: "no-such-if0"}); err == nil || !IsPathDown(err) {
		t.Errorf("interface that does not exist: %v", err)
	}
	s := listenOn(t, "127.0.0.1:0", Options{})
	if _, err := Listen(ctx, Options{Local: s.LocalAddr()}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("address in use: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Listen(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: %v", err)
	}
}

func TestBuffers(t *testing.T) {
	needNamespace(t)
	s := listenOn(t, "127.0.0.1:0", Options{})
	st := s.Stats()
	t.Logf("granted %d and %d", st.ReadBuffer, st.WriteBuffer)
	if st.ReadBuffer <= 0 || st.WriteBuffer <= 0 {
		t.Errorf("buffers %d and %d are unknown", st.ReadBuffer, st.WriteBuffer)
	}
}

// TestKernelDropsCounted fills a small receive buffer and finds the loss in Stats.
func TestKernelDropsCounted(t *testing.T) {
	for _, v := range variants {
		opts := v.opts
		opts.ReadBuffer = 1 // the kernel makes its minimum of it
		a, b := listenOn(t, "127.0.0.1:0", v.opts), listenOn(t, "127.0.0.1:0", opts)
		const n = 200
		for i := range n {
			writeAll(t, a, []Datagram{{Data: payload(i, 1000), Peer: b.LocalAddr()}})
		}
		// Empty the buffer: the count comes with the first datagram that was queued after a loss.
		got, err := b.ReadBatch(rooms(n, 1500))
		if err != nil || got == n {
			t.Fatalf("%s: read %d of %d datagrams, %v: nothing was lost", v.name, got, n, err)
		}
		for b.Stats().KernelDrops == 0 {
			writeAll(t, a, []Datagram{{Data: []byte("x"), Peer: b.LocalAddr()}})
			k, err := b.ReadBatch(rooms(n, 1500))
			if err != nil {
				t.Fatal(err)
			}
			got += k - 1
		}
		if lost := b.Stats().KernelDrops; got+int(lost) != n {
			t.Errorf("%s: %d read and %d counted as lost, of %d", v.name, got, lost, n)
		}
	}
}

func TestDeviceAndMark(t *testing.T) {
	needNamespace(t)
	a := listenOn(t, "127.0.0.1:0", Options{Device: "lo", Mark: 0xb0dd0001})
	b := listenOn(t, "127.0.0.1:0", Options{})
	writeAll(t, a, []Datagram{{Data: []byte("x"), Peer: b.LocalAddr()}})
	readN(t, b, 1, 1, 10)
	a.(*socket).raw.Control(func(fd uintptr) {
		mark, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK)
		if err != nil || uint32(mark) != 0xb0dd0001 {
			t.Errorf("mark %#x, %v", uint32(mark), err)
		}
		dev, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		if err != nil || dev != "lo" {
			t.Errorf("device %q, %v", dev, err)
		}
	})
}

// TestMissingRights tries what needs rights on a thread that has none.
func TestMissingRights(t *testing.T) {
	type result struct {
		mark, device error
		dropped      error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its missing rights with it
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		var r result
		if r.dropped = unix.Capset(&hdr, &none[0]); r.dropped == nil {
			_, r.mark = Listen(context.Background(), Options{Mark: 1})
			var s Socket
			if s, r.device = Listen(context.Background(), Options{Device: "lo"}); r.device == nil {
				s.Close()
			}
		}
		done <- r
	}()
	r := <-done
	if r.dropped != nil {
		t.Skip("cannot drop capabilities:", r.dropped)
	}
	t.Logf("mark: %v; device: %v", r.mark, r.device)
	if !errors.Is(r.mark, unix.EPERM) || !strings.Contains(r.mark.Error(), "CAP_NET_ADMIN") {
		t.Errorf("a mark without rights: %v", r.mark)
	}
	// Kernels since 5.7 let anybody bind a socket that is not bound yet.
	if r.device != nil && !strings.Contains(r.device.Error(), "CAP_NET_RAW") {
		t.Errorf("an interface without rights: %v", r.device)
	}
	if got := rights(fmt.Errorf("x: %w", unix.EPERM), "CAP_NET_RAW"); got == "" {
		t.Error("EPERM gives no hint")
	}
}

// TestNamespaceOfListener: a socket made on a thread in another network namespace stays there and works from any thread.
func TestNamespaceOfListener(t *testing.T) {
	needNamespace(t)
	here := listenOn(t, "127.0.0.1:0", Options{})
	type result struct {
		s   [2]Socket
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var r result
		if r.err = unix.Unshare(unix.CLONE_NEWNET); r.err == nil {
			r.err = linkUp("lo", true)
		}
		for i := range r.s {
			if r.err == nil {
				opts := Options{Local: netip.MustParseAddrPort("127.0.0.1:0")}
				if i == 0 {
					opts.Local = here.LocalAddr() // taken here, free there
				}
				r.s[i], r.err = Listen(context.Background(), opts)
			}
		}
		done <- r
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.s[0].Close()
	defer r.s[1].Close()
	writeAll(t, r.s[1], []Datagram{{Data: []byte("there"), Peer: here.LocalAddr()}})
	if d := readN(t, r.s[0], 1, 4, 10)[0]; string(d.Data) != "there" || d.Peer != r.s[1].LocalAddr() {
		t.Errorf("received %+v", d)
	}
	if st := here.Stats(); st.ReadDatagrams != 0 {
		t.Errorf("a datagram crossed over: %+v", st)
	}
}
