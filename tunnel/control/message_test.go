package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bondd/bondd/tunnel/seal"
)

func testOffer() Offer {
	return Offer{Version: 1, Versions: []int{1}, Software: "bondd test", Index: 77, Suites: Suites(),
		AESAccelerated: true, Capabilities: []string{"packet"}}
}

func testAnswer() Answer {
	return Answer{Version: 1, Software: "bondd test", Index: 1<<24 - 1, Suite: "chacha20-poly1305",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.177.0.2/32"), netip.MustParsePrefix("fd77:b0dd::2/128")},
		Peer:      []netip.Addr{netip.MustParseAddr("10.177.0.1"), netip.MustParseAddr("fd77:b0dd::1")}}
}

func TestMessagesSurvive(t *testing.T) {
	var b bytes.Buffer
	if err := errors.Join(writeMessage(&b, testOffer()), writeMessage(&b, testAnswer())); err != nil {
		t.Fatal(err)
	}
	body, err := readMessage(&b)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := parseOffer(body); err != nil || !reflect.DeepEqual(o, testOffer()) {
		t.Errorf("offer came as %+v, %v", o, err)
	}
	if body, err = readMessage(&b); err != nil {
		t.Fatal(err)
	}
	if a, err := parseAnswer(body); err != nil || !reflect.DeepEqual(a, testAnswer()) {
		t.Errorf("answer came as %+v, %v", a, err)
	}
	if _, err = readMessage(&b); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// A later version may add members.
func TestUnknownMembersAreIgnored(t *testing.T) {
	o, err := parseOffer([]byte(`{"version":2,"versions":[1,2],"index":5,"colour":{"deep":[1,{}]},"suites":["x"]}`))
	if err != nil || o.Index != 5 || len(o.Versions) != 2 {
		t.Errorf("offer came as %+v, %v", o, err)
	}
	if o, err = parseOffer([]byte(`{"version":7,"index":5}`)); err != nil || len(o.Versions) != 1 || o.Versions[0] != 7 {
		t.Errorf("offer without versions came as %+v, %v", o, err)
	}
}

func TestFraming(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"nothing":             {"", io.EOF},
		"length cut":          {"\x00\x00", io.ErrUnexpectedEOF},
		"body cut":            {"\x00\x00\x00\x05{}", io.ErrUnexpectedEOF},
		"one byte too long":   {"\x00\x01\x00\x01", ErrMessage},
		"four gigabytes":      {"\xff\xff\xff\xff", ErrMessage},
		"text instead of TLS": {"GET / HTTP/1.1\r\n", ErrMessage},
	} {
		if _, err := readMessage(strings.NewReader(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	largest := append([]byte{0, 1, 0, 0}, bytes.Repeat([]byte{'x'}, MaxMessage)...)
	if body, err := readMessage(bytes.NewReader(largest)); err != nil || len(body) != MaxMessage {
		t.Errorf("largest message: %d bytes, %v", len(body), err)
	}
	if err := writeMessage(io.Discard, Offer{Software: strings.Repeat("x", MaxMessage)}); !errors.Is(err, ErrMessage) {
		t.Errorf("too large to send: %v", err)
	}
}

func TestOfferRefused(t *testing.T) {
	for name, edit := range map[string]func(o *Offer){
		"no index":             func(o *Offer) { o.Index = 0 },
		"index of 25 bits":     func(o *Offer) { o.Index = 1 << 24 },
		"too many versions":    func(o *Offer) { o.Versions = make([]int, maxItems+1) },
		"too many suites":      func(o *Offer) { o.Suites = make([]string, maxItems+1) },
		"long suite":           func(o *Offer) { o.Suites = []string{strings.Repeat("x", maxText+1)} },
		"escape in software":   func(o *Offer) { o.Software = "\x1b[2J" },
		"line in capabilities": func(o *Offer) { o.Capabilities = []string{"a\nb"} },
	} {
		o := testOffer()
		edit(&o)
		body, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseOffer(body); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, body := range []string{"", "null garbage", "[]", `{"index":-1}`, `{"index":"7"}`, `{"versions":{}}`, "{", `{"index":1}{}`} {
		if _, err := parseOffer([]byte(body)); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", body, err)
		}
	}
	_, err := parseOffer([]byte(`{"index":` + strings.Repeat("9", 60000) + `}`))
	if !errors.Is(err, ErrMessage) || len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes for a number of 60000 digits", len(err.Error()))
	}
}

func TestAnswerRefused(t *testing.T) {
	for name, edit := range map[string]func(a *Answer){
		"no index":           func(a *Answer) { a.Index = 0 },
		"escape in software": func(a *Answer) { a.Software = "\x1b[2J" },
		"empty address":      func(a *Answer) { a.Addresses[0] = netip.Prefix{} },
		"0.0.0.0":            func(a *Answer) { a.Addresses[0] = netip.MustParsePrefix("0.0.0.0/0") },
		"loopback":           func(a *Answer) { a.Peer[0] = netip.MustParseAddr("127.0.0.1") },
		"multicast":          func(a *Answer) { a.Peer[0] = netip.MustParseAddr("ff02::1") },
		"zone":               func(a *Answer) { a.Peer[0] = netip.MustParseAddr("fe80::1%eth0") },
		"v4 in v6":           func(a *Answer) { a.Peer[0] = netip.MustParseAddr("::ffff:10.0.0.1") },
		"too many addresses": func(a *Answer) { a.Peer = make([]netip.Addr, maxItems+1) },
	} {
		a := testAnswer()
		edit(&a)
		body, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseAnswer(body); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an exit says reaches the terminal of the gateway's user.
func TestSentenceIsMadePrintable(t *testing.T) {
	body := []byte(`{"error":"go \u001b[2Jaway\n` + strings.Repeat("\u00e9", 1000) + `","refusal":"a\nb","index":99999999}`)
	a, err := parseAnswer(body)
	if err != nil || !strings.HasPrefix(a.Error, "go ?[2Jaway?\u00e9") || utf8.RuneCountInString(a.Error) != maxSentence || a.Refusal != "" {
		t.Errorf("sentence came as %q, %q, %v", a.Error, a.Refusal, err)
	}
}

func TestChooseVersion(t *testing.T) {
	for _, c := range []struct {
		offered []int
		want    int
	}{{[]int{1}, 1}, {[]int{3, 2, 1}, 1}, {[]int{2}, 0}, {[]int{0, -1}, 0}, {nil, 0}} {
		got, err := chooseVersion(c.offered)
		if got != c.want || (err == nil) != (c.want != 0) || err != nil && !errors.Is(err, ErrVersion) {
			t.Errorf("%v: %d, %v; want %d", c.offered, got, err, c.want)
		}
	}
}

func TestChooseSuite(t *testing.T) {
	aes, chacha := []string{"aes-128-gcm"}, []string{"chacha20-poly1305"}
	for _, c := range []struct {
		offered      []string
		theirs, ours bool
		want         seal.Suite
	}{
		{Suites(), true, true, seal.SuiteAES128GCM},
		{Suites(), true, false, seal.SuiteChaCha20Poly1305},
		{Suites(), false, true, seal.SuiteChaCha20Poly1305},
		{Suites(), false, false, seal.SuiteChaCha20Poly1305},
		{chacha, true, true, seal.SuiteChaCha20Poly1305},
		{aes, false, false, seal.SuiteAES128GCM},
		{[]string{"rot13"}, true, true, 0},
		{nil, true, true, 0},
	} {
		got, err := chooseSuite(c.offered, c.theirs, c.ours)
		if got != c.want || (err == nil) != (c.want != 0) || err != nil && !errors.Is(err, ErrSuite) {
			t.Errorf("%v, AES %v and %v: %v, %v; want %v", c.offered, c.theirs, c.ours, got, err, c.want)
		}
	}
}

func FuzzOffer(f *testing.F) {
	seed, err := json.Marshal(testOffer())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"version":1,"index":1,"x":[[[]]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := parseOffer(body)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		_, _ = chooseVersion(o.Versions)
		_, _ = chooseSuite(o.Suites, o.AESAccelerated, true)
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		o2, err := parseOffer(again)
		if err != nil || o2.Index != o.Index || !reflect.DeepEqual(o2.Versions, o.Versions) || o2.Software != o.Software {
			t.Fatalf("%+v became %+v, %v", o, o2, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, a := range []Answer{testAnswer(), {Error: "no", Refusal: refusalKey}} {
		seed, err := json.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseAnswer(body)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		a2, err := parseAnswer(again)
		if err != nil || a2.Error != a.Error || a2.Index != a.Index || len(a2.Addresses) != len(a.Addresses) {
			t.Fatalf("%+v became %+v, %v", a, a2, err)
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\x00\x01\x00\x00{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		body, err := readMessage(r)
		if err == nil && len(body)+4+r.Len() != len(in) {
			t.Fatalf("%d bytes of %d, %d left", len(body), len(in), r.Len())
		}
	})
}
