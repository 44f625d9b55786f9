package config

import (
	"strings"
	"testing"
)

func TestForward(t *testing.T) {
	key := strings.Repeat("B", 42) + "A="
	gateway := "role = \"gateway\"\nexit.address = \"exit.example.net\"\nexit.key = \"" + key + "\"\n"
	exit := "role = \"exit\"\n[[gateway]]\nkey = \"" + key + "\"\n"
	c, err := Parse("a", []byte(gateway+"[[forward]]\nprotocol = \"udp\"\nport = [\"5000-5010\"]\nto = \"192.168.1.10\"\n[[forward]]\nport = 443\nto = \"[fd00::10]:8443\"\n"))
	if err != nil || len(c.Forwards) != 2 || !c.Forwards[0].UDP || c.Forwards[1].UDP || c.Forwards[1].target() != "[fd00::10]:8443" {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Parse("a", []byte(exit+"[[gateway.forward]]\nport = [80, 443]\n"))
	if err != nil || len(c.Gateways[0].Forwards) != 1 || len(c.Gateways[0].Forwards[0].Ports) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Parse("a", []byte(exit+"[[gateway.forward]]\nport = \"80-90\"\nkeep_source = false\n"))
	if err != nil || !c.Gateways[0].Forwards[0].AsStream || !c.Gateways[0].Forwards[0].Has(90) || c.Gateways[0].Forwards[0].Has(91) {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		gateway + "[[forward]]\nport = 443\n":                                                                     "to is missing",
		gateway + "[[forward]]\nto = \"192.168.1.1\"\n":                                                           "port is missing",
		gateway + "[[forward]]\nport = \"80-81\"\nto = \"192.168.1.1:80\"\n":                                      "several ports cannot lead to one",
		gateway + "[[forward]]\nport = 80\nto = \"x\"\n":                                                          "is not a host of the LAN",
		gateway + "[[forward]]\nport = 80\nto = \"10.0.0.1\"\n[[forward]]\nport = \"79-81\"\nto = \"10.0.0.2\"\n": "is taken by forward[0] already",
		exit + "[[gateway.forward]]\nport = \"1000-1256\"\nkeep_source = false\n":                                 "at most 256",
		exit + "[[gateway.forward]]\nprotocol = \"udp\"\nport = 80\nkeep_source = false\n":                        "UDP always keeps",
		exit + "[[gateway.forward]]\nport = 7117\n":                                                               "is taken by listen already",
		exit + "[[gateway.forward]]\nport = 80\nto = \"10.0.0.1\"\n":                                              "unknown field \"to\"",
	} {
		if _, err := Parse("a", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
