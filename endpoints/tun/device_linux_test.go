package tun

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var drivers = []Driver{DriverPlain, DriverOffload, DriverWater}

// each runs a test for every driver in a device "bt0" with addresses, that is up.
func each(t *testing.T, f func(t *testing.T, d Device)) {
	for _, driver := range drivers {
		t.Run(string(driver), func(t *testing.T) {
			d := openUp(t, Options{Driver: driver})
			f(t, d)
		})
	}
}

func openUp(t *testing.T, opts Options) Device {
	t.Helper()
	d := openDevice(t, "bt0", opts)
	if err := addIPv4(d.Name(), end4a.Addr()); err != nil {
		t.Fatal(err)
	}
	if err := linkUp(d.Name(), true); err != nil {
		t.Fatal(err)
	}
	if err := addIPv6(d.Name(), end6a.Addr()); err != nil {
		t.Fatal(err)
	}
	return d
}

func openDevice(t *testing.T, name string, opts Options) Device {
	t.Helper()
	needNamespace(t)
	if _, err := os.Stat(clonePath); err != nil {
		t.Skip("no TUN devices here:", err)
	}
	d, err := Open(name, opts)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip("not allowed to make TUN devices:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// readUDP reads packets until n UDP ones are there; the kernel sends others of its own accord.
func readUDP(t *testing.T, d Device, n, room int) []Packet {
	t.Helper()
	timer := time.AfterFunc(5*time.Second, func() { d.Close() })
	defer timer.Stop()
	var got []Packet
	for len(got) < n {
		ps := make([]Packet, 16)
		for i := range ps {
			ps[i].Data = make([]byte, room)
		}
		k, err := d.Read(ps)
		if err != nil {
			t.Fatalf("read after %d of %d packets: %v", len(got), n, err)
		}
		for _, p := range ps[:k] {
			if h, ok := parseIP(p.Data); ok && h.proto == 17 {
				got = append(got, p)
			}
		}
	}
	return got
}

func listenUDP(t *testing.T, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func TestDeviceBasics(t *testing.T) {
	for _, driver := range drivers {
		t.Run(string(driver), func(t *testing.T) {
			d := openDevice(t, "bt%d", Options{Driver: driver, MTU: 1381})
			if !strings.HasPrefix(d.Name(), "bt") || strings.Contains(d.Name(), "%") {
				t.Errorf("name %q", d.Name())
			}
			if mtu, err := d.MTU(); mtu != 1381 || err != nil {
				t.Errorf("MTU %d, %v", mtu, err)
			}
			if err := d.SetMTU(1280); err != nil {
				t.Error(err)
			}
			if ifi, err := net.InterfaceByName(d.Name()); err != nil || ifi.MTU != 1280 {
				t.Errorf("interface %+v, %v", ifi, err)
			}
			for _, mtu := range []int{-1, 0, 67, 65536} {
				if d.SetMTU(mtu) == nil {
					t.Errorf("MTU %d was accepted", mtu)
				}
			}
			if d.BatchSize() < 1 {
				t.Error("batch size", d.BatchSize())
			}
			if n, err := d.Read(nil); n != 0 || err != nil {
				t.Errorf("Read of nothing = %d, %v", n, err)
			}
			if n, err := d.Write(nil); n != 0 || err != nil {
				t.Errorf("Write of nothing = %d, %v", n, err)
			}

			done := make(chan error, 1)
			go func() {
				_, err := d.Read([]Packet{{Data: make([]byte, 2000)}})
				done <- err
			}()
			for range 100 {
				runtime.Gosched()
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-done:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("read ended with %v, want net.ErrClosed", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("Close did not unblock Read")
			}
			if err := d.Close(); err != nil {
				t.Error("second Close:", err)
			}
			p := udpPacket(end4a, end4b, []byte("x"), false)
			if _, err := d.Write([]Packet{p}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after Close: %v", err)
			}
			if _, err := d.MTU(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("MTU after Close: %v", err)
			}
			if _, err := net.InterfaceByName(d.Name()); err == nil {
				t.Error("the interface outlived its device")
			}
		})
	}
}

// waitReady writes a packet to c until it arrives: the kernel makes a new device ready for IPv6 in its own time.
func waitReady(t *testing.T, d Device, c *net.UDPConn, ends [2]netip.AddrPort) {
	t.Helper()
	defer c.SetReadDeadline(time.Now().Add(5 * time.Second))
	for range 1000 {
		if _, err := d.Write([]Packet{udpPacket(ends[1], ends[0], []byte("ready"), false)}); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if _, _, err := c.ReadFromUDPAddrPort(make([]byte, 10)); err == nil {
			return
		}
	}
	t.Fatal("the device does not become ready")
}

// TestDeviceRead: what the kernel sends through the device is read, whole, in order, several packets at once where the driver can.
func TestDeviceRead(t *testing.T) {
	each(t, func(t *testing.T, d Device) {
		for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
			c := listenUDP(t, ends[0])
			const n = 20
			var want [n][]byte
			for i := range n {
				want[i] = bytes.Repeat([]byte{byte(i)}, i*60)
				if _, err := c.WriteToUDPAddrPort(want[i], ends[1]); err != nil {
					t.Fatal(err)
				}
			}
			for i, p := range readUDP(t, d, n, 2000) {
				h, _ := parseIP(p.Data)
				if !bytes.Equal(p.Data[h.len+8:], want[i]) || !goodChecksums(p) {
					t.Errorf("packet %d: %d bytes, checksums right: %v", i, len(p.Data), goodChecksums(p))
				}
			}
		}
		if st := d.Stats(); st.ReadPackets < 40 || st.ReadCalls < st.ReadPackets || st.DropMalformed != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestDeviceReadBatches: packets that wait in the kernel come with one Read.
func TestDeviceReadBatches(t *testing.T) {
	for _, driver := range []Driver{DriverPlain, DriverOffload} {
		t.Run(string(driver), func(t *testing.T) {
			d := openUp(t, Options{Driver: driver})
			c := listenUDP(t, end4a)
			for range 10 {
				if _, err := c.WriteToUDPAddrPort([]byte("hello"), end4b); err != nil {
					t.Fatal(err)
				}
			}
			ps := make([]Packet, 10)
			for i := range ps {
				ps[i].Data = make([]byte, 100)
			}
			if n, err := d.Read(ps); n != 10 || err != nil {
				t.Errorf("Read = %d, %v, want all 10 packets", n, err)
			}
		})
	}
}

func TestDeviceReadTooLong(t *testing.T) {
	each(t, func(t *testing.T, d Device) {
		c := listenUDP(t, end4a)
		for _, size := range []int{300, 73, 72, 500, 10} {
			if _, err := c.WriteToUDPAddrPort(make([]byte, size), end4b); err != nil {
				t.Fatal(err)
			}
		}
		got := readUDP(t, d, 2, 100)
		if len(got[0].Data) != 100 || len(got[1].Data) != 38 {
			t.Errorf("read %d and %d bytes, want 100 and 38", len(got[0].Data), len(got[1].Data))
		}
		// The kernel's own packets, router solicitations and the like, may be among the dropped.
		if st := d.Stats(); st.DropTooLong < 3 || st.DropMalformed != 0 {
			t.Errorf("stats %+v, want 3 or more too long", st)
		}
	})
}

// TestDeviceWrite: the kernel takes what is written, checksums finished or not, and what is unsound is dropped without harm to the rest.
func TestDeviceWrite(t *testing.T) {
	each(t, func(t *testing.T, d Device) {
		for _, ends := range [][2]netip.AddrPort{{end4a, end4b}, {end6a, end6b}} {
			c := listenUDP(t, ends[0])
			waitReady(t, d, c, ends)
			before := d.Stats()
			damaged := udpPacket(ends[1], ends[0], []byte("damaged"), false)
			damaged.Data[len(damaged.Data)-1] ^= 1
			short := udpPacket(ends[1], ends[0], []byte("short"), false)
			short.Data = short.Data[:len(short.Data)-1]
			padded := udpPacket(ends[1], ends[0], []byte("padded"), false)
			padded.Data = append(padded.Data, 0, 0, 0)
			offsets := udpPacket(ends[1], ends[0], []byte("offsets"), true)
			offsets.CsumStart = 1000
			ps := []Packet{
				udpPacket(ends[1], ends[0], []byte("finished"), false),
				{},
				{Data: []byte{0xff, 1, 2}},
				udpPacket(ends[1], ends[0], []byte("unfinished"), true),
				damaged, // the kernel's business
				short, padded, offsets,
				udpPacket(ends[1], ends[0], nil, true),
				udpPacket(ends[1], ends[0], make([]byte, 1400), true),
			}
			if n, err := d.Write(ps); n != len(ps) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			b := make([]byte, 2000)
			for _, want := range []string{"finished", "unfinished", "padded", "", string(make([]byte, 1400))} {
				n, from, err := c.ReadFromUDPAddrPort(b)
				for err == nil && string(b[:n]) == "ready" {
					n, from, err = c.ReadFromUDPAddrPort(b)
				}
				if err != nil {
					t.Fatalf("waiting for %.10q: %v", want, err)
				}
				if string(b[:n]) != want || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != ends[1] {
					t.Errorf("received %.10q from %v, want %.10q from %v", b[:n], from, want, ends[1])
				}
			}
			st := d.Stats()
			if st.DropMalformed-before.DropMalformed != 4 || st.WritePackets-before.WritePackets != 6 || st.DropRefused != 0 {
				t.Errorf("stats %+v, before %+v: want 4 malformed and 6 written", st, before)
			}
		}
	})
}

// TestDeviceDown: a device that is down refuses packets and goes on; one that was removed says so.
// The system calls on the data path are made without the runtime's knowledge, so none of them may wait.
func TestDeviceNeverBlocks(t *testing.T) {
	d := openDevice(t, "bt0", Options{Driver: DriverOffload}).(*offload)
	err := d.raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %#x, %v", flags, err)
		}
		if _, err := d.readv(fd, d.scratch); err != unix.EAGAIN {
			t.Errorf("with nothing to read: %v", err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDeviceDown(t *testing.T) {
	each(t, func(t *testing.T, d Device) {
		if err := linkUp(d.Name(), false); err != nil {
			t.Fatal(err)
		}
		p := udpPacket(end4b, end4a, []byte("x"), false)
		if n, err := d.Write([]Packet{p, p}); n != 2 || err != nil || d.Stats().DropRefused != 2 {
			t.Errorf("Write to a device that is down = %d, %v, %+v", n, err, d.Stats())
		}
		if err := linkUp(d.Name(), true); err != nil {
			t.Fatal(err)
		}
		c := listenUDP(t, end4a)
		if n, err := d.Write([]Packet{p}); n != 1 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		if n, _, err := c.ReadFromUDPAddrPort(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("received %d bytes, %v", n, err)
		}

		done := make(chan error, 1)
		go func() {
			for {
				ps := []Packet{{Data: make([]byte, 2000)}}
				if _, err := d.Read(ps); err != nil {
					done <- err
					return
				}
			}
		}()
		if err := removeLink(d.Name()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), d.Name()) {
				t.Errorf("read from a removed device ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("removing the device did not end Read")
		}
		if n, err := d.Write([]Packet{p, p}); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("Write to a removed device = %d, %v", n, err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	if _, err := Open("x", Options{Driver: "other"}); err == nil {
		t.Error("an unknown driver was accepted")
	}
	if _, err := Open("x", Options{MTU: 10}); err == nil {
		t.Error("an MTU of 10 was accepted")
	}
	d := openDevice(t, "bt0", Options{Driver: DriverPlain})
	if _, err := Open("bt0", Options{}); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a device that is held: %v", err)
	}
	d.Close()
	for _, name := range []string{"lo", "a-name-that-is-too-long"} {
		_, err := Open(name, Options{Offload: true})
		t.Log(err)
		if err == nil || strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "driver:") > 1 {
			t.Errorf("open %q: %v", name, err)
		}
	}
	for _, c := range []struct {
		opts Options
		want string
	}{{Options{}, "*tun.plain"}, {Options{Offload: true}, "*tun.offload"}} {
		d := openDevice(t, "bt0", c.opts)
		if got := kind(d); got != c.want {
			t.Errorf("%+v opened a %s, want %s", c.opts, got, c.want)
		}
		d.Close()
	}
}

func kind(d Device) string {
	switch d.(type) {
	case *plain:
		return "*tun.plain"
	case *offload:
		return "*tun.offload"
	}
	return "another"
}

// TestNamespaceOfOpener: a device made on a thread in another network namespace stays there and works from any thread.
func TestNamespaceOfOpener(t *testing.T) {
	for _, driver := range drivers {
		t.Run(string(driver), func(t *testing.T) {
			openDevice(t, "bt1", Options{Driver: driver}).Close() // or skip
			type result struct {
				d   Device
				err error
			}
			done := make(chan result)
			go func() {
				runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					done <- result{nil, err}
					return
				}
				d, err := Open("bt1", Options{Driver: driver})
				done <- result{d, err}
			}()
			r := <-done
			if r.err != nil {
				t.Fatal(r.err)
			}
			defer r.d.Close()
			if _, err := net.InterfaceByName("bt1"); err == nil {
				t.Error("the device is in this namespace")
			}
			if err := r.d.SetMTU(1300); err != nil {
				t.Error(err)
			}
			if mtu, err := r.d.MTU(); mtu != 1300 || err != nil {
				t.Errorf("MTU %d, %v", mtu, err)
			}
		})
	}
}
