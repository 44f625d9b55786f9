package control

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

const (
	// alpn names the protocol inside TLS, so that a server of something else
	// breaks off at once.
	alpn = "bondd/1"
	// exporterLabel separates the secrets of datagrams from any other use of the
	// TLS exporter.
	exporterLabel = "EXPORTER-bondd-data-1"
)

// Timeout bounds a hello whose context has no deadline. A round trip over a
// satellite takes 0.6 s, and a hello needs three with the one of TCP.
const Timeout = 10 * time.Second

// Certificates need dates. These are the ends of what can be written (RFC 5280,
// section 4.1.2.5), and anyTime between them is what TLS takes for now.
var (
	firstDay = time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)
	lastDay  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	anyTime  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// certificate wraps the key of this node in a certificate of its own making.
func certificate(priv PrivateKey) (tls.Certificate, error) {
	signer := priv.signer()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: firstDay, NotAfter: lastDay}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer}, nil
}

// commonConfig is what both ends of the TLS handshake have in common.
func commonConfig(priv PrivateKey) (*tls.Config, error) {
	cert, err := certificate(priv)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:             []string{alpn},
		SessionTicketsDisabled: true,
		Time:                   func() time.Time { return anyTime },
	}, nil
}

// clientConfig is the TLS configuration of a gateway that wants to meet exit.
func clientConfig(priv PrivateKey, exit PublicKey) (*tls.Config, error) {
	c, err := commonConfig(priv)
	if err != nil {
		return nil, err
	}
	// Names and chains mean nothing here. The key is compared below, which is a
	// stronger check and not a weaker one.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		key, err := peerKey(state)
		if err != nil {
			return err
		}
		if key != exit {
			return fmt.Errorf("%w: it shows %v, want %v; check the exit's address and key in the configuration", ErrWrongKey, key, exit)
		}
		return nil
	}
	return c, nil
}

// serverConfig is the TLS configuration of an exit.
func serverConfig(priv PrivateKey) (*tls.Config, error) {
	c, err := commonConfig(priv)
	if err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAnyClientCert
	c.NextProtos = []string{alpn, carrierALPN}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := peerKey(state)
		return err
	}
	return c, nil
}

// peerKey returns the key the peer has proven to own, and checks that the
// handshake agreed on what this package asks for.
func peerKey(state tls.ConnectionState) (PublicKey, error) {
	spoken := state.NegotiatedProtocol == alpn || state.NegotiatedProtocol == carrierALPN
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 || !spoken {
		return PublicKey{}, fmt.Errorf("peer agreed on %s, %v, protocol %q: it is not bondd",
			tls.VersionName(state.Version), state.CurveID, state.NegotiatedProtocol)
	}
	if len(state.PeerCertificates) == 0 {
		return PublicKey{}, errors.New("peer shows no key")
	}
	key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != keyLen {
		return PublicKey{}, errors.New("peer shows a key that is not Ed25519")
	}
	return PublicKey(key), nil
}

// secrets returns the secrets of both directions.
func secrets(state tls.ConnectionState) (toExit, toGateway [32]byte, err error) {
	b, err := state.ExportKeyingMaterial(exporterLabel, nil, 64)
	if err != nil {
		return toExit, toGateway, fmt.Errorf("derive secrets: %w", err)
	}
	copy(toExit[:], b[:32])
	copy(toGateway[:], b[32:])
	clear(b)
	return toExit, toGateway, nil
}

// bound makes reads and writes of conn fail when ctx ends, or after Timeout
// when it has no deadline. The returned function ends that; it turns the error
// of the work in between into that of ctx where ctx was the cause.
func bound(ctx context.Context, conn net.Conn) (release func(error) error, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(Timeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("hello: set deadline: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		// In the past by the monotonic clock, whatever the wall clock says.
		_ = conn.SetDeadline(time.Now().Add(-time.Second))
	})
	return func(err error) error {
		stop()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("hello: %w", context.Cause(ctx))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("hello: the peer does not answer: %w", context.DeadlineExceeded)
		}
		return fmt.Errorf("hello: %w", err)
	}, nil
}
