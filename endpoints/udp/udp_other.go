//go:build !linux

package udp

import "context"

// Listen opens a UDP socket.
func Listen(ctx context.Context, opts Options) (Socket, error) { return listenPortable(ctx, opts) }
