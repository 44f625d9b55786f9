package control

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// carrierALPN names, inside TLS, a connection that becomes a carrier rather than a hello.
const carrierALPN = "bondd-carrier/1"

// Carrier does the TLS handshake of a gateway over conn for a connection that carries streams. It wants to meet the owner
// of the key exit. The exit does not say whether it knows the gateway: it closes the connection if not.
//
// It ends when ctx does, or after Timeout when ctx has no deadline. After an error nothing more can be done with conn.
func Carrier(ctx context.Context, conn net.Conn, priv PrivateKey, exit PublicKey) (*tls.Conn, error) {
	config, err := clientConfig(priv, exit)
	if err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	config.NextProtos = []string{carrierALPN}
	release, err := bound(ctx, conn)
	if err != nil {
		return nil, err
	}
	t := tls.Client(conn, config)
	err = handshake(t)
	if err == nil && t.ConnectionState().NegotiatedProtocol != carrierALPN {
		err = fmt.Errorf("the exit does not take carriers")
	}
	if err := release(err); err != nil {
		return nil, err
	}
	return t, conn.SetDeadline(time.Time{})
}

// Incoming is a connection to an exit whose other end has proven to own a key, and has not said anything else yet.
type Incoming struct {
	PeerKey PublicKey
	conn    net.Conn
	tls     *tls.Conn
}

// Accept does the TLS handshake of an exit over conn, which it does not close. Then Hello or Carrier goes on, as IsCarrier tells.
//
// It ends when ctx does, or after Timeout when ctx has no deadline. After an error nothing more can be done with conn.
func Accept(ctx context.Context, conn net.Conn, priv PrivateKey) (*Incoming, error) {
	config, err := serverConfig(priv)
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	release, err := bound(ctx, conn)
	if err != nil {
		return nil, err
	}
	in := &Incoming{conn: conn, tls: tls.Server(conn, config)}
	if err = handshake(in.tls); err == nil {
		in.PeerKey, err = peerKey(in.tls.ConnectionState())
	}
	return in, release(err)
}

// IsCarrier tells whether the connection is to carry streams.
func (in *Incoming) IsCarrier() bool {
	return in.tls.ConnectionState().NegotiatedProtocol == carrierALPN
}

// Carrier is the connection for the streams, without a deadline. It is for a peer whose key is known.
func (in *Incoming) Carrier() (*tls.Conn, error) { return in.tls, in.conn.SetDeadline(time.Time{}) }

// Hello says the hello of an exit; Server says what it does with known and answer, and when it ends.
func (in *Incoming) Hello(ctx context.Context, known func(PublicKey) bool, answer func(PublicKey, Offer) Answer) (*Result, error) {
	release, err := bound(ctx, in.conn)
	if err != nil {
		return nil, err
	}
	result, err := server(in.tls, in.PeerKey, known, answer)
	return result, release(err)
}
