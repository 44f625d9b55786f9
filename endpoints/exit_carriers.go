package endpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/mptcp"
	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/carrier"
	"github.com/bondd/bondd/tunnel/control"
)

// More of what an exit states in its hello.
const (
	capCarriers = "carriers" // it takes carriers on the port of the hello
	capMPTCP    = "mptcp"    // and its kernel speaks MPTCP
	capBBR      = "bbr"      // and has that congestion control

	capAnnounces = "announces" // and announces the addresses of relays
)

// maxCarriers bounds the carriers of one gateway at an exit, which itself makes poolMax.
const maxCarriers = 2 * poolMax

// targetView is what a stream has as its target that asks the exit for its view of the carrier (carrierView). As the kind of a target it means nothing.
var targetView = []byte{0xff, 0}

// carrierView is how an exit sees a carrier and the paths of its gateway.
type carrierView struct {
	MPTCP bool           `json:"mptcp"` // not fallen back to plain TCP
	Able  bool           `json:"able"`  // the exit's kernel speaks it
	From  netip.AddrPort `json:"from"`
	Paths []pathView     `json:"paths,omitempty"` // of the gateway's session
}

// pathView is a path of a session as the exit sends on it.
type pathView struct {
	ID    tunnel.PathID `json:"id"`
	Sent  uint64        `json:"sent"` // datagrams
	Lost  uint64        `json:"lost"`
	Acked uint64        `json:"acked_B"`
	Rate  float64       `json:"rate_Bps"`
}

// exitCarriers counts the carriers of each gateway, and what they hold.
type exitCarriers struct {
	mu sync.Mutex
	of map[control.PublicKey]*carriersOf
}

// carriersOf are the carriers of one gateway while it has any.
type carriersOf struct {
	count  int
	memory gatewayMemory
}

// enter takes a place for one more carrier; nil if there is none.
func (e *exitCarriers) enter(x *exit, key control.PublicKey) *gatewayMemory {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.of[key]
	if o == nil {
		if e.of == nil {
			e.of = make(map[control.PublicKey]*carriersOf)
		}
		o = &carriersOf{memory: gatewayMemory{x: x, key: key}}
		e.of[key] = o
	}
	if o.count >= maxCarriers {
		return nil
	}
	o.count++
	return &o.memory
}

func (e *exitCarriers) leave(key control.PublicKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if o := e.of[key]; o.count == 1 {
		delete(e.of, key)
	} else {
		o.count--
	}
}

// taken is how much memory the carriers of a gateway have taken, bytes.
func (e *exitCarriers) taken(key control.PublicKey) int {
	e.mu.Lock()
	o := e.of[key]
	e.mu.Unlock()
	if o == nil {
		return 0
	}
	o.memory.mu.Lock()
	defer o.memory.mu.Unlock()
	return o.memory.taken
}

func (e *exitCarriers) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, o := range e.of {
		n += o.count
	}
	return n
}

// carrierCapabilities are those that concern carriers.
func (h *host) carrierCapabilities() []string {
	list := []string{capCarriers}
	if s := h.mptcpSupport(); s.Missing == "" {
		list = append(list, capMPTCP)
		if s.Congestion == mptcp.BBR {
			list = append(list, capBBR)
		}
	}
	return list
}

// carry serves a carrier until it ends, or ctx does. It runs in the goroutine of the accepted connection.
func (x *exit) carry(ctx context.Context, in *control.Incoming, conn net.Conn) error {
	g := x.gatewayOf(in.PeerKey)
	if g == nil {
		return fmt.Errorf("carrier: %w %v; add it to the configuration of the exit", control.ErrUnknownKey, in.PeerKey)
	}
	d := x.streams.dialerOf(g.Key)
	if d == nil {
		return errors.New("carrier: this exit carries no streams")
	}
	memory := x.carriers.enter(x, g.Key)
	if memory == nil {
		return fmt.Errorf("carrier: %s has %d already", g.Name, maxCarriers)
	}
	defer x.carriers.leave(g.Key)
	t, err := in.Carrier()
	if err != nil {
		return err
	}
	x.log.Debug("carrier", "gateway", g.Name, "from", conn.RemoteAddr())
	stop := func() bool { return true }
	err = carrier.Serve(x.host.carrierOver(t, conn), memory,
		func(c *carrier.Conn) { stop = context.AfterFunc(ctx, func() { c.Close() }) },
		func(s *carrier.Stream, target []byte) { x.carryStream(ctx, g, d, conn, s, target) })
	stop()
	x.log.Debug("carrier ended", "gateway", g.Name, "from", conn.RemoteAddr(), "error", err)
	return nil
}

// carryStream connects to the target of a stream on a carrier, and joins the two.
func (x *exit) carryStream(ctx context.Context, g *config.Gateway, d targetDialer, conn net.Conn, s *carrier.Stream, target []byte) {
	if string(target) == string(targetView) {
		x.tellView(ctx, g, conn, s)
		return
	}
	t, err := parseTarget(target)
	if err != nil {
		x.flows.refuse(tunnel.ResetForbidden)
		s.Fail(tunnel.ResetForbidden)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.OnReset(func(uint64) { cancel() })
	c, err := d.DialTarget(ctx, t)
	if err != nil {
		code := resetCodes[dial.CodeOf(err)]
		x.flows.refuse(code)
		s.Fail(code)
		return
	}
	x.flows.opened.Add(1)
	s.Accept()
	relayCarried(s, c, nil)
}

// tellView answers a gateway that asks.
func (x *exit) tellView(ctx context.Context, g *config.Gateway, conn net.Conn, s *carrier.Stream) {
	defer s.Close()
	v := carrierView{MPTCP: x.host.isMPTCP(conn), Able: x.host.mptcpSupport().Missing == "", From: addrPort(conn.RemoteAddr())}
	if current := x.currentOf(g.Key); current != nil {
		var st SessionStatus
		current.engine.fill(ctx, &st)
		if st.Stats != nil {
			for _, p := range st.Stats.Paths {
				v.Paths = append(v.Paths, pathView{p.ID, p.SentDatagrams, p.LostDatagrams, p.AckedBytes, p.Rate})
			}
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return // impossible with these types
	}
	s.SetDeadline(time.Now().Add(viewTime))
	if _, err := s.Write(b); err == nil && s.CloseWrite() == nil {
		s.Read(make([]byte, 1)) // its end, so that nothing is reset
	}
}
