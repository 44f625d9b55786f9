package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
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

// A peer that asks for less than this package asks for does not get through.
func TestWeakerHandshakesAreRefused(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}}
	for name, edit := range map[string]func(c *tls.Config){
		"classical key exchange": func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} },
		"TLS 1.2":                func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
		"other protocol":         func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"no protocol":            func(c *tls.Config) { c.NextProtos = nil },
		"no certificate":         func(c *tls.Config) { c.Certificates = nil },
		"other kind of key":      func(c *tls.Config) { c.Certificates = []tls.Certificate{ecdsaCertificate(t)} },
		"certificate of another's key": func(c *tls.Config) {
			// The certificate of the gateway is no secret; its key is.
			c.Certificates[0].PrivateKey = mustGenerate(t).signer()
		},
	} {
		_, e := meet(t, rogue(t, gateway, exitKey.Public(), func(c *tls.Config) {
			c.VerifyConnection = nil
			edit(c)
		}, func(conn *tls.Conn) error { return writeMessage(conn, testOffer()) }), exit)
		if e.result != nil || e.err == nil {
			t.Errorf("%s: got through", name)
		}
		t.Logf("%s: %v", name, e.err)
	}
	if len(exit.asked) != 0 {
		t.Error("an offer was answered")
	}
}

func ecdsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
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

func TestKeyExchangeIsHybrid(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}}
	var state tls.ConnectionState
	_, e := meet(t, rogue(t, gateway, exitKey.Public(), func(c *tls.Config) {
		c.CurvePreferences = []tls.CurveID{tls.X25519, tls.X25519MLKEM768} // the exit insists
	}, func(conn *tls.Conn) error {
		state = conn.ConnectionState()
		if err := writeMessage(conn, testOffer()); err != nil {
			return err
		}
		_, err := readMessage(conn)
		return err
	}), exit)
	if e.err != nil {
		t.Fatal(e.err)
	}
	if state.CurveID != tls.X25519MLKEM768 || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "bondd/1" || state.DidResume {
		t.Errorf("agreed on %v, %s, %q", state.CurveID, tls.VersionName(state.Version), state.NegotiatedProtocol)
	}
}

// A gateway without a battery-backed clock begins in 1970, a broken one may
// be anywhere.
func TestWallClockDoesNotMatter(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	clocks := []time.Time{time.Unix(0, 0), time.Unix(-1e9, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}
	for _, here := range clocks {
		there := clocks[0]
		exit, err := serverConfig(exitKey)
		if err != nil {
			t.Fatal(err)
		}
		client1, err := clientConfig(gateway, exitKey.Public())
		if err != nil {
			t.Fatal(err)
		}
		exit.Time = func() time.Time { return there }
		client1.Time = func() time.Time { return here }
		c, s := tcpPair(t)
		done := make(chan error, 1)
		go func() {
			_, err := server(tls.Server(s, exit), func(PublicKey) bool { return true }, func(PublicKey, Offer) Answer { return testAnswer() })
			done <- err
		}()
		if _, err := client(tls.Client(c, client1), testOffer()); err != nil {
			t.Errorf("gateway in %d: %v", here.Year(), err)
		}
		if err := <-done; err != nil {
			t.Errorf("exit in %d: %v", there.Year(), err)
		}
	}
	common, err := commonConfig(gateway)
	if err != nil {
		t.Fatal(err)
	}
	if got := common.Time(); !got.Equal(anyTime) {
		t.Errorf("TLS takes %v for now; it must not ask the clock", got)
	}
}

// In a bubble the time is virtual: no test waits for a deadline.
func TestHelloOverPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, exitKey := mustGenerate(t), mustGenerate(t)
		exit := &exitEnd{key: exitKey, known: []PublicKey{gateway.Public()}}
		c, s := net.Pipe()
		done := make(chan outcome)
		go func() {
			r, err := exit.serve(t.Context(), s)
			done <- outcome{r, err}
		}()
		r, err := Client(t.Context(), c, gateway, exitKey.Public(), testOffer())
		e := <-done
		if err != nil || e.err != nil || r.SendSecret != e.result.RecvSecret {
			t.Errorf("gateway: %v; exit: %v", err, e.err)
		}
	})
}

func TestSilentPeer(t *testing.T) {
	gateway, exitKey := mustGenerate(t), mustGenerate(t)
	exit := &exitEnd{key: exitKey}
	for name, hello := range map[string]func(context.Context, net.Conn) (*Result, error){
		"gateway": func(ctx context.Context, conn net.Conn) (*Result, error) {
			return Client(ctx, conn, gateway, exitKey.Public(), testOffer())
		},
		"exit": exit.serve,
	} {
		for _, c := range []struct {
			name  string
			ctx   func(context.Context) (context.Context, context.CancelFunc)
			after time.Duration
			want  error
		}{
			{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 3*time.Second)
			}, 3 * time.Second, context.DeadlineExceeded},
			{"no deadline", context.WithCancel, Timeout, context.DeadlineExceeded},
			{"cancelled", func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				timer := time.AfterFunc(time.Second, func() { cancel(errLostUplink) })
				return ctx, func() { timer.Stop(); cancel(nil) }
			}, time.Second, errLostUplink},
		} {
			t.Run(name+", "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := c.ctx(t.Context())
					defer cancel()
					near, far := net.Pipe()
					read := make(chan int64)
					go func() { // the peer takes everything and says nothing
						n, _ := io.Copy(io.Discard, far)
						read <- n
					}()
					start := time.Now()
					r, err := hello(ctx, near)
					if r != nil || !errors.Is(err, c.want) || time.Since(start) != c.after {
						t.Errorf("after %v: %v; want %v after %v", time.Since(start), err, c.want, c.after)
					}
					near.Close()
					<-read
				})
			})
		}
	}
}

var errLostUplink = errors.New("uplink lost")
