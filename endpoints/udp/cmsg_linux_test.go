package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestControlAgainstLibrary reads what putControl writes with package unix, and the other way round with parseControl.
func TestControlAgainstLibrary(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	for _, c := range []struct {
		name    string
		v4      bool
		local   netip.Addr
		ecn     uint8
		segment int
		want    int // messages
	}{
		{"nothing", true, netip.Addr{}, 0, 0, 0},
		{"unspecified", false, netip.IPv6Unspecified(), 0, 0, 0},
		{"v4 all", true, v4, CE, 1200, 3},
		{"v4 mapped source", true, netip.AddrFrom16(v4.As16()), ECT1, 0, 2},
		{"v6 all", false, v6, ECT0, 1400, 3},
		{"segment alone", false, netip.Addr{}, 0, 65535, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := make([]byte, controlLen)
			for i := range b {
				b[i] = 0xff // what was there before must not shine through
			}
			n := putControl(b, c.v4, c.local, c.ecn, c.segment)
			msgs, err := unix.ParseSocketControlMessage(b[:n])
			if err != nil || len(msgs) != c.want {
				t.Fatalf("%d messages, %v, want %d", len(msgs), err, c.want)
			}
			for _, m := range msgs {
				switch {
				case m.Header.Level == unix.SOL_UDP && m.Header.Type == unix.UDP_SEGMENT:
					if got := binary.NativeEndian.Uint16(m.Data); int(got) != c.segment {
						t.Errorf("segment %d", got)
					}
				case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && c.v4,
					m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && !c.v4,
					m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_TOS && c.v4,
					m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_TCLASS && !c.v4:
				default:
					t.Errorf("message %d/%d", m.Header.Level, m.Header.Type)
				}
			}
			a := parseControl(b[:n])
			want := c.local.Unmap()
			if want.IsValid() && want.IsUnspecified() {
				want = netip.Addr{}
			}
			if a.local != want || a.ecn != c.ecn {
				t.Errorf("parsed %+v", a)
			}
		})
	}
}

func TestParseControl(t *testing.T) {
	put := func(b []byte, level, typ int, v uint32) []byte {
		var m [64]byte
		data, rest := putCmsg(m[:], level, typ, 4)
		binary.NativeEndian.PutUint32(data, v)
		return append(b, m[:len(m)-len(rest)]...)
	}
	b := put(nil, unix.SOL_UDP, unix.UDP_GRO, 1350)
	b = put(b, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 7) // not ours: passed over
	b = put(b, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 99)
	a := parseControl(b)
	if a.segment != 1350 || !a.hasDrop || a.drops != 99 {
		t.Errorf("parsed %+v", a)
	}
	// A message cut short brings nothing, those before it count.
	if a := parseControl(b[:len(b)-8]); a.segment != 1350 || a.hasDrop {
		t.Errorf("cut short: parsed %+v", a)
	}
	if a := parseControl(put(nil, unix.SOL_UDP, unix.UDP_GRO, 0xfffffff0)); a.segment != 0 {
		t.Errorf("a negative segment size became %d", a.segment)
	}
}

// FuzzParseControl: any bytes are survived, and sizes come out that a cut can use.
func FuzzParseControl(f *testing.F) {
	b := make([]byte, controlLen)
	f.Add(b[:putControl(b, true, netip.MustParseAddr("192.0.2.7"), CE, 1200)])
	f.Add(b[:putControl(b, false, netip.MustParseAddr("2001:db8::7"), CE, 1200)])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := parseControl(b[:len(b):len(b)]); a.segment < 0 || a.ecn > 3 {
			t.Errorf("parsed %+v", a)
		}
	})
}

// FuzzSockaddr: any bytes are survived, and what parses can be written again.
func FuzzSockaddr(f *testing.F) {
	var zones zoneNames
	for _, s := range []string{"192.0.2.7:7117", "[2001:db8::7]:7117", "[fe80::1%3]:1", "[::ffff:192.0.2.7]:2"} {
		var b [sockaddrLen]byte
		n, err := putSockaddr(b[:], true, netip.MustParseAddrPort(s))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:n])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		peer, ok := parseSockaddr(b, &zones)
		if !ok {
			return
		}
		var again [sockaddrLen]byte
		n, err := putSockaddr(again[:], true, peer)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := parseSockaddr(again[:n], &zones); !ok || p != peer {
			t.Errorf("%v became %v, %v", peer, p, ok)
		}
	})
}

func TestSockaddr(t *testing.T) {
	var zones zoneNames
	for _, c := range []struct {
		v6       bool
		in, want string
	}{
		{false, "192.0.2.7:7117", "192.0.2.7:7117"},
		{false, "[::ffff:192.0.2.7]:7117", "192.0.2.7:7117"},
		{true, "192.0.2.7:7117", "192.0.2.7:7117"}, // through the mapped form
		{true, "[2001:db8::7]:65535", "[2001:db8::7]:65535"},
		{true, "[fe80::1%3]:1", "[fe80::1%3]:1"},
	} {
		var b [sockaddrLen]byte
		n, err := putSockaddr(b[:], c.v6, netip.MustParseAddrPort(c.in))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := parseSockaddr(b[:n], &zones); !ok || got.String() != c.want {
			t.Errorf("%s on v6=%v became %v, %v", c.in, c.v6, got, ok)
		}
	}
	var b [sockaddrLen]byte
	for _, c := range []struct {
		v6   bool
		peer netip.AddrPort
	}{{true, netip.AddrPort{}}, {false, netip.MustParseAddrPort("[::1]:1")}, {true, netip.MustParseAddrPort("[fe80::1%no-such-if0]:1")}} {
		if _, err := putSockaddr(b[:], c.v6, c.peer); err == nil {
			t.Errorf("%v on v6=%v was accepted", c.peer, c.v6)
		}
	}
}
