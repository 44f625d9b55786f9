package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bondd/bondd/tunnel/control"
)

const (
	keyA = "DqDtqzBv6VnTv0Fqv7Zv9F6VtOqWZ2mC6j0pM5Xg3kE="
	keyB = "8Z1C3mJ4bq6sM2Qd5m5o1dXH0T4J7o3nqk9W0n2v6yA="
)

func publicKey(t *testing.T, s string) control.PublicKey {
	t.Helper()
	k, err := control.ParsePublicKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// read parses text that must be right.
func read(t *testing.T, lines ...string) *Config {
	t.Helper()
	c, err := Parse("bondd.toml", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSmallestGateway(t *testing.T) {
	got := read(t, `role = "gateway"`, `exit.address = "exit.example.net"`, `exit.key = "`+keyA+`"`)
	want := &Config{
		File: "bondd.toml", Role: RoleGateway,
		PrivateKeyFile: "/etc/bondd/key", Control: "/run/bondd.sock", TUN: TUN{Name: "bondd0"}, StateDir: "/var/lib/bondd", Policy: PolicyAggregate,
		Exit:   Exit{Addresses: []Address{{"exit.example.net", 7117}}, Key: publicKey(t, keyA)},
		Stream: Stream{Mode: CarryAuto},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got.AutoUplinks() {
		t.Error("without [[uplink]], uplinks are not found by themselves")
	}
}

func TestSmallestExit(t *testing.T) {
	got := read(t, `role = "exit"`, `[[gateway]]`, `key = "`+keyB+`"`)
	want := &Config{
		File: "bondd.toml", Role: RoleExit,
		PrivateKeyFile: "/etc/bondd/key", Control: "/run/bondd.sock", TUN: TUN{Name: "bondd0"},
		Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:7117")},
		Inner:  Inner{IPv4: DefaultInner4, IPv6: DefaultInner6},
		Gateways: []Gateway{{Name: "gateway1", Key: publicKey(t, keyB),
			Addresses: prefixes("10.177.0.2/32", "fd77:b0dd::2/128")}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if own := got.Inner.Exit(); !slices.Equal(own, prefixes("10.177.0.1/16", "fd77:b0dd::1/64")) {
		t.Errorf("the exit's own addresses are %v", own)
	}
}

// TestExamples holds the files of docs/examples to what their comments say.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../docs/examples/*.toml")
	if err != nil || len(files) < 4 {
		t.Fatalf("docs/examples has %d files (%v), want 4 or more", len(files), err)
	}
	got := map[string]*Config{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if got[filepath.Base(f)], err = Parse(f, data); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	full := got["gateway.toml"]
	want := []Uplink{
		{Name: "dsl", Interface: "ppp0", Mode: ModeAlways},
		{Name: "lte", Interface: "wwan0", Mode: ModeAlways, Metered: true, MaxUp: 10e6},
		{Name: "wwan1", Interface: "wwan1", Mode: ModeBackup, Metered: true, MaxUp: 512e3, MaxDown: 1.5e6},
		{Name: "wg0", Interface: "wg0", Mode: ModeOff},
	}
	if !reflect.DeepEqual(full.Uplinks, want) {
		t.Errorf("gateway.toml has uplinks\n%+v, want\n%+v", full.Uplinks, want)
	}
	addresses := []Address{{"exit.example.net", 7117}, {"192.0.2.10", 7117}, {"2001:db8::10", 7117}}
	if !slices.Equal(full.Exit.Addresses, addresses) {
		t.Errorf("gateway.toml has exit addresses %v, want %v", full.Exit.Addresses, addresses)
	}
	if !slices.Equal(full.LAN.Interfaces, []string{"eth0"}) {
		t.Errorf("gateway.toml has LAN interfaces %q", full.LAN.Interfaces)
	}
	exit := got["exit.toml"]
	if a := exit.Gateways[0].Addresses; !slices.Equal(a, prefixes("10.177.0.2/32", "fd77:b0dd::2/128")) {
		t.Errorf("exit.toml: the first gateway has %v", a)
	}
	if a := exit.Gateways[1].Addresses; !slices.Equal(a, prefixes("10.177.4.1/24", "fd77:b0dd::4/128")) {
		t.Errorf("exit.toml: the second gateway has %v", a)
	}
	bypass := []Bypass{
		{Prefixes: prefixes("198.51.100.0/24", "2001:db8:7::/48"), Via: ViaDirect},
		{Ports: []PortRange{{25, 25}, {6000, 6100}}, Via: ViaPacket},
	}
	if !reflect.DeepEqual(full.Bypass, bypass) {
		t.Errorf("gateway.toml has the bypass list %+v", full.Bypass)
	}
	if s := full.Stream; s.InterceptOff || !slices.Equal(s.SOCKS, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1080")}) ||
		!slices.Equal(s.HTTP, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("192.168.1.1:8080")}) {
		t.Errorf("gateway.toml has streams %+v", s)
	}
	want2 := Stream{Allow: prefixes("192.168.7.0/24"), Deny: prefixes("203.0.113.0/24"), MaxStreams: 4096, MaxRate: 500, MaxMemory: 64}
	if !reflect.DeepEqual(exit.Stream, want2) || !slices.Equal(exit.Gateways[1].Allow, prefixes("10.20.0.0/16")) {
		t.Errorf("exit.toml has streams %+v, and %v for the second gateway", exit.Stream, exit.Gateways[1].Allow)
	}
	if exit.TUN.MTU != 1400 {
		t.Errorf("exit.toml: MTU %d", exit.TUN.MTU)
	}
}

// expectation is a comment of a file in testdata/bad with an expected error:
// after "#!" on its own line, after "#!^" on the same line as the one above,
// after "#!0" on no line.
var expectation = regexp.MustCompile(`#!([0^]?) (.*)`)

// TestBad reads each file of testdata/bad and compares all errors with the
// comments in it.
func TestBad(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.toml")
	if len(files) == 0 {
		t.Fatal("testdata/bad is empty")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			at := ""
			for i, line := range strings.Split(string(data), "\n") {
				m := expectation.FindStringSubmatch(line)
				if m == nil {
					continue
				}
				switch m[1] {
				case "":
					at = fmt.Sprintf(":%d", i+1)
				case "0":
					at = ""
				}
				want = append(want, fmt.Sprintf("%s%s: %s", file, at, m[2]))
			}
			_, err = Parse(file, data)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			for _, g := range got {
				if !slices.Contains(want, g) {
					t.Errorf("unexpected: %s", g)
				}
			}
			for _, w := range want {
				if !slices.Contains(got, w) {
					t.Errorf("missing:    %s", w)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d errors, want %d", len(got), len(want))
			}
		})
	}
}

func TestErrorsAreInLineOrder(t *testing.T) {
	_, err := Parse("f", []byte("role = \"exit\"\nlisten = 1\n[inner]\nipv6 = 2\nipv4 = 3\n"))
	var es Errors
	if !errors.As(err, &es) {
		t.Fatalf("got %T, want Errors", err)
	}
	var lines []int
	for _, e := range es {
		lines = append(lines, e.Line)
	}
	if want := []int{2, 4, 5, 0}; !slices.Equal(lines, want) { // the last: no gateway
		t.Errorf("lines %v, want %v\n%v", lines, want, err)
	}
}

func TestLoadReadsThePrivateKey(t *testing.T) {
	dir := t.TempDir()
	private, err := NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicKey(private + "\n")
	if err != nil {
		t.Fatal(err)
	}
	keyFile, file := filepath.Join(dir, "key"), filepath.Join(dir, "bondd.toml")
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	text := func(exitKey string) string {
		return fmt.Sprintf("role = \"gateway\"\nprivate_key_file = %q\nexit.address = \"192.0.2.1\"\nexit.key = %q\n", keyFile, exitKey)
	}
	write(keyFile, private+"\n", 0o600)
	write(file, text(keyA), 0o644)

	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.PrivateKey.Public().String(); got != public {
		t.Errorf("the key of the file has public key %s, want %s", got, public)
	}

	write(file, text(public), 0o644)
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file+":4: exit.key is the key of this node itself") {
		t.Errorf("own key as the exit's: got %v", err)
	}

	// A key that others can read is refused, together with whatever else is wrong.
	write(keyFile, private+"\n", 0o640)
	write(file, text(keyA)+"colour = 1\n", 0o644)
	_, err = Load(file)
	var es Errors
	if !errors.As(err, &es) || len(es) != 2 || es[0].Line != 2 || !strings.Contains(es[0].Text, "chmod 600 "+keyFile) || es[1].Line != 5 {
		t.Errorf("key of mode 0640: got %v", err)
	}

	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	write(file, text(keyA), 0o644)
	if _, err := Load(file); err == nil || !strings.HasPrefix(err.Error(), file+":2: ") || !strings.Contains(err.Error(), keyFile) {
		t.Errorf("no key file: got %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no configuration: got %v", err)
	}
}

func TestValidateOfAConfigMadeByAProgram(t *testing.T) {
	c := &Config{Role: RoleExit, Gateways: []Gateway{{Name: "g", Key: publicKey(t, keyA)}}}
	c.PrivateKey[0] = 1
	c.SetDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.PrivateKeyFile != "" {
		t.Errorf("a config with a key is given the key file %q", c.PrivateKeyFile)
	}
	c.SetDefaults()
	if n := len(c.Gateways[0].Addresses); n != 2 {
		t.Errorf("a second SetDefaults makes %d addresses of 2", n)
	}
	c.Gateways[0].Key = c.PrivateKey.Public()
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "gateway[0].key is the key of this node itself") {
		t.Errorf("own key as a gateway's: got %v", err)
	}
}

func TestInnerPrefixThatIsFull(t *testing.T) {
	// A /30 has room for the exit and one gateway: .0 names it, .3 is its broadcast address.
	head := []string{`role = "exit"`, `inner.ipv4 = "10.0.0.0/30"`, `inner.ipv6 = "off"`, `[[gateway]]`, `key = "` + keyA + `"`}
	if a := read(t, head...).Gateways[0].Addresses; !slices.Equal(a, prefixes("10.0.0.2/32")) {
		t.Errorf("the only gateway has %v", a)
	}
	_, err := Parse("f", []byte(strings.Join(append(head, `[[gateway]]`, `key = "`+keyB+`"`), "\n")))
	want := `f:6: gateway[1].addresses: 10.0.0.0/30 has no address left for gateway "gateway2"; make the prefix in [inner] larger`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
