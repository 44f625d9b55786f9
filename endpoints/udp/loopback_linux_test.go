package udp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, opts Options) Socket {
	t.Helper()
	s, err := Listen(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func listenOn(t *testing.T, addr string, opts Options) Socket {
	t.Helper()
	opts.Local = netip.MustParseAddrPort(addr)
	return open(t, opts)
}

// rooms makes n datagrams to read into.
func rooms(n, size int) []Datagram {
	ds := make([]Datagram, n)
	for i := range ds {
		ds[i].Data = make([]byte, size)
	}
	return ds
}

// readN reads until n datagrams are there.
func readN(t *testing.T, s Socket, n, batch, size int) []Datagram {
	t.Helper()
	timer := time.AfterFunc(5*time.Second, func() { s.Close() })
	defer timer.Stop()
	var got []Datagram
	for len(got) < n {
		ds := rooms(batch, size)
		k, err := s.ReadBatch(ds)
		if err != nil {
			t.Fatalf("read after %d of %d datagrams: %v", len(got), n, err)
		}
		got = append(got, ds[:k]...)
	}
	if len(got) != n {
		t.Fatalf("read %d datagrams, want %d", len(got), n)
	}
	return got
}

func writeAll(t *testing.T, s Socket, ds []Datagram) {
	t.Helper()
	if n, err := s.WriteBatch(ds); n != len(ds) || err != nil {
		t.Fatalf("WriteBatch = %d, %v, want %d", n, err, len(ds))
	}
}

// payload is distinct for each i.
func payload(i, size int) []byte {
	b := make([]byte, size)
	for j := range b {
		b[j] = byte(i*31 + j*7 + i>>8)
	}
	return b
}

func loop(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// variants are the socket kinds that every loopback test runs with.
var variants = []struct {
	name string
	opts Options
}{
	{"offload", Options{}},
	{"no offload", Options{NoOffload: true}},
}

func TestBatch(t *testing.T) {
	for _, v := range append(slices.Clone(variants), struct {
		name string
		opts Options
	}{"portable", Options{Portable: true}}) {
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(v.name+" "+addr, func(t *testing.T) {
				a, b := listenOn(t, addr, v.opts), listenOn(t, addr, v.opts)
				// Sizes that make runs, broken runs, a short end, and empty datagrams.
				sizes := []int{1200, 1200, 1200, 700, 0, 0, 1400, 1400, 1, 1, 1, 1400, 0}
				var out []Datagram
				before := time.Now()
				for i := range 150 {
					out = append(out, Datagram{Data: payload(i, sizes[i%len(sizes)]), Peer: b.LocalAddr()})
				}
				writeAll(t, a, out)
				got := readN(t, b, len(out), 40, 2000)
				for i, d := range got {
					if !bytes.Equal(d.Data, out[i].Data) {
						t.Fatalf("datagram %d: got %d bytes, want %d, or other content", i, len(d.Data), len(out[i].Data))
					}
					if d.Peer != a.LocalAddr() {
						t.Fatalf("datagram %d: from %v, want %v", i, d.Peer, a.LocalAddr())
					}
					if d.Local != b.LocalAddr().Addr() {
						t.Fatalf("datagram %d: to %v, want %v", i, d.Local, b.LocalAddr().Addr())
					}
					if d.At.Before(before) || d.At.After(time.Now()) {
						t.Fatalf("datagram %d: arrival time %v is not within the test", i, d.At)
					}
				}
				if st := b.Stats(); st.ReadDatagrams != 150 || st.KernelDrops != 0 || st.DropTooLong != 0 {
					t.Errorf("stats %+v", st)
				}
				if st := a.Stats(); st.WriteDatagrams != 150 {
					t.Errorf("stats %+v", st)
				}
			})
		}
	}
}

// TestRuns sends runs and looks at how few system calls they took.
func TestRuns(t *testing.T) {
	a, b := listenOn(t, "127.0.0.1:0", Options{}), listenOn(t, "127.0.0.1:0", Options{})
	if !a.Stats().GSO || !b.Stats().GRO {
		t.Skip("this kernel has no UDP_SEGMENT or UDP_GRO")
	}
	const n = 44 // of 1400 bytes: 61600, one run
	var out []Datagram
	for i := range n {
		out = append(out, Datagram{Data: payload(i, 1400), Peer: b.LocalAddr(), ECN: ECT0})
	}
	out[n-1].Data = out[n-1].Data[:77]
	writeAll(t, a, out)
	if st := a.Stats(); st.WriteCalls != 1 || !st.GSO {
		t.Errorf("one run took %d system calls", st.WriteCalls)
	}
	// Read in small bites: what does not fit waits for the next ReadBatch and costs no system call.
	got := readN(t, b, n, 5, 1400)
	for i, d := range got {
		if !bytes.Equal(d.Data, out[i].Data) || d.ECN != ECT0 {
			t.Fatalf("datagram %d: %d bytes, ECN %d", i, len(d.Data), d.ECN)
		}
	}
	if st := b.Stats(); st.ReadCalls != 1 {
		t.Errorf("one run took %d receives: it did not stay whole", st.ReadCalls)
	}
}

// TestRunBoundaries: datagrams that differ in anything but their content must not share a run.
func TestRunBoundaries(t *testing.T) {
	b1, b2 := listenOn(t, "127.0.0.1:0", Options{}), listenOn(t, "127.0.0.1:0", Options{})
	a := listenOn(t, "0.0.0.0:0", Options{})
	src := netip.MustParseAddr("127.0.0.3")
	var to1, to2 []Datagram
	var out []Datagram
	for i := range 60 {
		d := Datagram{Data: payload(i, 500+i%3/2), Peer: b1.LocalAddr()}
		if i%5 == 0 {
			d.Peer = b2.LocalAddr()
		}
		if i%7 == 0 {
			d.Local = src
		}
		d.ECN = uint8(i / 4 % 4)
		out = append(out, d)
		if i%5 == 0 {
			to2 = append(to2, d)
		} else {
			to1 = append(to1, d)
		}
	}
	writeAll(t, a, out)
	for _, c := range []struct {
		s    Socket
		want []Datagram
	}{{b1, to1}, {b2, to2}} {
		for i, d := range readN(t, c.s, len(c.want), 64, 1000) {
			w := c.want[i]
			from := netip.MustParseAddr("127.0.0.1")
			if w.Local.IsValid() {
				from = w.Local
			}
			if !bytes.Equal(d.Data, w.Data) || d.ECN != w.ECN || d.Peer.Addr() != from {
				t.Fatalf("datagram %d: %d bytes ECN %d from %v, want %d, %d, %v", i, len(d.Data), d.ECN, d.Peer, len(w.Data), w.ECN, from)
			}
		}
	}
}

// TestAnswerFromSameAddress: a socket on every address answers from the one it was asked at.
func TestAnswerFromSameAddress(t *testing.T) {
	for _, v := range variants {
		for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
			t.Run(v.name+" "+listen, func(t *testing.T) {
				server := listenOn(t, listen, v.opts)
				client := listenOn(t, "127.0.0.1:0", v.opts)
				asked := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), server.LocalAddr().Port())
				writeAll(t, client, []Datagram{{Data: []byte("who"), Peer: asked}})
				q := readN(t, server, 1, 8, 100)[0]
				if q.Local != asked.Addr() || q.Peer != client.LocalAddr() {
					t.Fatalf("question to %v from %v, want %v from %v", q.Local, q.Peer, asked, client.LocalAddr())
				}
				writeAll(t, server, []Datagram{{Data: []byte("me"), Peer: q.Peer, Local: q.Local}})
				if a := readN(t, client, 1, 8, 100)[0]; a.Peer != asked {
					t.Fatalf("answer from %v, want %v", a.Peer, asked)
				}
			})
		}
	}
}

func TestDualStackAndECN(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			server := open(t, v.opts) // every address of both families
			if server.LocalAddr().Addr() != netip.IPv6Unspecified() {
				t.Skip("this system has no IPv6")
			}
			for _, ip := range []string{"127.0.0.1", "::1"} {
				addr := netip.MustParseAddr(ip)
				client := open(t, Options{Local: netip.AddrPortFrom(addr, 0), NoOffload: v.opts.NoOffload})
				for ecn := range uint8(4) {
					writeAll(t, client, []Datagram{{Data: []byte{ecn}, Peer: netip.AddrPortFrom(addr, server.LocalAddr().Port()), ECN: ecn}})
					q := readN(t, server, 1, 4, 100)[0]
					if q.ECN != ecn || q.Local != addr || q.Peer != client.LocalAddr() {
						t.Fatalf("%s: question %+v, want ECN %d to %v from %v", ip, q, ecn, addr, client.LocalAddr())
					}
					writeAll(t, server, []Datagram{{Data: []byte{ecn}, Peer: q.Peer, Local: q.Local, ECN: 3 - ecn}})
					if a := readN(t, client, 1, 4, 100)[0]; a.ECN != 3-ecn || a.Peer.Addr() != addr {
						t.Fatalf("%s: answer %+v, want ECN %d from %v", ip, a, 3-ecn, addr)
					}
				}
			}
		})
	}
}

func TestTooLongForRoom(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			a, b := listenOn(t, "127.0.0.1:0", v.opts), listenOn(t, "127.0.0.1:0", v.opts)
			writeAll(t, a, []Datagram{
				{Data: payload(0, 200), Peer: b.LocalAddr()},
				{Data: payload(1, 101), Peer: b.LocalAddr()},
				{Data: payload(2, 100), Peer: b.LocalAddr()},
				{Data: payload(3, 50), Peer: b.LocalAddr()},
			})
			got := readN(t, b, 2, 8, 100)
			if !bytes.Equal(got[0].Data, payload(2, 100)) || !bytes.Equal(got[1].Data, payload(3, 50)) {
				t.Errorf("the datagrams that fit did not come whole")
			}
			if st := b.Stats(); st.DropTooLong != 2 || st.ReadDatagrams != 2 {
				t.Errorf("stats %+v, want 2 too long and 2 read", st)
			}
		})
	}
}

func TestCloseUnblocks(t *testing.T) {
	for _, opts := range []Options{{}, {NoOffload: true}, {Portable: true}} {
		s := listenOn(t, "127.0.0.1:0", opts)
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := s.ReadBatch(rooms(4, 100))
				done <- err
			}()
		}
		// Give the readers every chance to be waiting; the test holds either way.
		for range 100 {
			runtime.Gosched()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			select {
			case err := <-done:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("%+v: read ended with %v, want net.ErrClosed", opts, err)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("%+v: Close did not unblock ReadBatch", opts)
			}
		}
		if _, err := s.WriteBatch([]Datagram{{Data: []byte("x"), Peer: loop(9)}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%+v: write after Close: %v", opts, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%+v: second Close: %v", opts, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, v := range variants {
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(v.name+" "+addr, func(t *testing.T) {
				a, b := listenOn(t, addr, v.opts), listenOn(t, addr, v.opts)
				const n = 32
				out, in := make([]Datagram, n), rooms(n, 1500)
				for i := range out {
					out[i] = Datagram{Data: payload(i, 1000+i%2*200), Peer: b.LocalAddr(), ECN: ECT0, Local: a.LocalAddr().Addr()}
				}
				avg := testing.AllocsPerRun(50, func() {
					if k, err := a.WriteBatch(out); k != n || err != nil {
						t.Fatal(k, err)
					}
					for got := 0; got < n; {
						for i := range in {
							in[i].Data = in[i].Data[:1500]
						}
						k, err := b.ReadBatch(in[got:])
						if err != nil {
							t.Fatal(err)
						}
						got += k
					}
				})
				if avg != 0 {
					t.Errorf("%v allocations per batch of %d, want 0", avg, n)
				}
			})
		}
	}
}

// The system calls on the data path are made without the runtime's knowledge, so none of them may wait.
func TestSocketNeverBlocks(t *testing.T) {
	s := listenOn(t, "127.0.0.1:0", Options{}).(*socket)
	err := s.raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %#x, %v", flags, err)
		}
		msgs := make([]mmsghdr, 1)
		if _, err := mmsg(unix.SYS_RECVMMSG, fd, msgs); err != unix.EAGAIN {
			t.Errorf("with nothing to receive: %v", err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
