package config

import (
	"slices"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	read := func(text string) *Config {
		c, err := Parse("a.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key := func(c string) string { return strings.Repeat(c, 42) + "A=" }
	gateway := `role = "gateway"
exit.address = "exit.example.net"
exit.key = "` + key("B") + `"
`
	exits := "role = \"gateway\"\n[[exit]]\naddress = \"one.example\"\nkey = \"" + key("B") + "\"\n" +
		"[[exit]]\nname = \"two\"\naddress = \"two.example\"\nhttp = \"127.0.0.1:8080\"\nkey = \"" + key("C") + "\"\n"
	exit := "role = \"exit\"\n[[gateway]]\nname = \"home\"\nkey = \"" + key("B") + "\"\n"
	cabin := "[[gateway]]\nname = \"cabin\"\nkey = \"" + key("C") + "\"\n"
	for _, c := range []struct {
		name, from, to string
		want           []string
	}{
		{"nothing", gateway, "# a comment\n" + gateway, nil},
		{"a word", gateway, "log_level = \"debug\"\n" + gateway, []string{"~ log_level: INFO -> DEBUG"}},
		{"an opposite", gateway, gateway + "[stream]\nintercept = false\n", []string{"~ stream.intercept: true -> false"}},
		{"lists", gateway, gateway + "[lan]\ninterfaces = [\"eth0\", \"eth1\"]\n[stream]\nsocks = \"127.0.0.1:1080\"\n",
			[]string{"~ stream.socks: none -> 127.0.0.1:1080", "~ lan.interfaces: none -> eth0, eth1"}},
		{"an address", gateway, strings.Replace(gateway, "example.net", "example.net:443", 1),
			[]string{"~ exit.address: exit.example.net:7117 -> exit.example.net:443"}},
		{"an exit changes", exits, strings.Replace(strings.Replace(exits, "two.example", "deux.example", 1), "http =", "failover = true\nhttp =", 1),
			[]string{`~ exit "two" address: two.example:7117 -> deux.example:7117`, `~ exit "two" failover: false -> true`}},
		{"an uplink comes", gateway, gateway + "[[uplink]]\ninterface = \"ppp0\"\nname = \"dsl\"\n",
			[]string{`+ uplink "dsl": {name dsl, interface ppp0, mode always}`}},
		{"an uplink changes", gateway + "[[uplink]]\ninterface = \"ppp0\"\n[[uplink]]\ninterface = \"eth1\"\n",
			gateway + "[[uplink]]\ninterface = \"eth1\"\n[[uplink]]\ninterface = \"ppp0\"\nmax_up = \"10mbit\"\n",
			[]string{`~ uplink "ppp0" max_up: none -> 10mbit`}},
		{"a bypass", gateway, gateway + "[[bypass]]\nport = 25\n", []string{"~ bypass: none -> {ports 25, via packet}"}},
		{"a gateway comes", exit, exit + cabin, []string{`+ gateway "cabin": {name cabin, key ` + key("C") + `, addresses 10.177.0.3/32, fd77:b0dd::3/128}`}},
		{"a gateway goes, and the next one moves up", exit + cabin, cabin[:0] + "role = \"exit\"\n" + cabin, []string{
			`- gateway "home": {name home, key ` + key("B") + `, addresses 10.177.0.2/32, fd77:b0dd::2/128}`,
			`~ gateway "cabin" addresses: 10.177.0.3/32, fd77:b0dd::3/128 -> 10.177.0.2/32, fd77:b0dd::2/128`}},
	} {
		var got []string
		for _, ch := range Diff(read(c.from), read(c.to)) {
			got = append(got, ch.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// A private key is never shown, whatever else is.
func TestDiffHidesKeys(t *testing.T) {
	private, err := NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	a, b := &Config{}, &Config{}
	for i := range b.PrivateKey {
		b.PrivateKey[i] = private[i]
	}
	got := Diff(a, b)
	if len(got) != 1 || !strings.Contains(got[0].To, b.PrivateKey.Public().String()) || strings.Contains(got[0].String(), private) {
		t.Errorf("got %v", got)
	}
}
