package control

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/tunnel/seal"
)

// outcome is what one end of a hello returned.
type outcome struct {
	result *Result
	err    error
}

// exitEnd is an exit that knows the keys in known and answers everybody alike.
type exitEnd struct {
	key    PrivateKey
	known  []PublicKey
	answer func(PublicKey, Offer) Answer
	asked  []Offer
}

func (e *exitEnd) serve(ctx context.Context, conn net.Conn) (*Result, error) {
	known := func(k PublicKey) bool {
		for _, have := range e.known {
			if have == k {
				return true
			}
		}
		return false
	}
	answer := func(k PublicKey, o Offer) Answer {
		e.asked = append(e.asked, o)
		if e.answer != nil {
			return e.answer(k, o)
		}
		a := testAnswer()
		a.Suite = ""
		return a
	}
	return Server(ctx, conn, e.key, known, answer)
}

// tcpPair returns the two ends of a TCP connection over loopback.
func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skipf("no TCP over loopback here: %v", err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// meet runs both ends over TCP; each closes its end when it is done, as the
// owners of real ones do.
func meet(t *testing.T, gateway func(net.Conn) (*Result, error), exit *exitEnd) (g, e outcome) {
	t.Helper()
	c, s := tcpPair(t)
	done := make(chan outcome)
	go func() {
		r, err := exit.serve(t.Context(), s)
		s.Close()
		done <- outcome{r, err}
	}()
	g.result, g.err = gateway(c)
	c.Close()
	return g, <-done
}

func gatewayEnd(t *testing.T, key PrivateKey, exit PublicKey, offer Offer) func(net.Conn) (*Result, error) {
	return func(conn net.Conn) (*Result, error) { return Client(t.Context(), conn, key, exit, offer) }
}

func TestHello(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	other := mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{other.Public(), gateway.Public()}}
	offer := Offer{Software: "bondd test", Index: 77, AESAccelerated: true, Capabilities: []string{"packet"}}
	g, e := meet(t, gatewayEnd(t, gateway, exitKey.Public(), offer), exit)
	if g.err != nil || e.err != nil {
		t.Fatalf("gateway: %v; exit: %v", g.err, e.err)
	}
	if g.result.PeerKey != exitKey.Public() || e.result.PeerKey != gateway.Public() {
		t.Error("an end takes the other for somebody else")
	}
	if g.result.SendSecret != e.result.RecvSecret || g.result.RecvSecret != e.result.SendSecret {
		t.Error("the secrets of the two ends do not fit")
	}
	if g.result.SendSecret == g.result.RecvSecret || g.result.SendSecret == [32]byte{} || g.result.RecvSecret == [32]byte{} {
		t.Error("the secrets of the two directions are equal or empty")
	}
	want := seal.SuiteChaCha20Poly1305
	if AESAccelerated() {
		want = seal.SuiteAES128GCM
	}
	if g.result.Suite != want || e.result.Suite != want || g.result.Answer.Suite != want.String() {
		t.Errorf("suites %v and %v, want %v", g.result.Suite, e.result.Suite, want)
	}
	if !reflect.DeepEqual(g.result.Offer, e.result.Offer) || !reflect.DeepEqual(g.result.Answer, e.result.Answer) {
		t.Errorf("the ends differ:\n%+v\n%+v", g.result, e.result)
	}
	if len(exit.asked) != 1 || exit.asked[0].Index != 77 || exit.asked[0].Versions[0] != Version || g.result.Answer.Version != Version {
		t.Errorf("offer came as %+v", exit.asked)
	}

	// A datagram sealed with these secrets opens at the other end.
	s, err := seal.NewSealer(g.result.Suite, g.result.SendSecret)
	if err != nil {
		t.Fatal(err)
	}
	o, err := seal.NewOpener(e.result.Suite, e.result.RecvSecret)
	if err != nil {
		t.Fatal(err)
	}
	dg := s.Seal(append(make([]byte, 8, 100), "hello"...), 8, 0, 0)
	if p, err := o.Open(0, dg, 8, 0, 0, 0); err != nil || string(p) != "hello" {
		t.Errorf("datagram opens as %q, %v", p, err)
	}

	g2, _ := meet(t, gatewayEnd(t, gateway, exitKey.Public(), offer), exit)
	if g2.err != nil || g2.result.SendSecret == g.result.SendSecret {
		t.Errorf("a second hello gives the same secrets, or %v", g2.err)
	}
}

func TestGatewayWithUnknownKey(t *testing.T) {
	stranger, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{mustGenerate(t).Public()}}
	g, e := meet(t, gatewayEnd(t, stranger, exitKey.Public(), testOffer()), exit)
	if e.result != nil || !errors.Is(e.err, ErrUnknownKey) || !strings.Contains(e.err.Error(), stranger.Public().String()) {
		t.Errorf("exit: %v", e.err)
	}
	var refused *RefusedError
	if g.result != nil || !errors.Is(g.err, ErrUnknownKey) || !errors.As(g.err, &refused) || !strings.Contains(refused.Sentence, stranger.Public().String()) {
		t.Errorf("gateway: %v", g.err)
	}
	if len(exit.asked) != 0 {
		t.Error("the offer of a stranger was looked at")
	}
}

func TestExitWithWrongKey(t *testing.T) {
	gateway, exitKey, want := mustGenerate(t), mustGenerate(t), mustGenerate(t).Public()
	exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}}
	g, e := meet(t, gatewayEnd(t, gateway, want, testOffer()), exit)
	if g.result != nil || !errors.Is(g.err, ErrWrongKey) || !strings.Contains(g.err.Error(), exitKey.Public().String()) {
		t.Errorf("gateway: %v", g.err)
	}
	if e.result != nil || e.err == nil || !strings.Contains(e.err.Error(), "another key") {
		t.Errorf("exit: %v", e.err)
	}
	if len(exit.asked) != 0 {
		t.Error("the gateway sent its offer to the wrong exit")
	}
}

func TestNoVersionInCommon(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}}
	offer := testOffer()
	offer.Version, offer.Versions = 9, []int{8, 9}
	g, e := meet(t, gatewayEnd(t, gateway, exitKey.Public(), offer), exit)
	if !errors.Is(e.err, ErrVersion) || !errors.Is(g.err, ErrVersion) || !errors.Is(g.err, ErrRefused) || errors.Is(g.err, ErrSuite) {
		t.Errorf("gateway: %v; exit: %v", g.err, e.err)
	}
	if !strings.Contains(g.err.Error(), "[8 9]") || !strings.Contains(g.err.Error(), "update") {
		t.Errorf("the sentence does not say what to do: %v", g.err)
	}
	offer = testOffer()
	offer.Suites = []string{"rot13"}
	g, e = meet(t, gatewayEnd(t, gateway, exitKey.Public(), offer), exit)
	if !errors.Is(e.err, ErrSuite) || !errors.Is(g.err, ErrSuite) {
		t.Errorf("gateway: %v; exit: %v", g.err, e.err)
	}
}

func TestExitRefusesForItsOwnReason(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()},
		answer: func(PublicKey, Offer) Answer { return Answer{Error: "the exit is full"} }}
	g, e := meet(t, gatewayEnd(t, gateway, exitKey.Public(), testOffer()), exit)
	if !errors.Is(e.err, ErrRefused) || !errors.Is(g.err, ErrRefused) || errors.Is(g.err, ErrVersion) || !strings.Contains(g.err.Error(), "the exit is full") {
		t.Errorf("gateway: %v; exit: %v", g.err, e.err)
	}
}

func TestExitWithImproperAnswer(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	for name, edit := range map[string]func(a *Answer){
		"no index": func(a *Answer) { a.Index = 0 },
		"suite":    func(a *Answer) { a.Suite = "rot13" },
		"address":  func(a *Answer) { a.Peer = []netip.Addr{{}} },
	} {
		exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}, answer: func(PublicKey, Offer) Answer {
			a := testAnswer()
			edit(&a)
			return a
		}}
		g, e := meet(t, gatewayEnd(t, gateway, exitKey.Public(), testOffer()), exit)
		if e.result != nil || e.err == nil || !errors.Is(g.err, ErrRefused) {
			t.Errorf("%s: gateway: %v; exit: %v", name, g.err, e.err)
		}
	}
}

func TestImproperOfferIsNotSent(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	if r, err := Client(t.Context(), nil, gateway, exitKey.Public(), Offer{}); r != nil || !errors.Is(err, ErrMessage) {
		t.Errorf("an offer without an index: %v", err)
	}
}

// rogue is a gateway with the right key that does what it likes after the
// handshake.
func rogue(t *testing.T, key PrivateKey, exit PublicKey, edit func(*tls.Config), talk func(*tls.Conn) error) func(net.Conn) (*Result, error) {
	return func(conn net.Conn) (*Result, error) {
		config, err := clientConfig(key, exit)
		if err != nil {
			t.Fatal(err)
		}
		if edit != nil {
			edit(config)
		}
		c := tls.Client(conn, config)
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return nil, err
		}
		if err := c.Handshake(); err != nil {
			return nil, err
		}
		return nil, talk(c)
	}
}

func TestImproperOffers(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}}
	for name, c := range map[string]struct {
		send string
		want error
	}{
		"oversized": {"\x00\x01\x00\x01" + strings.Repeat(" ", 1<<16), ErrMessage},
		"garbage":   {"\x00\x00\x00\x04\x00\xff{]", ErrMessage},
		"no index":  {"\x00\x00\x00\x02{}", ErrMessage},
		"cut":       {"\x00\x00\x00\x09{}", io.ErrUnexpectedEOF},
		"nothing":   {"", io.EOF},
	} {
		_, e := meet(t, rogue(t, gateway, exitKey.Public(), nil, func(conn *tls.Conn) error {
			_, err := io.WriteString(conn, c.send)
			return errors.Join(err, conn.CloseWrite())
		}), exit)
		if e.result != nil || !errors.Is(e.err, c.want) {
			t.Errorf("%s: %v, want %v", name, e.err, c.want)
		}
	}
	// Something that is not TLS at all.
	for _, in := range []string{"GET / HTTP/1.0\r\n\r\n", strings.Repeat("\x00", 1000)} {
		_, e := meet(t, func(conn net.Conn) (*Result, error) {
			_, err := io.WriteString(conn, in)
			return nil, err
		}, exit)
		if e.result != nil || e.err == nil || !strings.Contains(e.err.Error(), "not bondd") {
			t.Errorf("%.10q: %v", in, e.err)
		}
	}
	if len(exit.asked) != 0 {
		t.Errorf("improper offers were answered: %+v", exit.asked)
	}
}

// An exit that answers improperly does not bring the gateway down.
func TestImproperAnswers(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"oversized":         {"\xff\xff\xff\xff", ErrMessage},
		"garbage":           {"\x00\x00\x00\x02[]", ErrMessage},
		"cut":               {"\x00\x00", io.ErrUnexpectedEOF},
		"version not asked": {`{"version":2,"index":1,"suite":"aes-128-gcm"}`, ErrVersion},
		"suite not asked":   {`{"version":1,"index":1,"suite":"chacha20-poly1305"}`, ErrSuite},
		"no suite":          {`{"version":1,"index":1}`, ErrSuite},
		"refusal":           {`{"error":"no","refusal":"key"}`, ErrUnknownKey},
	} {
		conn, s := tcpPair(t)
		done := make(chan error, 1)
		go func() {
			defer s.Close()
			config, err := serverConfig(exitKey)
			if err != nil {
				done <- err
				return
			}
			peer := tls.Server(s, config)
			_, err = readMessage(peer)
			out := c.answer
			if strings.HasPrefix(out, "{") {
				out = string([]byte{0, 0, byte(len(out) >> 8), byte(len(out))}) + out
			}
			_, err2 := io.WriteString(peer, out)
			done <- errors.Join(err, err2)
		}()
		offer := testOffer()
		offer.Suites = []string{"aes-128-gcm"}
		r, err := Client(t.Context(), conn, gateway, exitKey.Public(), offer)
		if r != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: exit: %v", name, err)
		}
	}
}
