package tuntest

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/tun"
)

func rooms(n, size int) []tun.Packet {
	ps := make([]tun.Packet, n)
	for i := range ps {
		ps[i].Data = make([]byte, size)
	}
	return ps
}

func TestReadWaitsForTheFirstOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("bt0", 1400)
		start := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			b := []byte("one")
			d.InjectBytes(b)
			copy(b, "xxx") // the device has its own copy
			d.Inject(tun.Packet{Data: []byte("two"), CsumStart: 20, CsumOffset: 16})
			d.InjectBytes([]byte("too long"))
			d.InjectBytes([]byte("3"))
		}()
		var got []tun.Packet
		for len(got) < 3 {
			ps := rooms(8, 5)
			n, err := d.Read(ps)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ps[:n]...)
		}
		if string(got[0].Data) != "one" || string(got[1].Data) != "two" || string(got[2].Data) != "3" {
			t.Errorf("read %q %q %q", got[0].Data, got[1].Data, got[2].Data)
		}
		if got[0].CsumStart != 0 || got[1].CsumStart != 20 || got[1].CsumOffset != 16 {
			t.Error("the unfinished checksum was lost")
		}
		if time.Since(start) != 3*time.Second {
			t.Errorf("the packets came after %v", time.Since(start))
		}
		if st := d.Stats(); st.DropTooLong != 1 || st.ReadPackets != 3 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("bt0", 1400)
		b := []byte("out")
		if n, err := d.Write([]tun.Packet{{Data: b, CsumStart: 20, CsumOffset: 6}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		copy(b, "xxx")
		if p := <-d.Written(); string(p.Data) != "out" || p.CsumStart != 20 || p.CsumOffset != 6 {
			t.Errorf("written %+v", p)
		}
		seen := 0
		d.OnWrite(func(p tun.Packet) bool { seen++; return seen%2 == 0 })
		d.Write(rooms(4, 1))
		if seen != 4 || len(d.Written()) != 2 {
			t.Errorf("the hook saw %d, %d went on, want 4 and 2", seen, len(d.Written()))
		}
		d.OnWrite(nil)
		if n, err := d.Write(rooms(Depth, 1)); n != Depth || err != nil || d.Stats().DropRefused != 2 {
			t.Errorf("Write = %d, %v, %+v", n, err, d.Stats())
		}
	})
}

func TestCloseUnblocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("bt0", 1400)
		done := make(chan error)
		go func() {
			_, err := d.Read(rooms(1, 10))
			done <- err
		}()
		go func() {
			full := New("bt1", 1400)
			for range Depth {
				full.InjectBytes(nil)
			}
			go full.Close()
			done <- full.InjectBytes(nil)
		}()
		synctest.Wait()
		d.Close()
		d.Close()
		for range 2 {
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
		if _, err := d.Write(rooms(1, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := d.InjectBytes(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("inject: %v", err)
		}
	})
}

func TestMTU(t *testing.T) {
	d := New("bt0", 1400)
	if mtu, _ := d.MTU(); mtu != 1400 || d.Name() != "bt0" || d.SetMTU(1280) != nil || d.SetMTU(10) == nil {
		t.Error("MTU or name")
	}
	if mtu, _ := d.MTU(); mtu != 1280 {
		t.Errorf("MTU %d", mtu)
	}
}
