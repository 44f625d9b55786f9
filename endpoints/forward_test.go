package endpoints

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
)

// stranger connects to a port of the exit.
func (w *world) stranger(port uint16) (*memConn, error) {
	c, err := w.tcp.dial(context.Background(), netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	if err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second)) // a test that fails ends
	return c.(*memConn), nil
}

// A connection to a port of the exit reaches the host to which the gateway leads it, both ways, and nothing is left of it.
func TestForwardAsStream(t *testing.T) {
	ports := func(first, last uint16) []config.PortRange { return []config.PortRange{{First: first, Last: last}} }
	host := netip.MustParseAddr("192.168.1.10")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.exit.cfg.Gateways[0].Forwards = []config.Forward{{Ports: ports(8443, 8445), AsStream: true}, {Ports: ports(22, 22)}}
		w.gateway.cfg.Forwards = []config.Forward{{Ports: ports(8443, 8443), To: host, Port: 443, AsStream: true}, {Ports: ports(8444, 8444), To: host}}
		w.exit.programs = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:22"), netip.MustParseAddrPort("127.0.0.1:22"), netip.MustParseAddrPort("0.0.0.0:80")}
		for _, port := range []uint16{443, 8444, 8445} { // they would answer, whoever asks
			w.gateway.dialer.serve[netip.AddrPortFrom(host, port)] = echoServer
		}
		defer w.gateway.dialer.wg.Wait()
		w.exit.start()
		defer w.ended(w.exit)
		if n := w.exit.log.count("is not reached from outside"); n != 1 {
			t.Errorf("%d warnings about ports of this machine's own, want 1: of 22", n)
		}
		if c, err := w.stranger(8443); err != nil {
			t.Error(err)
		} else if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("without a gateway: %v, want a reset", err)
		}
		w.gateway.start()
		defer w.ended(w.gateway)
		w.waitEcho(5 * time.Second)
		if _, err := w.stranger(22); err == nil {
			t.Error("a port that keeps the client's address is listened on")
		}
		c, err := w.stranger(8443)
		if err != nil {
			t.Fatal(err)
		}
		halfAMegabyte(t, c)
		for _, port := range []uint16{8444, 8445} { // the gateway keeps the client's address for the one, and does not know the other
			c, err := w.stranger(port)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("port %d: %v, want a reset", port, err)
			}
			c.Close()
		}
		if got := w.gateway.dialer.opts.Allow; len(got) != 1 || got[0] != netip.PrefixFrom(host, 32) {
			t.Errorf("the gateway may reach %v", got)
		}
		w.quiet()
	})
}

// Connections from outside have their share, and leave what they do not need.
func TestForwardLimit(t *testing.T) {
	host := netip.MustParseAddr("192.168.1.10")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		list := []config.Forward{{Ports: []config.PortRange{{First: 80, Last: 80}}, To: host, AsStream: true}}
		w.exit.cfg.Gateways[0].Forwards, w.gateway.cfg.Forwards = list, list
		w.exit.cfg.Stream.MaxStreams = 2 * forwardShare
		w.gateway.dialer.serve[netip.AddrPortFrom(host, 80)] = echoServer
		defer w.gateway.dialer.wg.Wait()
		w.exit.start()
		defer w.ended(w.exit)
		w.gateway.start()
		defer w.ended(w.gateway)
		w.waitEcho(5 * time.Second)
		for round := range 2 {
			var open []*memConn
			for i := range 3 {
				c, err := w.stranger(80)
				if err != nil {
					t.Fatal(err)
				}
				c.Write([]byte("x"))
				if n, err := c.Read(make([]byte, 1)); (n == 1) != (i < 2) {
					t.Errorf("round %d, connection %d: %v", round, i, err)
				}
				open = append(open, c)
			}
			for _, c := range open {
				c.Close()
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
		}
		w.quiet()
	})
}
