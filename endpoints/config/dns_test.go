package config

import (
	"strings"
	"testing"
)

func TestDNS(t *testing.T) {
	gateway := "role = \"gateway\"\nexit.address = \"exit.example.net\"\nexit.key = \"" + strings.Repeat("B", 42) + "A=\"\n"
	c, err := Parse("a", []byte(gateway+"[lan]\ninterfaces = \"eth0\"\n[dns]\nlisten = [\"192.168.1.1\", \"fd00::1\"]\nintercept = true\nservers = \"exit\"\n"))
	if err != nil || len(c.DNS.Listen) != 2 || c.DNS.Listen[1].String() != "[fd00::1]:53" || !c.DNS.Intercept || len(c.DNS.Servers) != 0 || c.DNS.Cache != DefaultDNSCache {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"[dns]\nlisten = \":53\"\n":                              "has no address",
		"[dns]\nlisten = \"0.0.0.0:53\"\n":                       "is every address of this machine",
		"[dns]\nlisten = \"198.51.100.7\"\n":                     "is an address of the internet",
		"[dns]\nintercept = true\n":                              "there is nobody to answer",
		"[dns]\nintercept = true\nlisten = \"192.168.1.1\"\n":    "which interfaces are the LAN",
		"[dns]\nenable = false\n":                                "belongs to role \"exit\"",
		"[dns]\nlisten = \"10.0.0.1\"\nservers = \"10.0.0.1\"\n": "it would ask itself",
	} {
		_, err := Parse("a", []byte(gateway+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
