package tun

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// mirror plays the host at the other end, which is this one again: it exchanges source and destination of every packet, so
// that a connection to the peer's address arrives here from the peer's address. Checksums stay right by it. touch, if there is one, sees every packet.
func mirror(d Device, batch int, touch func(p *Packet)) error {
	ps := make([]Packet, batch)
	room := make([]byte, batch*2000)
	for {
		for i := range ps {
			ps[i] = Packet{Data: room[i*2000 : (i+1)*2000]}
		}
		n, err := d.Read(ps)
		if err != nil {
			return err
		}
		for i := range ps[:n] {
			b := ps[i].Data
			h, _ := parseIP(b)
			a := h.addrs(b)
			var swap [16]byte
			half := len(a) / 2
			copy(swap[:], a[:half])
			copy(a, a[half:])
			copy(a[half:], swap[:half])
			if touch != nil {
				touch(&ps[i])
			}
		}
		if _, err := d.Write(ps[:n]); err != nil {
			return err
		}
	}
}

// transfer sends size bytes from the kernel through the device to the kernel.
func transfer(t *testing.T, here, there netip.Addr, size int) {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(here, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	sent := make(chan error, 1)
	go func() { // joined by the receive from sent
		port := l.Addr().(*net.TCPAddr).AddrPort().Port()
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(there, port).String(), 30*time.Second)
		if err == nil {
			c.SetDeadline(time.Now().Add(30 * time.Second))
			_, err = c.Write(data)
			c.Close()
		}
		sent <- err
	}()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err, <-sent)
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	hash := sha256.New()
	n, err := io.Copy(hash, c)
	c.Close()
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatalf("after %d of %d bytes: %v", n, size, err)
	}
	if want := sha256.Sum256(data); int(n) != size || !bytes.Equal(hash.Sum(nil), want[:]) {
		t.Fatalf("%d of %d bytes came, or others than were sent", n, size)
	}
}

// TestTransfer carries kernel TCP through every driver, in both families and with every state of checksums.
func TestTransfer(t *testing.T) {
	for _, c := range []struct {
		name   string
		driver Driver
		batch  int
		finish bool // checksums are finished on the way, as a peer without virtio headers would
		damage bool // and every 50th packet is damaged then
	}{
		{"plain", DriverPlain, 64, false, false},
		{"water", DriverWater, 64, false, false},
		{"offload", DriverOffload, 128, false, false},
		{"offload, small batches", DriverOffload, 7, false, false},
		{"offload, finished checksums", DriverOffload, 128, true, false},
		{"offload, damaged packets", DriverOffload, 128, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := openUp(t, Options{Driver: c.driver})
			damaged, count := 0, 0
			touch := func(p *Packet) {
				if p.CsumStart != 0 && c.finish {
					finishChecksum(p)
				}
				if count++; c.damage && count%50 == 0 && len(p.Data) > 1000 {
					p.Data[len(p.Data)-1] ^= 1
					damaged++
				}
			}
			done := make(chan error, 1)
			go func() { done <- mirror(d, c.batch, touch) }()
			size := 4 << 20
			if c.damage {
				size = 1 << 20
			}
			transfer(t, end4a.Addr(), end4b.Addr(), size)
			transfer(t, end6a.Addr(), end6b.Addr(), size)
			d.Close()
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Error("the mirror ended with", err)
			}
			st := d.Stats()
			t.Logf("%+v, %d damaged", st, damaged)
			if c.driver == DriverOffload && !c.damage && c.batch > 100 {
				if st.ReadPackets < 2*st.ReadCalls {
					t.Error("the kernel handed over few super-packets")
				}
				if st.WritePackets < 2*st.WriteCalls {
					t.Error("few packets were joined")
				}
			}
			if st.DropMalformed+st.DropRefused+st.DropTooLong != 0 {
				t.Errorf("packets were dropped: %+v", st)
			}
			// Damage must reach the kernel as damage: that it arrives whole is TCP's merit, and the kernel counts.
			if wrong := tcpChecksumErrors(t); c.damage != (wrong > 0) {
				t.Errorf("the kernel has seen %d wrong TCP checksums, %d packets were damaged", wrong, damaged)
			}
		})
	}
}

// tcpChecksumErrors is the kernel's count, in this network namespace since the last call.
func tcpChecksumErrors(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "Tcp:" {
			if names == nil {
				names = f
				continue
			}
			for i, name := range names {
				if name == "InCsumErrors" {
					n := 0
					fmt.Sscan(f[i], &n)
					n, seenChecksumErrors = n-seenChecksumErrors, n
					return n
				}
			}
		}
	}
	t.Fatal("no InCsumErrors in snmp")
	return 0
}

var seenChecksumErrors int

// TestDeviceNoAllocations: a batch costs no memory once the device is warm.
func TestDeviceNoAllocations(t *testing.T) {
	for _, driver := range []Driver{DriverPlain, DriverOffload} {
		t.Run(string(driver), func(t *testing.T) {
			d := openUp(t, Options{Driver: driver})
			c := listenUDP(t, end4a)
			const n = 16
			in := make([]Packet, n)
			for i := range in {
				in[i].Data = make([]byte, 2000)
			}
			payload := make([]byte, 500)
			out := flow(end4b, end4a, []int{500, 500, 500, 500, 500, 500, 500, 40}, true)
			avg := testing.AllocsPerRun(50, func() {
				for range n {
					if _, err := c.WriteToUDPAddrPort(payload, end4b); err != nil {
						t.Fatal(err)
					}
				}
				for got := 0; got < n; {
					for i := range in {
						in[i].Data = in[i].Data[:2000]
					}
					k, err := d.Read(in)
					if err != nil {
						t.Fatal(err)
					}
					got += k
				}
				if k, err := d.Write(out); k != len(out) || err != nil {
					t.Fatal(k, err)
				}
			})
			if avg != 0 {
				t.Errorf("%v allocations per batch, want 0", avg)
			}
		})
	}
}
