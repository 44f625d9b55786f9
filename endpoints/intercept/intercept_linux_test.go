package intercept

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

const (
	server4 = "203.0.113.5"
	server6 = "[2001:db8:5::5]"
)

// servers are the addresses to try, of both families where there are both.
func (h *home) servers(port string) []string {
	if h.v6 {
		return []string{server4 + ":" + port, server6 + ":" + port}
	}
	return []string{server4 + ":" + port}
}

func (h *home) config() Config { return Config{TUN: "bondd0", Own: true, IPv6: h.v6} }

func TestConnectionsOfTheLANAreTaken(t *testing.T) {
	h := newHome(t)
	h.wantServer(h.lan, server4+":80", "exit") // the way without us
	i := h.open(h.config())
	for _, to := range h.servers("80") {
		client, ours := h.wantTaken(i, h.lan, to)
		h.must(client.(*net.TCPConn).CloseWrite())
		if n, err := ours.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after the client's FIN: %d %v", n, err)
		}
		h.must(ours.(*net.TCPConn).SetLinger(0))
		h.must(ours.Close())
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("after our reset the client reads %v", err)
		}
	}
	// An address that nobody has, and the port of the listener elsewhere.
	h.wantTaken(i, h.lan, "192.0.2.77:65535")
	h.wantTaken(i, h.lan, "192.0.2.77:7118")
}

func TestOwnConnectionsAreTaken(t *testing.T) {
	h := newHome(t)
	i := h.open(h.config())
	for _, to := range h.servers("80") {
		h.wantTaken(i, h.gateway, to)
	}
	h.wantServerMarked(h.gateway, server4+":80", "exit", 0xb0dd0001) // outer, by the default table here
	h.wantTaken(i, h.lan, server4+":80")

	h.must(i.Close())
	c := h.config()
	c.Own = false
	i = h.open(c)
	h.wantServer(h.gateway, server4+":80", "exit")
	h.wantTaken(i, h.lan, server4+":80")
}

func TestWithoutTUNAllThatLeavesIsTaken(t *testing.T) {
	h := newHome(t)
	c := h.config()
	c.TUN = ""
	c.Bypass = []Bypass{{Ports: []PortRange{{443, 443}}}, {Ports: []PortRange{{2222, 2222}}, Service: Direct}}
	i := h.open(c)
	for _, to := range h.servers("80") {
		h.wantTaken(i, h.lan, to)
		h.wantTaken(i, h.gateway, to)
	}
	h.serve("gateway", ":8080")
	h.wantServer(h.lan, "192.168.50.1:8080", "gateway")
	for _, from := range []namespace{h.lan, h.gateway} {
		h.wantServer(from, "198.51.100.2:8080", "gateway")
		h.wantServer(from, server4+":443", "exit")
		h.wantServer(from, server4+":2222", "wan")
	}
}

func TestOnlyInterfacesOfTheLANAreTaken(t *testing.T) {
	h := newHome(t)
	c := h.config()
	c.LAN = []string{"eth7", "eth8"}
	i := h.open(c)
	h.wantServer(h.lan, server4+":80", "exit")
	h.must(i.Close())
	c.LAN = append(c.LAN, "eth0")
	i = h.open(c)
	h.wantTaken(i, h.lan, server4+":80")
	h.must(i.Close())
	c.LAN = []string{"eth0"}
	h.wantTaken(h.open(c), h.lan, server4+":80")
}

func TestWhatIsNotTaken(t *testing.T) {
	h := newHome(t)
	h.serve("gateway", ":8080")
	before := h.wantServer(h.lan, server4+":443", "exit")
	own := h.wantServer(h.gateway, server4+":443", "exit")
	local := h.wantServer(h.lan, "192.168.50.1:8080", "gateway")

	i := h.open(h.config())
	// Connections from before go on where they are.
	for _, c := range []net.Conn{before, own, local} {
		_, err := io.WriteString(c, "still there\n")
		h.must(err)
		h.wantLine(c, "still there")
	}
	// Local services, whatever the address; also from here.
	for _, to := range []string{"192.168.50.1:8080", "10.177.0.2:8080", "198.51.100.2:8080"} {
		h.wantServer(h.lan, to, "gateway")
		h.wantServer(h.gateway, to, "gateway")
	}
	h.wantServer(h.gateway, "127.0.0.1:8080", "gateway")
	// What the machine has a route of its own for.
	h.in(h.wan, func() { h.route(unix.RT_TABLE_MAIN, "192.168.50.0/24", "198.51.100.2") })
	for _, from := range []namespace{h.lan, h.gateway} {
		h.wantServer(from, "198.51.100.1:80", "wan")
	}
	if h.v6 {
		h.wantServer(h.lan, "[fd50::1]:8080", "gateway")
		h.wantServer(h.gateway, "[::1]:8080", "gateway")
		h.wantServer(h.gateway, "[2001:db8:100::1]:80", "wan")
	}
	// Somebody who calls the listener itself is dropped, and nothing gets stuck.
	if c, err := h.dial(h.gateway, "127.0.0.1:7118", 0); err == nil {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the listener itself answers %v", err)
		}
	}
	h.wantTaken(i, h.lan, server4+":80")
}

func TestIPv6IsSwitchedAtRunTime(t *testing.T) {
	h := newHome(t)
	if !h.v6 {
		t.Skip("no IPv6 here")
	}
	c := h.config()
	c.IPv6 = false
	i := h.open(c)
	h.wantTaken(i, h.lan, server4+":80")
	h.wantServer(h.lan, server6+":80", "exit")
	h.wantServer(h.gateway, server6+":80", "exit")
	h.must(i.SetIPv6(true))
	h.must(i.SetIPv6(true))
	client, ours := h.wantTaken(i, h.lan, server6+":80")
	own, ours2 := h.wantTaken(i, h.gateway, server6+":80")
	h.must(i.SetIPv6(false))
	h.must(i.SetIPv6(false))
	h.wantServer(h.lan, server6+":80", "exit")
	h.wantTaken(i, h.lan, server4+":80")
	h.wantBytes(client, ours) // what was taken goes on
	h.wantBytes(own, ours2)
}

func TestBypass(t *testing.T) {
	h := newHome(t)
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for name, c := range map[string]struct {
		bypass          []Bypass
		at80, at2222    string // "" is taken
		at80v6, at22226 string
	}{
		"packet by prefix": {[]Bypass{{Prefixes: prefixes("203.0.113.0/24", "203.0.113.0/25")}}, "exit", "exit", "", ""},
		"direct by prefix": {[]Bypass{{Prefixes: prefixes("203.0.113.5/32", "2001:db8::/32"), Service: Direct}}, "wan", "wan", "wan", "wan"},
		"packet by port":   {[]Bypass{{Ports: []PortRange{{2000, 3000}, {22, 22}}}}, "", "exit", "", "exit"},
		"direct by port":   {[]Bypass{{Ports: []PortRange{{2222, 2222}}, Service: Direct}}, "", "wan", "", "wan"},
		"both, in order": {[]Bypass{
			{Prefixes: prefixes("203.0.113.5/32"), Ports: []PortRange{{80, 80}}},
			{Prefixes: prefixes("203.0.112.0/23", "2001:db8:5::5/128"), Service: Direct},
			{Ports: []PortRange{{1, 65535}}},
		}, "exit", "wan", "wan", "wan"},
		"somebody else": {[]Bypass{{Prefixes: prefixes("203.0.113.4/32", "2001:db8:6::/64")}, {Ports: []PortRange{{81, 2221}}, Service: Direct}}, "", "", "", ""},
	} {
		cfg := h.config()
		cfg.Bypass = c.bypass
		i := h.open(cfg)
		t.Log(name)
		wants := map[string]string{server4 + ":80": c.at80, server4 + ":2222": c.at2222}
		if h.v6 {
			wants[server6+":80"], wants[server6+":2222"] = c.at80v6, c.at22226
		}
		for to, want := range wants {
			for _, from := range []namespace{h.lan, h.gateway} {
				if want == "" {
					h.wantTaken(i, from, to)
				} else {
					h.wantServer(from, to, want)
				}
			}
		}
		h.must(i.Close())
	}
}

// refusal dials and returns how long the failure took.
func (h *home) refusal(from namespace, to string, want syscall.Errno) time.Duration {
	h.Helper()
	start := time.Now()
	c, err := h.dial(from, to, 0)
	if err == nil {
		c.Close()
		h.Fatalf("%s from %s: connected, want %v", to, from.name, want)
	}
	if !errors.Is(err, want) {
		h.Fatalf("%s from %s: %v, want %v", to, from.name, err, want)
	}
	return time.Since(start)
}

func TestRefusalsAreRemembered(t *testing.T) {
	h := newHome(t)
	cfg := h.config()
	// Here, where a client's packets are answered while it sends, an ICMPv6 error
	// counts at the second SYN only, a second later, for the LAN as well.
	cfg.NegativeTTL = 3 * time.Second
	i := h.open(cfg)
	for _, c := range []struct {
		mark func(netip.AddrPort) error
		port string
		want syscall.Errno
	}{
		{i.Refused, "80", unix.ECONNREFUSED},
		{i.Unreachable, "443", unix.EHOSTUNREACH},
	} {
		for _, to := range h.servers(c.port) {
			client, ours := h.wantTaken(i, h.lan, to)
			own, ours2 := h.wantTaken(i, h.gateway, to)
			h.must(c.mark(netip.MustParseAddrPort(to)))
			h.must(c.mark(netip.MustParseAddrPort(to)))
			fromLAN := h.refusal(h.lan, to, c.want)
			fromHere := h.refusal(h.gateway, to, c.want)
			t.Logf("%s is %v for the LAN after %v, for the gateway after %v", to, c.want, fromLAN, fromHere)
			if fromLAN > time.Second/2 && !(c.want == unix.EHOSTUNREACH && to[0] == '[') {
				t.Errorf("%s: the LAN was told only after %v", to, fromLAN)
			}
			h.wantBytes(client, ours) // those that are there go on
			h.wantBytes(own, ours2)
			// Other ports and addresses are not concerned.
			h.wantTaken(i, h.lan, "203.0.113.5:2222")
			h.wantTaken(i, h.lan, "203.0.113.6:"+c.port)
		}
	}
	for _, port := range []string{"80", "443"} { // over soon
		for _, to := range h.servers(port) {
			look := time.NewTicker(10 * time.Millisecond)
			defer look.Stop()
			for deadline := time.Now().Add(patience); ; <-look.C {
				c, err := h.dial(h.lan, to, 0)
				if err == nil {
					taken, err := i.Accept()
					h.must(err)
					h.wantBytes(c, taken.Conn)
					taken.Conn.Close()
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is still refused: %v", to, err)
				}
			}
		}
	}
}

func TestMoreRefusalsThanCanBeRemembered(t *testing.T) {
	h := newHome(t)
	i := h.open(h.config())
	at := netip.MustParseAddr("192.0.2.1")
	h.must(i.Refused(netip.AddrPortFrom(at, 1)))
	for first := 2; first <= maxNegative; first += chunk {
		var list []nftables.SetElement
		for port := first; port < first+chunk && port <= maxNegative; port++ {
			list = append(list, nftables.SetElement{Key: negativeKey(netip.AddrPortFrom(at, uint16(port)))})
		}
		h.must(i.table.conn.SetAddElements(i.table.sets[i.table.rules.refused4], list))
	}
	h.must(i.table.flush())
	for n := range 3 {
		h.must(i.Refused(netip.AddrPortFrom(at, uint16(maxNegative+1+n))))
	}
	for _, port := range []string{"1", "4096"} {
		h.refusal(h.lan, "192.0.2.1:"+port, unix.ECONNREFUSED)
	}
	h.wantTaken(i, h.lan, "192.0.2.1:4097")
	h.must(i.Unreachable(netip.AddrPortFrom(netip.MustParseAddr("::ffff:192.0.2.2"), 1)))
	h.refusal(h.lan, "192.0.2.2:1", unix.EHOSTUNREACH)
	if i.Refused(netip.AddrPort{}) == nil {
		t.Error("no address at all was accepted")
	}
}
