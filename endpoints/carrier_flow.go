package endpoints

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/endpoints/proxy"
	"github.com/bondd/bondd/tunnel/carrier"
)

// carriedRelay joins connections and the streams of carriers. Half-closed ones may be quiet for as long as they like, as with streams of a session.
var carriedRelay = proxy.Relayer{HalfIdle: 100 * 365 * 24 * time.Hour}

// relayCarried carries a connection over a stream until both have ended, and closes both. A connection that takes nothing any more when
// its stream was reset has drainTime for what arrived before.
func relayCarried(s *carrier.Stream, c dial.Conn, failed func(code uint64)) {
	over := make(chan uint64, 1)
	s.OnReset(func(code uint64) { over <- code })
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() { // joined below
		defer close(ended)
		select {
		case code := <-over:
			if failed != nil {
				failed(code)
			}
		case <-done:
			return
		}
		late := time.NewTimer(drainTime)
		defer late.Stop()
		select {
		case <-late.C:
			abort(c)
		case <-done:
		}
	}()
	carriedRelay.Relay(s, c)
	close(done)
	<-ended
}

// carrierConn is TLS over TCP for a carrier, which says itself when something has ended: Close does not wait to say it once more.
type carrierConn struct {
	*tls.Conn
	tcp        net.Conn
	congestion *carrierCongestion // nil: it stays as it is
}

// carrierOver is a carrier's connection on a machine.
func (h *host) carrierOver(t *tls.Conn, tcp net.Conn) carrierConn {
	c := carrierConn{t, tcp, nil}
	if h.mptcpSupport().Congestion == mptcp.BBR {
		c.congestion = new(carrierCongestion)
	}
	return c
}

func (c carrierConn) Close() error { return c.tcp.Close() }
