package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"

	"github.com/bondd/bondd/tunnel/seal"
)

// Result is what a successful hello gives to both ends.
type Result struct {
	Offer   Offer
	Answer  Answer
	PeerKey PublicKey // whose owner the peer has proven to be

	// SendSecret and RecvSecret are for the Sealer and the Opener of the session.
	// What is SendSecret here is RecvSecret at the peer.
	SendSecret, RecvSecret [32]byte
	Suite                  seal.Suite
}

// Client says the hello of a gateway over conn, which it does not close. It
// wants to meet the owner of the key exit. Version, Versions and Suites of the
// offer are filled in where they are empty; Index must be set.
//
// It ends when ctx does, or after Timeout when ctx has no deadline. Errors:
// ErrWrongKey, *RefusedError, ErrMessage, those of ctx, conn and TLS. After an
// error nothing more can be done with conn.
func Client(ctx context.Context, conn net.Conn, priv PrivateKey, exit PublicKey, offer Offer) (*Result, error) {
	if offer.Version == 0 {
		offer.Version = Version
	}
	if len(offer.Versions) == 0 {
		offer.Versions = slices.Clone(spoken)
	}
	if len(offer.Suites) == 0 {
		offer.Suites = Suites()
	}
	if err := offer.check(); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	config, err := clientConfig(priv, exit)
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	release, err := bound(ctx, conn)
	if err != nil {
		return nil, err
	}
	result, err := client(tls.Client(conn, config), offer)
	return result, release(err)
}

func client(conn *tls.Conn, offer Offer) (*Result, error) {
	if err := handshake(conn); err != nil {
		return nil, err
	}
	if err := writeMessage(conn, offer); err != nil {
		return nil, fmt.Errorf("send offer: %w", err)
	}
	body, err := readMessage(conn)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", explain(err))
	}
	answer, err := parseAnswer(body)
	if err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, &RefusedError{Sentence: answer.Error, Refusal: answer.Refusal}
	}
	if !slices.Contains(offer.Versions, answer.Version) {
		return nil, fmt.Errorf("%w: the exit answers in version %d, which was not offered", ErrVersion, answer.Version)
	}
	suite, err := seal.ParseSuite(answer.Suite)
	if err != nil || !slices.Contains(offer.Suites, answer.Suite) {
		return nil, fmt.Errorf("%w: the exit chose %q, which was not offered", ErrSuite, answer.Suite)
	}
	return finish(conn, &Result{Offer: offer, Answer: answer, Suite: suite}, false)
}

// Server says the hello of an exit over conn, which it does not close. Known
// says whether a gateway with that key may come in; answer makes the Answer for
// one that may. Of the answer, Version is filled in, and Suite where it is
// empty; with Error set the gateway is sent away. Both functions are called at
// most once, in the goroutine of the caller.
//
// It ends when ctx does, or after Timeout when ctx has no deadline. Errors:
// ErrUnknownKey, ErrVersion, ErrSuite, ErrRefused when answer set Error,
// ErrMessage, those of ctx, conn and TLS. The gateway has been told where that
// is possible. After an error nothing more can be done with conn.
func Server(ctx context.Context, conn net.Conn, priv PrivateKey, known func(PublicKey) bool, answer func(PublicKey, Offer) Answer) (*Result, error) {
	in, err := Accept(ctx, conn, priv)
	if err != nil {
		return nil, err
	}
	if in.IsCarrier() {
		return nil, errors.New("hello: the gateway wants a carrier")
	}
	return in.Hello(ctx, known, answer)
}

func server(conn *tls.Conn, key PublicKey, known func(PublicKey) bool, answer func(PublicKey, Offer) Answer) (*Result, error) {
	body, err := readMessage(conn)
	if err != nil {
		return nil, fmt.Errorf("read offer: %w", explain(err))
	}
	// Of a stranger nothing but the length has been looked at until here.
	if !known(key) {
		return nil, refuse(conn, refusalKey, fmt.Errorf("%w %v; add it to the configuration of the exit", ErrUnknownKey, key))
	}
	offer, err := parseOffer(body)
	if err != nil {
		return nil, refuse(conn, "", err)
	}
	version, err := chooseVersion(offer.Versions)
	if err != nil {
		return nil, refuse(conn, refusalVersion, err)
	}
	suite, err := chooseSuite(offer.Suites, offer.AESAccelerated, AESAccelerated())
	if err != nil {
		return nil, refuse(conn, refusalSuite, err)
	}
	a := answer(key, offer)
	if a.Error != "" {
		a = Answer{Software: a.Software, Error: sentence(a.Error), Refusal: a.Refusal}
		return nil, tell(conn, a, fmt.Errorf("%w gateway %v: %s", ErrRefused, key, a.Error))
	}
	a.Version = version
	if a.Suite == "" {
		a.Suite = suite.String()
	}
	if suite, err = seal.ParseSuite(a.Suite); err == nil {
		err = a.check()
	}
	if err != nil {
		return nil, refuse(conn, "", fmt.Errorf("internal error of the exit: %w", err))
	}
	if err := send(conn, a); err != nil {
		return nil, err
	}
	return finish(conn, &Result{Offer: offer, Answer: a, Suite: suite}, true)
}

// refuse tells the gateway the reason, and returns it.
func refuse(conn *tls.Conn, refusal string, reason error) error {
	return tell(conn, Answer{Version: Version, Error: sentence(reason.Error()), Refusal: refusal}, reason)
}

// tell sends an Answer that says no for the reason given, and returns that.
func tell(conn *tls.Conn, a Answer, reason error) error {
	if err := send(conn, a); err != nil {
		return fmt.Errorf("%w (the gateway could not be told: %w)", reason, err)
	}
	return reason
}

func send(conn *tls.Conn, a Answer) error {
	if err := writeMessage(conn, a); err != nil {
		return fmt.Errorf("send answer: %w", err)
	}
	return nil
}

// finish completes r with the peer's key and the secrets, seen from the exit or
// from the gateway.
func finish(conn *tls.Conn, r *Result, exit bool) (*Result, error) {
	state := conn.ConnectionState()
	var err error
	if r.PeerKey, err = peerKey(state); err != nil {
		return nil, err
	}
	if r.SendSecret, r.RecvSecret, err = secrets(state); err != nil {
		return nil, err
	}
	if exit {
		r.SendSecret, r.RecvSecret = r.RecvSecret, r.SendSecret
	}
	return r, nil
}

// handshake does that of TLS.
func handshake(conn *tls.Conn) error {
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("tls handshake: %w", explain(err))
	}
	return nil
}

// explain adds to an error of TLS what it probably means.
func explain(err error) error {
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return fmt.Errorf("%w; the peer is not bondd, check its address and port", err)
	}
	var op *net.OpError
	// The alert of TLS is lost when the peer closes with something unread.
	if errors.As(err, &op) && op.Op == "remote error" || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w; the peer broke off, it may expect another key or another version of bondd", err)
	}
	return err
}
