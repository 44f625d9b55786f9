package endpoints

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// CarrierStatus is what carries the TCP connections of a gateway, and how carriers fare.
type CarrierStatus struct {
	Mode     string          `json:"mode,omitempty"`   // of the configuration: "auto", "mptcp", "bond"
	InUse    string          `json:"in_use,omitempty"` // for new connections: "bond", "mptcp", or "tcp", the last resort
	Why      string          `json:"why,omitempty"`
	Carriers int             `json:"carriers"`           // that are there
	Opened   uint64          `json:"opened"`             // connections that went by carriers so far
	Uplinks  []CarrierUplink `json:"uplinks,omitempty"`  // of a gateway
	Subflows int             `json:"subflows,omitempty"` // of all carriers
	To       []netip.Addr    `json:"to,omitempty"`       // where the subflows go: the exit, and relays that it announces
}

// CarrierUplink is an uplink as carriers may use it.
type CarrierUplink struct {
	Name  string  `json:"name"`
	MPTCP string  `json:"mptcp"` // "yes", "stripped", "unreachable", or "unknown"
	In    bool    `json:"in"`    // the kernel may use it now
	Note  string  `json:"note,omitempty"`
	RTT   float64 `json:"rtt_ms,omitempty"` // of a TCP handshake
	Loss  float64 `json:"loss,omitempty"`   // share, as the bond has measured it
}

// publish makes the status.
func (c *gatewayCarriers) publish(inUse, why string) {
	st := CarrierStatus{Mode: string(c.g.cfg.Stream.Mode), InUse: inUse, Why: why}
	now := time.Now()
	for _, u := range c.uplinks {
		x := CarrierUplink{Name: u.terms.Name, MPTCP: "yes", In: u.endpoint, RTT: float64(u.check.rtt.Microseconds()) / 1e3, Loss: max(u.ours.share, u.theirs.share)}
		switch {
		case u.check.name == "":
			x.MPTCP = "unknown"
		case u.check.err != nil:
			x.MPTCP, x.Note = "unreachable", u.check.err.Error()
		case u.stripped():
			x.MPTCP = "stripped"
		}
		if p := u.path(now); x.Note == "" {
			x.Note = p.Reason
			switch {
			case p.Reason != "":
			case p.TCPOnly:
				x.Note = "no datagrams come through"
			case u.held:
				x.Note = "it lags far behind the others: the kernel has it for emergencies only"
			}
		}
		st.Uplinks = append(st.Uplinks, x)
	}
	slices.SortFunc(st.Uplinks, func(a, b CarrierUplink) int { return cmp.Compare(a.Name, b.Name) })
	c.mu.Lock()
	was := c.status
	c.status = st
	c.mu.Unlock()
	if was.InUse != inUse {
		c.g.log.Info("new TCP connections", "exit", c.way.name, "go_by", inUse, "because", why)
	}
}

// streams counts the connections that carriers have now. Any goroutine may call it.
func (c *gatewayCarriers) streams() int {
	if c.pool == nil {
		return 0
	}
	return c.pool.Streams()
}

// report is the status now. Any goroutine may call it.
func (c *gatewayCarriers) report() *CarrierStatus {
	c.mu.Lock()
	st := c.status
	c.mu.Unlock()
	st.Opened = c.opened.Load()
	if c.pool == nil {
		return &st
	}
	for _, conn := range c.pool.Conns() {
		st.Carriers++
		if info, err := c.g.readCarrier(conn); err == nil {
			st.Subflows += info.Count
			for _, f := range info.Subflows {
				if a := f.Remote.Addr(); !slices.Contains(st.To, a) {
					st.To = append(st.To, a)
				}
			}
		}
	}
	slices.SortFunc(st.To, netip.Addr.Compare)
	return &st
}
