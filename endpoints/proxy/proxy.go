package proxy

import (
	"context"

	"github.com/bondd/bondd/endpoints/dial"
)

// The types that this package and endpoints/dial share.
type (
	Target     = dial.Target
	Conn       = dial.Conn
	PacketConn = dial.PacketConn
)

// Dialer is what a server asks for connections. Its errors are classified by
// dial.CodeOf. Its methods are called from several goroutines.
type Dialer interface {
	// DialTarget connects, until ctx ends.
	DialTarget(ctx context.Context, t Target) (Conn, error)
	// Associate opens a socket for datagrams; ctx is for the opening only.
	Associate(ctx context.Context) (PacketConn, error)
}
