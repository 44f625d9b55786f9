package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/tunnel/carrier"
	"github.com/bondd/bondd/tunnel/control"
)

// dialWay makes the connection of a carrier. syn is what the TCP handshake took.
func (g *gateway) dialWay(ctx context.Context, y carryWay) (conn carrierConn, syn time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, carrierTime)
	defer cancel()
	begin := time.Now()
	tcp, err := g.host.multipath.dial(ctx, mptcp.Options{Source: sourceOf(y.uplink, y.remote.Addr()), Device: y.uplink.Interface()}, y.remote)
	if err != nil {
		return conn, 0, err
	}
	syn = time.Since(begin)
	t, err := control.Carrier(ctx, tcp, g.cfg.PrivateKey, y.key)
	if err != nil {
		tcp.Close()
		return conn, 0, err
	}
	return g.host.carrierOver(t, tcp), syn, nil
}

// dial makes a connection for the pool, by the first way that works.
func (c *gatewayCarriers) dial(ctx context.Context) (net.Conn, error) {
	c.mu.Lock()
	ways := c.ways
	c.mu.Unlock()
	plain := c.plain.Load()
	var errs []error
	for _, y := range ways {
		if y.barred && !plain {
			continue
		}
		conn, _, err := c.g.dialWay(ctx, y)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", y.uplink.Name, err))
		case !plain && !c.g.host.isMPTCP(conn.tcp):
			conn.Close()
			errs = append(errs, fmt.Errorf("%s: %w", y.uplink.Name, mptcp.ErrPlain))
		default:
			return conn, nil
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no uplink can have carriers"))
	}
	return nil, errors.Join(errs...)
}

// carriedError is what a proxy is told when the exit has not reached a target.
func carriedError(t dial.Target, err error) error {
	var r *carrier.ResetError
	if errors.As(err, &r) {
		return &dial.Error{Code: dialCode(r.Code), Target: t.String(), Reason: resetReason(r.Code)}
	}
	return &dial.Error{Code: dial.CodeOf(err), Target: t.String(), Err: err}
}
