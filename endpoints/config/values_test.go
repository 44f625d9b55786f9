package config

import (
	"strings"
	"testing"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{
		"10mbit": 10e6, "512kbit": 512e3, "1.5gbit": 1.5e9, "8000bit": 8e3, "100gbit": 100e9, "0.5mbit": 5e5,
	} {
		got, err := ParseRate(s)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v, want %v", s, float64(got), err, float64(want))
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q and read back as %v, %v", s, got, again, err)
		}
	}
	for _, s := range []string{"", "10", "mbit", "10 mbit", "10mbit ", "-1mbit", "+1mbit", "1e3kbit", "0x10kbit", "infgbit",
		"nanmbit", ".5mbit", "5.mbit", "1.2.3mbit", "10mb", "10Mbit", "10MB", "1_0mbit", "0mbit", "7999bit", "101gbit", "1e400gbit"} {
		if r, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", s, r)
		}
	}
	if got := Rate(10e6).BytesPerSecond(); got != 1.25e6 {
		t.Errorf("10mbit is %v bytes/s", got)
	}
}

func TestParseAddress(t *testing.T) {
	for s, want := range map[string]Address{
		"exit.example.net":      {"exit.example.net", 7117},
		"exit.example.net.":     {"exit.example.net.", 7117},
		"exit.example.net:443":  {"exit.example.net", 443},
		"localhost":             {"localhost", 7117},
		"192.0.2.1":             {"192.0.2.1", 7117},
		"192.0.2.1:1":           {"192.0.2.1", 1},
		"2001:db8::1":           {"2001:db8::1", 7117},
		"[2001:db8::1]":         {"2001:db8::1", 7117},
		"[2001:db8::1]:65535":   {"2001:db8::1", 65535},
		"fe80::1%eth0":          {"fe80::1%eth0", 7117},
		"xn--bcher-kva.example": {"xn--bcher-kva.example", 7117},
	} {
		if got, err := ParseAddress(s); err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", s, got, err, want)
		} else if again, err := ParseAddress(got.String()); err != nil || again != want {
			t.Errorf("%q is written %q and read back as %+v, %v", s, got, again, err)
		}
	}
	if ip, ok := (Address{"2001:db8::1", 1}).Addr(); !ok || ip.String() != "2001:db8::1" {
		t.Errorf("an IP address as host: %v, %v", ip, ok)
	}
	if ip, ok := (Address{"host", 1}).Addr(); ok {
		t.Errorf("a name as host is the IP address %v", ip)
	}
	for _, s := range []string{"", ":7117", "host:", "host:0", "host:65536", "host:http", "host:+1", "a b", "-a.example", "a..b",
		"300.1.1.1", "1.2.3", "[2001:db8::1", "[2001:db8::1]:", "[2001:db8::1]x", "[192.0.2.1]:1", "0.0.0.0", "::", "224.0.0.1",
		"http://host", "1:2:3", strings.Repeat("a", 64), strings.Repeat("a.", 130) + "a"} {
		if a, err := ParseAddress(s); err == nil {
			t.Errorf("ParseAddress(%q) = %+v, want an error", s, a)
		}
	}
}

func TestParseListen(t *testing.T) {
	for s, want := range map[string]string{
		":7117": "[::]:7117", "0.0.0.0:1": "0.0.0.0:1", "[::]:2": "[::]:2", "192.0.2.1:3": "192.0.2.1:3", "[2001:db8::1]:4": "[2001:db8::1]:4",
		"[::ffff:192.0.2.1]:5": "192.0.2.1:5",
	} {
		if got, err := ParseListen(s); err != nil || got.String() != want {
			t.Errorf("ParseListen(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "7117", ":", ":0", ":65536", "host:7117", "2001:db8::1", "[::]"} {
		if a, err := ParseListen(s); err == nil {
			t.Errorf("ParseListen(%q) = %v, want an error", s, a)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for s, want := range map[string]PortRange{"1": {1, 1}, "65535": {65535, 65535}, "6000-6100": {6000, 6100}, "7-7": {7, 7}} {
		got, err := ParsePorts(s)
		if err != nil || got != want {
			t.Errorf("ParsePorts(%q) = %v, %v, want %v", s, got, err, want)
		}
		if again, err := ParsePorts(got.String()); err != nil || again != want {
			t.Errorf("%q is written %q and read back as %v, %v", s, got, again, err)
		}
	}
	for _, s := range []string{"", "0", "-", "1-", "-1", "2-1", "1-65536", "1-2-3", "http", "1 - 2"} {
		if r, err := ParsePorts(s); err == nil {
			t.Errorf("ParsePorts(%q) = %v, want an error", s, r)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"adress", "address", 1}, {"addresss", "address", 1}, {"addrass", "address", 1}, {"adderss", "address", 1},
		{"kitten", "sitting", 3}, {"ca", "abc", 3}, // the alignment may not touch a swapped pair again
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"address", "key", "name", "max_up", "max_down"}
	for s, want := range map[string]string{
		"adress": "address", "kye": "key", "keys": "key", "max-up": "max_up", "maxdown": "max_down", "nmae": "name",
		"colour": "", "x": "", "": "", "addr": "",
	} {
		if got, _ := Nearest(s, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	gateway := read(t, `role = "gateway"`, `exit.address = ["exit.example.net", "192.0.2.1:443"]`, `exit.key = "`+keyA+`"`,
		`tun.mtu = 1400`, `[[uplink]]`, `interface = "eth1"`, `name = "dsl"`, `[[uplink]]`, `interface = "wwan0"`,
		`mode = "backup"`, `metered = true`, `max_up = "1.5mbit"`, `max_down = "10mbit"`,
		`[stream]`, `socks = "127.0.0.1:1080"`, `http = "[::1]:8080"`,
		`[[bypass]]`, `cidr = "192.0.2.0/24"`, `port = [25, "6000-6100"]`, `via = "direct"`, `[[bypass]]`, `port = 22`)
	exit := read(t, `role = "exit"`, `log_level = "debug"`, `inner.ipv6 = "off"`, `[[gateway]]`, `name = "home"`, `key = "`+keyB+`"`,
		`allow = "10.1.0.0/16"`, `max_streams = 99`, `max_memory = 8`, `[stream]`, `allow = "192.168.7.0/24"`, `deny = "203.0.113.7"`)
	auto := read(t, `role = "gateway"`, `exit.address = "192.0.2.1"`, `exit.key = "`+keyA+`"`, `lan.interfaces = ["eth0", "wlan0"]`,
		`stream.intercept = false`)
	for _, c := range []struct {
		config *Config
		want   string
	}{{gateway, `
role            gateway
private key     from /etc/bondd/key
exit            exit.example.net:7117 (TCP for the hello, UDP for datagrams)
                192.0.2.1:443 (TCP for the hello, UDP for datagrams)
exit key        ` + keyA + `
uplinks         dsl (eth1), always
                wwan0, backup, metered, up at most 1.5mbit, down at most 10mbit
paths           one from each uplink to each address of the exit
routes          everything but local networks goes into the bond, of this host and of the hosts it forwards for
                IP forwarding on; packets from the LAN leave under the inner address; TCP MSS clamped
connections     taken and carried as streams, where the exit does that
                  not to 192.0.2.0/24, port 25, 6000-6100: around the bond, with all else that goes there
                  not to anywhere, port 22: as packets
SOCKS5          127.0.0.1:1080
HTTP CONNECT    [::1]:8080
TUN device      bondd0, MTU 1400
control socket  /run/bondd.sock
log level       info
`}, {exit, `
role            exit
private key     from /etc/bondd/key
listen          [::]:7117 (TCP for the hello, UDP for datagrams)
own addresses   10.177.0.1/16
gateways        home has 10.177.0.2/32
                  key ` + keyB + `
                  may reach 10.1.0.0/16
                  its connections: at most 99, at most 8 MB undelivered
DNS             answered to gateways at the inner addresses, from the resolvers of this host
routes          IP forwarding on; packets of the gateways leave under this host's addresses; TCP MSS clamped
streams         to the internet; not to this host and to private networks but 192.168.7.0/24
                nor to 203.0.113.7/32
TUN device      bondd0, MTU follows the paths
control socket  /run/bondd.sock
log level       debug
`}, {auto, `
role            gateway
private key     from /etc/bondd/key
exit            192.0.2.1:7117 (TCP for the hello, UDP for datagrams)
exit key        ` + keyA + `
uplinks         found by themselves: every interface with a default route but eth0, wlan0
paths           one from each uplink to each address of the exit
routes          everything but local networks goes into the bond, of this host and of the hosts it forwards for
                IP forwarding on; packets from the LAN leave under the inner address; TCP MSS clamped
connections     not taken: they go as packets
TUN device      bondd0, MTU follows the paths
control socket  /run/bondd.sock
log level       info
`}} {
		if got := "\n" + c.config.Describe(); got != c.want {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
}
