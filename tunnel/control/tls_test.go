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
	"testing"
	"testing/synctest"
	"time"
)

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
			_, err := server(tls.Server(s, exit), gateway.Public(), func(PublicKey) bool { return true }, func(PublicKey, Offer) Answer { return testAnswer() })
			done <- err
		}()
		if _, err := client(tls.Client(c, client1), testOffer()); err != nil {
			t.Errorf("gateway in %d: %v", here.Year(), err)
		}
		if err := <-done; err != nil {
			t.Errorf("exit in %d: %v", there.Year(), err)
		}
		// A carrier's handshake is the same with another protocol.
		carrier := client1.Clone()
		carrier.NextProtos = []string{carrierALPN}
		c, s = tcpPair(t)
		go func() { done <- handshake(tls.Server(s, exit)) }()
		if err := handshake(tls.Client(c, carrier)); err != nil {
			t.Errorf("a carrier of a gateway in %d: %v", here.Year(), err)
		}
		if err := <-done; err != nil {
			t.Errorf("a carrier at an exit in %d: %v", there.Year(), err)
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
